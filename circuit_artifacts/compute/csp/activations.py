"""Stage 12: running sums of |MLP output| per group of prompts (csp_atlas spec 4).

Two positions can be read. ``"last_token"`` is each prompt's true last token, under right padding. ``"as_committed"``
repeats the published code: each group is one left-padded batch and the index read is (number of real tokens - 1), which
for most prompts is an interior token or a pad (spec 4.3); it exists to reproduce published files, for nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.compute.csp.batching import UniqueSequences, length_sorted_batches
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.hooks import layer_count, recording
from circuit_artifacts.compute.models import backbone
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.progress import track

__all__ = ["Position", "accumulate", "require_tokens"]

Position = Literal["last_token", "as_committed"]

_COMMITTED_BATCH = 64  # prompts per batch in the published code (spec 4.2)
_CHECKPOINT_SECONDS = 20.0


@torch.inference_mode()
def accumulate(
    model: torch.nn.Module,
    sequences: Sequence[Sequence[int]],
    groups: npt.NDArray[np.int64],
    n_groups: int,
    *,
    position: Position = "last_token",
    thresholds: Sequence[float] = (),
    batch_tokens: int = 8192,
    pad_id: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    identity: str = "",
) -> ActivationStatistics:
    """Run every prompt once and add up its MLP outputs, keeping nothing else.

    Equal prompts of ``"last_token"`` run once and count as often as they occur. Sums are kept in float64, so that they
    do not depend on the order of prompts; ``"as_committed"`` adds float32 in row order, as the published code does.

    Args:
        model: a causal language model.
        sequences: token ids of each prompt, without special tokens.
        groups: int64 (n,), the group of each prompt, in 0 .. n_groups - 1.
        n_groups: number of groups.
        position: which token of each prompt is read.
        thresholds: also count the prompts above each of these (for the per-prompt rule of stage 13).
        batch_tokens: tokens per batch, padding included.
        pad_id: the padding token; matters in "as_committed" only.
        device: where the model is.
        checkpoint: file to save the sums in from time to time and at the end, and to resume from. The caller deletes
            it once the sums are safe elsewhere.
        identity: what the sums depend on besides the prompts, so that another run's checkpoint is not resumed.

    Raises:
        SchemaError: there are no prompts, or one has no tokens.
    """
    require_tokens(sequences)
    thresholds = tuple(sorted(set(thresholds)))
    work = _last_token_work if position == "last_token" else _committed_work
    batches = list(work(sequences, groups, batch_tokens, pad_id))
    sums = _Sums(n_groups, len(thresholds), dtype=torch.float64 if position == "last_token" else torch.float32)
    digest = _digest(sequences, groups, position, thresholds, batch_tokens, pad_id, identity)
    done = sums.load(checkpoint, digest) if checkpoint is not None else 0
    layers = range(layer_count(model))
    selected = _OnePosition()
    saved = time.monotonic()
    total, already = sum(len(b.rows) for b in batches), sum(len(b.rows) for b in batches[:done])
    remaining = enumerate(batches[done:], start=done + 1)
    with recording(model, site="mlp_out", layers=layers, callback=selected):
        for number, batch in track(
            remaining, "reading activations", total=total, step=lambda item: len(item[1].rows), done=already
        ):
            selected.positions = batch.positions.to(device)
            backbone(model)(batch.ids.to(device))
            magnitudes = torch.stack([selected.outputs[layer] for layer in layers], dim=1).float().abs().cpu()
            sums.add(magnitudes[batch.rows], batch.groups, batch.weights, thresholds)
            if checkpoint is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                sums.save(checkpoint, digest, number)
                saved = time.monotonic()
    if checkpoint is not None and done < len(batches):
        sums.save(checkpoint, digest, len(batches))
    return sums.finish(np.bincount(groups, minlength=n_groups).astype(np.int64), thresholds)


def require_tokens(sequences: Sequence[Sequence[int]]) -> None:
    """Refuse work that has no last token to read.

    Raises:
        SchemaError: there are no prompts, or one has no tokens.
    """
    if not sequences:
        problem = "there are no prompts"
        raise SchemaError(problem, remedy="Make the prompt file anew, with more concepts or another loss threshold.")
    empty = [row for row, ids in enumerate(sequences) if not len(ids)]
    if empty:
        problem = f"{len(empty)} prompt(s) without a token, which have no last token to read"
        raise SchemaError(problem, where=f"row {empty[0]}")


class _OnePosition:
    """Keeps one position per sequence of what a hook sees, so that (batch, token, width) is never held."""

    def __init__(self) -> None:
        self.positions = torch.zeros(0, dtype=torch.int64)
        self.outputs: dict[int, torch.Tensor] = {}

    def __call__(self, layer: int, output: torch.Tensor) -> None:
        self.outputs[layer] = output[torch.arange(len(output), device=output.device), self.positions]


@dataclass(frozen=True)
class _Work:
    """One batch, and where its activations go: row i of (rows, groups, weights) adds sequence rows[i] to groups[i]."""

    ids: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    groups: torch.Tensor
    weights: torch.Tensor


def _last_token_work(
    sequences: Sequence[Sequence[int]], groups: npt.NDArray[np.int64], batch_tokens: int, pad_id: int
) -> Iterator[_Work]:
    unique = UniqueSequences.of(sequences)
    uses, weights = np.unique(np.stack([unique.index, groups]), axis=1, return_counts=True)
    first_use = np.searchsorted(uses[0], np.arange(len(unique.sequences) + 1))
    for batch in length_sorted_batches(unique.sequences, batch_tokens=batch_tokens, pad_id=pad_id):
        spans = [np.arange(first_use[row], first_use[row + 1]) for row in batch.rows]
        use = np.concatenate(spans)
        yield _Work(
            ids=batch.ids,
            positions=batch.lengths - 1,
            rows=torch.from_numpy(np.repeat(np.arange(len(spans)), [len(span) for span in spans])),
            groups=torch.from_numpy(uses[1, use]),
            weights=torch.from_numpy(weights[use]),
        )


def _committed_work(
    sequences: Sequence[Sequence[int]], groups: npt.NDArray[np.int64], batch_tokens: int, pad_id: int
) -> Iterator[_Work]:
    del batch_tokens  # the published batches are whole groups, at most 64 prompts
    order = np.argsort(groups, kind="stable")
    boundaries = np.flatnonzero(np.diff(groups[order])) + 1
    for members in np.split(order, boundaries):
        for start in range(0, len(members), _COMMITTED_BATCH):
            rows = members[start : start + _COMMITTED_BATCH]
            lengths = torch.tensor([len(sequences[row]) for row in rows])
            ids = torch.full((len(rows), int(lengths.max())), pad_id, dtype=torch.int64)
            for place, row in enumerate(rows):
                ids[place, ids.shape[1] - len(sequences[row]) :] = torch.tensor(sequences[row], dtype=torch.int64)
            ones = torch.ones(len(rows), dtype=torch.int64)
            yield _Work(ids, lengths - 1, torch.arange(len(rows)), torch.from_numpy(groups[rows]), ones)


class _Sums:
    """The running sums, and their checkpoint."""

    def __init__(self, n_groups: int, n_thresholds: int, dtype: torch.dtype) -> None:
        self._n_groups, self._n_thresholds, self._dtype = n_groups, n_thresholds, dtype
        self._activation: torch.Tensor | None = None
        self._counts: torch.Tensor | None = None  # (1 + thresholds, group, layer, width): firing, then exceedance

    def add(
        self, magnitudes: torch.Tensor, groups: torch.Tensor, weights: torch.Tensor, thresholds: Sequence[float]
    ) -> None:
        """Add |activation| float32 (row, layer, width) of each row to its group, `weights` times."""
        if self._activation is None or self._counts is None:
            shape = (self._n_groups, *magnitudes.shape[1:])
            self._activation = torch.zeros(shape, dtype=self._dtype)
            self._counts = torch.zeros((1 + self._n_thresholds, *shape), dtype=torch.int32)
        scale = weights[:, None, None]
        self._activation.index_add_(0, groups, magnitudes.to(self._dtype) * scale)
        for counts, threshold in zip(self._counts, (0.0, *thresholds), strict=True):
            counts.index_add_(0, groups, ((magnitudes > threshold) * scale).int())

    def finish(self, n_prompts: npt.NDArray[np.int64], thresholds: tuple[float, ...]) -> ActivationStatistics:
        """The sums in the published dtypes; at least one batch must have been added."""
        assert self._activation is not None and self._counts is not None  # noqa: PT018 - for the type checker
        counts = self._counts.numpy()
        return ActivationStatistics(
            self._activation.float().numpy(), counts[0], n_prompts, counts[1:] if thresholds else None, thresholds
        )

    def save(self, path: Path, digest: str, done: int) -> None:
        """Write the sums after `done` batches; the file appears whole or not at all.

        Not as HDF5, whose library crashes the interpreter at its end when a disk fills up.
        """
        if self._activation is None or self._counts is None:
            return
        tensors = {"activation": self._activation, "counts": self._counts, "done": torch.tensor(done)}
        content = digest.encode() + safetensors.torch.save(tensors)
        with atomic_path(path) as temporary:
            # A checksum, because damage that went unnoticed would end in the results.
            temporary.write_bytes(content + hashlib.sha256(content).digest())

    def load(self, path: Path, digest: str) -> int:
        """Take up the sums of an earlier run of the same work; gives the number of batches done, or 0."""
        try:
            content = path.read_bytes()
        except OSError:
            return 0
        content, checksum = content[:-32], content[-32:]
        if not content.startswith(digest.encode()) or hashlib.sha256(content).digest() != checksum:
            return 0
        tensors = safetensors.torch.load(content[len(digest) :])
        self._activation, self._counts = tensors["activation"], tensors["counts"]
        return int(tensors["done"])


def _digest(sequences: Sequence[Sequence[int]], groups: npt.NDArray[np.int64], *facts: object) -> str:
    state = hashlib.sha256(repr(facts).encode())
    state.update(np.concatenate([np.array(ids, dtype=np.int64) for ids in sequences] or [groups]).tobytes())
    state.update(np.array([len(ids) for ids in sequences]).tobytes())
    state.update(groups.tobytes())
    return state.hexdigest()
