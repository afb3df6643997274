"""Where a model runs: in this process, or on a Ray cluster. Both call the same stage functions.

The Ray engine is a Ray Data pipeline of one step. The driver cuts the work into blocks, which do not depend on the
cluster; an actor loads the model once, by its reference, and answers each block with one Arrow table. Ray schedules the
blocks, and repeats those of a worker that died.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from circuit_artifacts.compute.csp.activations import Position, accumulate, require_tokens
from circuit_artifacts.compute.csp.batching import UniqueSequences, length_sorted_batches
from circuit_artifacts.compute.csp.losses import sequence_losses
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.models import ModelIdentity, load_model, model_identity
from circuit_artifacts.errors import CircuitArtifactsError, MissingExtraError, ModelError
from circuit_artifacts.progress import track

__all__ = ["Engine", "LocalEngine", "RayEngine"]

Sequences = Sequence[Sequence[int]]

_BATCHES_PER_BLOCK = 4  # enough that a call costs little beside its work, few enough that workers end together


class Engine(Protocol):
    """What stages 11 and 12 ask of a model."""

    def accumulate(
        self,
        sequences: Sequences,
        groups: npt.NDArray[np.int64],
        n_groups: int,
        *,
        position: Position,
        thresholds: Sequence[float],
        pad_id: int,
        checkpoint: Path | None = None,
        identity: str = "",
    ) -> ActivationStatistics:
        """As `circuit_artifacts.compute.csp.activations.accumulate`."""

    def sequence_losses(self, sequences: Sequences) -> npt.NDArray[np.float64]:
        """As `circuit_artifacts.compute.csp.losses.sequence_losses`."""


@dataclass(frozen=True)
class LocalEngine:
    """Runs a model in this process.

    Attributes:
        model: a causal language model.
        device: where it is.
        batch_tokens: tokens per batch, padding included.
    """

    model: torch.nn.Module
    device: str = "cpu"
    batch_tokens: int = 8192

    def accumulate(
        self,
        sequences: Sequences,
        groups: npt.NDArray[np.int64],
        n_groups: int,
        *,
        position: Position = "last_token",
        thresholds: Sequence[float] = (),
        pad_id: int = 0,
        checkpoint: Path | None = None,
        identity: str = "",
    ) -> ActivationStatistics:
        """As `circuit_artifacts.compute.csp.activations.accumulate`."""
        return accumulate(
            self.model,
            sequences,
            groups,
            n_groups,
            position=position,
            thresholds=thresholds,
            batch_tokens=self.batch_tokens,
            pad_id=pad_id,
            device=self.device,
            checkpoint=checkpoint,
            identity=identity,
        )

    def sequence_losses(self, sequences: Sequences) -> npt.NDArray[np.float64]:
        """As `circuit_artifacts.compute.csp.losses.sequence_losses`."""
        return sequence_losses(self.model, sequences, batch_tokens=self.batch_tokens, device=self.device)


@dataclass(frozen=True)
class RayEngine:
    """Runs a model in the workers of a Ray cluster, one copy per worker.

    The cluster is the one this process is connected to, else the one at ``RAY_ADDRESS``, else one started on this
    machine and stopped afterwards. Its workers need this package with the same extras installed. A worker takes one
    CPU, or one GPU if `device` is a CUDA device.

    The numbers do not depend on how many workers there are or which block each of them gets. They are those of
    `LocalEngine` except for the rounding of float32, because batches hold other prompts.

    Attributes:
        reference: as in `circuit_artifacts.compute.models.load_model`, in a form that means the same on every node:
            ``"mini"``, a Hub id, or a folder that every node sees.
        device: where each worker's copy goes.
        dtype: of weights and activations, a name in `torch`.
        batch_tokens: tokens per batch, padding included.
        expected: the weights that workers must find behind `reference`; None does not ask.
        max_workers: no more than these; None takes what the cluster has.

    Raises:
        MissingExtraError: Ray is not installed.
        ModelError: a worker found other weights than `expected`.
    """

    reference: str
    device: str = "cpu"
    dtype: str = "float32"
    batch_tokens: int = 8192
    expected: ModelIdentity | None = None
    max_workers: int | None = None

    def __post_init__(self) -> None:
        _import_ray()

    def accumulate(
        self,
        sequences: Sequences,
        groups: npt.NDArray[np.int64],
        n_groups: int,
        *,
        position: Position = "last_token",
        thresholds: Sequence[float] = (),
        pad_id: int = 0,
        checkpoint: Path | None = None,
        identity: str = "",
    ) -> ActivationStatistics:
        """As `circuit_artifacts.compute.csp.activations.accumulate`, each group in one worker.

        `checkpoint` and `identity` are not used: Ray repeats the blocks of workers that died, but if this process is
        killed, the next run begins anew.
        """
        del checkpoint, identity
        require_tokens(sequences)
        thresholds = tuple(sorted(set(thresholds)))
        n_prompts = np.bincount(groups, minlength=n_groups).astype(np.int64)
        options = {
            "position": position,
            "thresholds": thresholds,
            "batch_tokens": self.batch_tokens,
            "pad_id": pad_id,
            "device": self.device,
        }
        blocks = _blocks_of_groups(sequences, groups, _BATCHES_PER_BLOCK * self.batch_tokens)
        activation_sum: npt.NDArray[np.float32] | None = None
        counts: npt.NDArray[np.int32] | None = None  # (1 + thresholds, group, layer, width), as in a local run
        with _cluster():
            for table in track(
                self._answers(blocks, _sum_groups, options),
                "reading activations",
                total=len(sequences),
                step=lambda table: int(n_prompts[table["key"].to_numpy()].sum()),
            ):
                keys, n_layers = table["key"].to_numpy(), table["n_layers"][0].as_py()
                sums = _matrix(table["activation_sum"]).reshape(len(keys), n_layers, -1)
                if activation_sum is None or counts is None:
                    activation_sum = np.zeros((n_groups, *sums.shape[1:]), dtype=np.float32)
                    counts = np.zeros((1 + len(thresholds), *activation_sum.shape), dtype=np.int32)
                activation_sum[keys] = sums
                counts[:, keys] = _matrix(table["counts"]).reshape(len(keys), -1, *sums.shape[1:]).swapaxes(0, 1)
        assert activation_sum is not None and counts is not None  # noqa: PT018 - there is a block: for the type checker
        return ActivationStatistics(
            activation_sum, counts[0], n_prompts, counts[1:] if thresholds else None, thresholds
        )

    def sequence_losses(self, sequences: Sequences) -> npt.NDArray[np.float64]:
        """As `circuit_artifacts.compute.csp.losses.sequence_losses`, equal sequences in one worker."""
        unique = UniqueSequences.of(sequences)
        block_tokens = _BATCHES_PER_BLOCK * self.batch_tokens
        parts = [batch.rows for batch in length_sorted_batches(unique.sequences, batch_tokens=block_tokens)]
        blocks = [_block([part], [[unique.sequences[row] for row in rows]]) for part, rows in enumerate(parts)]
        losses = np.zeros(len(unique.sequences))
        options = {"batch_tokens": self.batch_tokens, "device": self.device}
        with _cluster():
            for table in track(
                self._answers(blocks, _score, options),
                "scoring prompts",
                total=len(losses),
                step=lambda table: len(table["losses"].combine_chunks().flatten()),
            ):
                for part, scores in zip(table["key"].to_pylist(), table["losses"], strict=True):
                    losses[parts[part]] = scores.values.to_numpy()
        return losses[unique.index]

    def _answers(
        self, blocks: list[pa.Table], task: Callable[..., pa.Table], options: dict[str, Any]
    ) -> Iterator[pa.Table]:
        """What workers make of each block, as it comes; an error of ours comes out as itself."""
        if not blocks:
            return
        ray = _import_ray()
        resource = "GPU" if torch.device(self.device).type == "cuda" else "CPU"
        available = max(1, int(ray.cluster_resources().get(resource, 0)))
        answers = ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(self._shared_reference(), self.device, self.dtype, self.expected),
            fn_kwargs={"task": task, "options": options},
            batch_size=None,  # a block as it is, so that a batch is the same whatever the cluster
            batch_format="pyarrow",
            concurrency=(1, min(len(blocks), self.max_workers or available, available)),  # busy clusters give fewer
            **{f"num_{resource.lower()}s": 1},
        )
        try:
            yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CircuitArtifactsError):
                raise error.cause from None
            raise

    def _shared_reference(self) -> str:
        """The reference, absolute if it is a folder: workers have other working directories."""
        folder = Path(self.reference)
        return str(folder.resolve()) if self.reference != "mini" and folder.is_dir() else self.reference


class _Worker:
    """What one Ray actor holds: a model, loaded with the first block."""

    def __init__(self, reference: str, device: str, dtype: str, expected: ModelIdentity | None) -> None:
        self._reference, self._device, self._dtype, self._expected = reference, device, dtype, expected

    def __call__(self, block: pa.Table, *, task: Callable[..., pa.Table], options: dict[str, Any]) -> pa.Table:
        return task(self._model, block, **options)

    @cached_property
    def _model(self) -> torch.nn.Module:
        # Not in __init__, where an error would count as a node's failure and be tried again for long.
        torch.set_num_threads(1)  # Ray gave one CPU
        model = load_model(self._reference, device=self._device, dtype=getattr(torch, self._dtype))
        found = model_identity(model)
        if self._expected is not None and found != self._expected:
            problem = "a Ray worker found another model behind the same reference"
            raise ModelError(
                problem,
                where=self._reference,
                found=found,
                expected=self._expected,
                remedy="Give a Hub id, or a folder that every node sees.",
            )
        return model


def _sum_groups(model: torch.nn.Module, block: pa.Table, **options: Any) -> pa.Table:
    """Stage 12 over whole groups: one row per group."""
    prompts = block["prompts"].to_pylist()
    groups = np.repeat(np.arange(len(prompts)), [len(members) for members in prompts])
    sequences = [ids for members in prompts for ids in members]
    statistics = accumulate(model, sequences, groups, len(prompts), **options)
    counts = statistics.firing_count[None]
    if statistics.exceedance_count is not None:
        counts = np.concatenate([counts, statistics.exceedance_count])
    n_layers = statistics.activation_sum.shape[1]
    return pa.table(
        {
            "key": block["key"],
            "n_layers": np.full(len(prompts), n_layers),
            "activation_sum": _rows(statistics.activation_sum),
            "counts": _rows(counts.swapaxes(0, 1)),
        }
    )


def _score(model: torch.nn.Module, block: pa.Table, **options: Any) -> pa.Table:
    """Stage 11's losses: one row per row, with as many losses as it has sequences."""
    losses = [sequence_losses(model, sequences, **options) for sequences in block["prompts"].to_pylist()]
    return pa.table({"key": block["key"], "losses": pa.array(losses, pa.list_(pa.float64()))})


