"""Top contexts: the stretches of text on which a feature is most active (locality spec 4.10, 5.5).

They come from a scan of a corpus, which is here, or from Neuronpedia, for which see `virtual_corpus`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.locality.activations import FeatureEncoder, frozen, require_length, residual_stream
from circuit_artifacts.compute.locality.checkpoint import load_arrays, save_arrays, work_digest
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError, SchemaError
from circuit_artifacts.progress import track
from circuit_artifacts.sae_locality.events import top_contexts
from circuit_artifacts.sae_locality.files import RepositoryFile

__all__ = [
    "ContextExample",
    "FeatureContexts",
    "read_contexts",
    "scan_corpus",
]

_ENCODED_ENTRIES: Final = 1 << 25  # activations held at once, 128 MB
_CHECKPOINT_SECONDS: Final = 20.0


@dataclass(frozen=True)
class ContextExample:
    """A stretch of a corpus, and the token in it at which a feature is most active.

    Attributes:
        activation: at that token, as the source states it.
        token_idx: of that token in `tokens`.
        tokens: the stretch, in pieces of the tokenizer.
        window_start_token: where the stretch begins in the corpus.
        neuronpedia_rank: place among the different examples of Neuronpedia's answer, the highest first and those
            counted that the tokenizer does not know (our reading of the published field); None for a scan.
        neuronpedia_data_index: what Neuronpedia says of its place, any JSON value.
    """

    activation: float
    token_idx: int
    tokens: tuple[str, ...]
    window_start_token: int
    neuronpedia_rank: int | None = None
    neuronpedia_data_index: Any = None

    @property
    def activating_token(self) -> str:
        """The piece at which the feature is most active."""
        return self.tokens[self.token_idx]

    @property
    def peak(self) -> int:
        """The place of that piece in the corpus."""
        return self.window_start_token + self.token_idx


@dataclass(frozen=True)
class FeatureContexts:
    """The examples of one feature, the highest activation first.

    Attributes:
        max_activation: that of the first example (our reading of the published field); 0 without examples.
    """

    feature_id: int
    max_activation: float
    examples: tuple[ContextExample, ...]

    @classmethod
    def of(cls, feature_id: int, examples: Sequence[ContextExample]) -> FeatureContexts:
        """With the activation of the first example."""
        return cls(feature_id, examples[0].activation if examples else 0.0, tuple(examples))


def read_contexts(file: RepositoryFile) -> list[FeatureContexts]:
    """The contexts in ``top_contexts_layer<L>.json``, without features that have no examples.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: JSON of another form, or an example without an activation, a place, or its peak in it.
    """
    contexts = []
    rows = top_contexts(file).to_pylist()
    for feature, members in groupby(rows, key=lambda row: int(row["feature_id"])):
        examples = []
        for row in members:
            index = row["neuronpedia_data_index"]
            example = ContextExample(
                activation=row["activation"],
                token_idx=row["token_idx"],
                tokens=tuple(row["tokens"]),
                window_start_token=row["window_start_token"],
                neuronpedia_rank=row["neuronpedia_rank"],
                neuronpedia_data_index=None if index is None else json.loads(index),
            )
            lacks = example.activation is None or example.window_start_token is None
            if lacks or not 0 <= example.token_idx < len(example.tokens):
                problem = "the example has no activation, no place in the corpus, or a peak outside it"
                raise SchemaError(problem, file=file.path, where=f"{feature}.examples[{row['rank']}]")
            examples.append(example)
        contexts.append(FeatureContexts.of(feature, examples))
    return contexts


# A scan of a corpus


class _Peaks(NamedTuple):
    """Peaks of F features: activations (F, k), float32, and their places in the corpus, int64."""

    values: Tensor
    places: Tensor

    def with_more(self, more: _Peaks, top_k: int) -> _Peaks:
        """The highest of these and of peaks further back; of equal ones those in front."""
        values, places = (torch.cat(parts, dim=1) for parts in zip(self, more, strict=True))
        order = torch.sort(values, dim=1, descending=True, stable=True).indices[:, :top_k]
        return _Peaks(values.gather(1, order), places.gather(1, order))


@torch.no_grad()
def scan_corpus(
    model: nn.Module,
    sae: SparseAutoencoder,
    tokens: Tensor,
    *,
    layer: int,
    features: Sequence[int],
    window: int,
    top_k: int,
    token_strings: Callable[[Sequence[int]], Sequence[str]],
    max_windows: int | None = None,
    sae_encode: EncodeMode = "compat",
    batch_tokens: int = 8192,
    checkpoint: Path | None = None,
    identity: str = "",
) -> list[FeatureContexts]:
    """Run a corpus in windows, and keep those in which each feature is most active.

    A window counts once per feature, by its highest activation, the first of equals; of equal windows the earlier one
    comes first. Of a feature that fires nowhere, too, the first windows are given, with activation 0.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        sae: the layer's autoencoder, on the same device.
        tokens: (T,), int64, the corpus. A rest that fills no window is not looked at.
        layer: block whose output the autoencoder reads.
        features: numbers of the features, all different.
        window: tokens per window; windows begin at its multiples.
        top_k: windows to keep of each feature, if there are as many.
        token_strings: token ids to pieces of the tokenizer, one for each.
        max_windows: look at no more windows than these, from the beginning.
        sae_encode: as in `SparseAutoencoder.encode`.
        batch_tokens: tokens per batch.
        checkpoint: folder to save the peaks in from time to time, and to resume from. The caller deletes it once the
            contexts are safe elsewhere.
        identity: what the result depends on besides the arguments, namely which model and autoencoder these are, so
            that another run's checkpoint is not resumed.

    Returns:
        Contexts in the order of `features`.

    Raises:
        SchemaError: there is no whole window, or the features are not different ones.
        UnknownNameError: no such layer or feature.
        ModelError: a window is longer than the model takes, the autoencoder reads another width, or activations are
            not finite.
    """
    require_length(model, window)
    n_windows = min(len(tokens) // window, len(tokens) if max_windows is None else max_windows)
    if n_windows < 1:
        problem = "the corpus has no whole window to look at"
        raise SchemaError(problem, found=f"{len(tokens)} tokens", expected=f"at least {window}")
    windows = tokens[: n_windows * window].cpu().reshape(n_windows, window)
    encode = FeatureEncoder(sae, features, sae_encode)
    device = next(model.parameters()).device
    together = max(1, batch_tokens // window)
    facts = (list(features), layer, top_k, sae_encode, together, identity)
    file = checkpoint and checkpoint / f"{work_digest({'windows': windows.numpy()}, 'scan', facts)}.npz"
    best, done = _resumed(file, len(features), device)
    saved = time.monotonic()
    batches = range(0, n_windows, together)
    with frozen(model):
        for start in track(batches[done:], "scanning the corpus", total=len(batches), done=done):
            residual = residual_stream(model, windows[start : start + together].to(device), layer)
            best = best.with_more(_window_peaks(encode, residual, start), top_k)
            if file is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                state = {name: tensor.cpu().numpy() for name, tensor in best._asdict().items()}
                save_arrays(file, state | {"done": np.array(start // together + 1)})
                saved = time.monotonic()
    if not best.values.isfinite().all():
        problem = "the model, or the autoencoder, gives activations that are not finite"
        raise ModelError(problem, where=f"layer {layer}")
    return _scanned(best, features, windows, token_strings)


def _resumed(file: Path | None, n_features: int, device: torch.device) -> tuple[_Peaks, int]:
    """The peaks that an earlier run had found, and after how many batches; of no run, none."""
    stored = None if file is None else load_arrays(file)
    if stored is None:
        nothing = torch.empty(n_features, 0, device=device)
        return _Peaks(nothing, nothing.long()), 0
    values, places = (torch.from_numpy(stored[name]).to(device) for name in _Peaks._fields)
    return _Peaks(values, places), int(stored["done"])


def _window_peaks(encode: FeatureEncoder, residual: Tensor, first: int) -> _Peaks:
    """The peak of each feature in each of consecutive windows, given residuals (W, T, d) and the first one's number."""
    windows, length, _ = residual.shape
    parts = torch.split(residual, max(1, _ENCODED_ENTRIES // (length * encode.width)))
    peaks = [encode(part).max(dim=1) for part in parts]  # of equals the first
    values, indices = (torch.cat([peak[i] for peak in peaks]).T for i in (0, 1))
    places = indices + (first + torch.arange(windows, device=indices.device)) * length
    return _Peaks(values + 0.0, places)  # a JumpReLU in compat mode gives -0.0, which sorts elsewhere and reads oddly


def _scanned(
    best: _Peaks, features: Sequence[int], windows: Tensor, token_strings: Callable[[Sequence[int]], Sequence[str]]
) -> list[FeatureContexts]:
    length = windows.shape[1]
    numbers = set((best.places // length).flatten().tolist())
    of_window = {number: tuple(token_strings(windows[number].tolist())) for number in numbers}
    contexts = []
    for feature, values, places in zip(features, best.values.tolist(), best.places.tolist(), strict=True):
        examples = [
            ContextExample(value, place % length, of_window[place // length], place - place % length)
            for value, place in zip(values, places, strict=True)
        ]
        contexts.append(FeatureContexts.of(feature, examples))
    return contexts
