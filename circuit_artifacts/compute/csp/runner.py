"""A model, its tokenizer and a file of prompts: what the model-running steps share."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuit_artifacts import provenance
from circuit_artifacts.compute.csp.parameters import StageParameters
from circuit_artifacts.errors import MissingExtraError, ModelError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.schemas.csp_vocabulary import pair_key

if TYPE_CHECKING:
    from torch import nn

    from circuit_artifacts.compute.csp.statistics import ActivationStatistics
    from circuit_artifacts.compute.engines import Engine
    from circuit_artifacts.compute.models import TextTokenizer
    from circuit_artifacts.jobs import Job
    from circuit_artifacts.provenance import Provenance

__all__ = ["ModelRunner"]


class ModelRunner:
    """Runs the model of one job; it is loaded at first use.

    Raises:
        MissingExtraError: torch and its companions are not installed.
    """

    def __init__(self, job: Job) -> None:
        try:
            import torch  # noqa: F401 - only to say early what is missing
        except ImportError as error:
            problem = "running a model needs torch"
            raise MissingExtraError(problem, remedy="pip install 'circuit-artifacts[compute]'") from error
        self.job = job
        self.parameters = StageParameters.of(job.parameters)

    @cached_property
    def model(self) -> nn.Module:
        """The model, in evaluation mode on its device."""
        import torch

        from circuit_artifacts.compute.models import load_model

        dtype = getattr(torch, self.parameters.dtype)
        return load_model(self.parameters.model, device=self.parameters.device, dtype=dtype)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        from circuit_artifacts.compute.models import load_tokenizer

        return load_tokenizer(self.parameters.model)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The model's reference, and its revision or weights hash."""
        from circuit_artifacts.compute.models import model_identity

        return dataclasses.asdict(model_identity(self.model))

    @cached_property
    def engine(self) -> Engine:
        """Where the model runs over many prompts.

        Raises:
            MissingExtraError: the engine is "ray", and Ray is not installed.
        """
        from circuit_artifacts.compute.engines import LocalEngine, RayEngine
        from circuit_artifacts.compute.models import model_identity

        parameters = self.parameters
        if parameters.engine == "local":
            return LocalEngine(self.model, device=parameters.device, batch_tokens=parameters.batch_tokens)
        return RayEngine(
            parameters.model,
            device=parameters.device,
            dtype=parameters.dtype,
            batch_tokens=parameters.batch_tokens,
            expected=model_identity(self.model),
        )

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids without special tokens, cut where the published code or the model's context ends."""
        from circuit_artifacts.compute.models import context_length

        limit = min(self.parameters.max_length, context_length(self.model) or self.parameters.max_length)
        return self.tokenizer.encode_batch(texts, max_length=limit)

    def _pad_id(self) -> int:
        """The end-of-text token, with which the published code pads (csp_atlas spec 4.2)."""
        token = self.tokenizer.end_of_text_id
        if token is None and self.parameters.position == "as_committed":
            problem = "the tokenizer has no end-of-text token, which position 'as_committed' pads with"
            raise ModelError(problem, file=self.identity["id"], remedy="Use position 'last_token'.")
        return token or 0

    def accumulate(
        self, prompts: Path, *, checkpoint: Path, thresholds: tuple[float, ...] = ()
    ) -> tuple[list[str], ActivationStatistics]:
        """Stage 12 over a prompt file: group keys in ASCII order, and the sums.

        Args:
            prompts: the file.
            checkpoint: as in `circuit_artifacts.compute.csp.activations.accumulate`; the Ray engine has none.
            thresholds: to count exceedances of, besides those among the parameters.
        """
        (family,) = self.job.step.needs
        config = self.job.mirror.configs[family]
        frame = read_table(self.job.mirror, config, prompts).to_pandas()
        if "object" in frame:
            keys = frame["object"].to_numpy(dtype=object)
        else:
            keys = np.array([pair_key(*pair) for pair in zip(frame["ast_node"], frame["builtin_obj"], strict=True)])
        groups, index = np.unique(keys.astype(str), return_inverse=True)
        statistics = self.engine.accumulate(
            self.encode(frame["prompt_text"].tolist()),
            index.astype(np.int64),
            len(groups),
            position=self.parameters.position,
            thresholds=self.parameters.thresholds + thresholds,
            pad_id=self._pad_id(),
            checkpoint=checkpoint,
            identity=repr((sorted(self.identity.items()), self.parameters.dtype, self.parameters.device)),
        )
        return [str(group) for group in groups], statistics

    def record(self, *names: str, source: Path | None = None) -> Provenance:
        """Provenance of a file that this run makes.

        Args:
            names: parameters that shape the file.
            source: the input whose own parameters shape it too.
        """
        from circuit_artifacts.compute.hooks import layer_count
        from circuit_artifacts.compute.models import residual_width

        earlier = provenance.read(source) if source is not None else None
        inherited = earlier.parameters if earlier is not None else {}
        return self.job.record(
            parameters={**inherited, **self.parameters.recorded(*names)},
            model=self.identity,
            n_layers=layer_count(self.model),
            width=residual_width(self.model),
        )