def _blocks_of_groups(sequences: Sequences, groups: npt.NDArray[np.int64], block_tokens: int) -> list[pa.Table]:
    """Whole groups in ascending order, cut about every `block_tokens` tokens; groups without prompts are left out."""
    order = np.argsort(groups, kind="stable")
    keys, starts = np.unique(groups[order], return_index=True)
    members = np.split(order, starts[1:])
    tokens = np.add.reduceat(np.array([len(sequences[row]) for row in order]), starts)
    _, cuts = np.unique((np.cumsum(tokens) - tokens) // block_tokens, return_index=True)
    return [
        _block(keys[part], [[sequences[row] for row in members[group]] for group in part])
        for part in np.split(np.arange(len(keys)), cuts[1:])
    ]


def _block(keys: Sequence[int] | npt.NDArray[np.int64], prompts: Sequence[Sequences]) -> pa.Table:
    """One unit of work; each row is a key and the token ids of its prompts."""
    return pa.table({"key": pa.array(keys, pa.int64()), "prompts": pa.array(prompts, pa.list_(pa.list_(pa.int64())))})


def _rows(array: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """An array as a column, one flat list per index of its first axis."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array[0].size)


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The column that `_rows` made, flat."""
    return np.asarray(column.combine_chunks().flatten())


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        problem = "engine 'ray' needs Ray Data"
        raise MissingExtraError(problem, remedy="pip install 'circuit-artifacts[ray]'") from error
    return ray


@contextmanager
def _cluster() -> Iterator[None]:
    """A connection to a cluster; closed if it was opened here."""
    ray = _import_ray()
    if ray.is_initialized():
        with _quiet_ray_data():
            yield
        return
    address = os.environ.get("RAY_ADDRESS")
    # "local" and not None, which could join a cluster that another user of this machine started.
    place = {"address": address} if address else {"address": "local", "include_dashboard": False}
    with _quiet_start():
        ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with _quiet_ray_data():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Ray's native code warns on file descriptor 2 of what concerns nobody; how to stop it, it says there too."""
    name = "RAY_BACKEND_LOG_LEVEL"  # read at the start only
    if name in os.environ:
        yield
        return
    terminal = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        os.environ[name] = "fatal"
        yield
    finally:
        del os.environ[name]
        os.dup2(terminal, 2)
        os.close(terminal)


@contextmanager
def _quiet_ray_data() -> Iterator[None]:
    """Without Ray Data's own bars and reports on the terminal; its log files stay."""
    context = _import_ray().data.DataContext.get_current()
    consoles = [h for h in logging.getLogger("ray.data").handlers if isinstance(h, logging.StreamHandler)]
    levels = [console.level for console in consoles]
    settings = {"enable_progress_bars": False, "raise_original_map_exception": True}
    before = {name: getattr(context, name) for name in settings}
    try:
        for console in consoles:
            console.setLevel(logging.CRITICAL)
        for name, value in settings.items():
            setattr(context, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)
