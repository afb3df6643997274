"""What autocorrelation asks of a model: activations along documents, and entropies where features are active.

The choices are ours, see `autocorrelation`; the entropy is that of locality spec 5.1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.csp.batching import length_sorted_batches
from circuit_artifacts.compute.locality import autocorrelation as arrays
from circuit_artifacts.compute.locality.activations import FeatureEncoder, frozen, require_length, residual_stream
from circuit_artifacts.compute.locality.checkpoint import load_arrays, save_arrays, work_digest
from circuit_artifacts.compute.locality.influence import window_influences
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError, SchemaError
from circuit_artifacts.progress import track

__all__ = [
    "Autocorrelation",
    "AutocorrelationSettings",
    "activations_of",
    "measure_autocorrelation",
    "target_entropies",
]

_ENCODED_ENTRIES: Final = 1 << 25  # activations held at once, 128 MB
_WINDOWS_AT_ONCE: Final = 32
_CHECKPOINT_SECONDS: Final = 20.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class AutocorrelationSettings:
    """Every choice of a run. All but `lookback` are ours.

    The densities are those between which the published lists of features were picked (locality spec 5.5).

    Attributes:
        threshold: an active feature is above it.
        min_density: see `autocorrelation.select_features`, as the next two.
        n_examples: strips per feature.
        max_lag: largest lag of the curves, in tokens.
        n_positions: entropies per feature.
        lookback: tokens of the window of an entropy.
        seed: of the positions.
        sae_encode: as in `SparseAutoencoder.encode`.
    """

    threshold: float
    min_density: float = 1e-5
    max_density: float = 0.1
    min_documents: int = 2
    n_examples: int = 16
    max_lag: int = arrays.MAX_LAG
    n_positions: int = 32
    lookback: int = arrays.LOOKBACK
    seed: int = 0
    sae_encode: EncodeMode = "compat"


@dataclass(frozen=True, kw_only=True)
class Autocorrelation:
    """Everything that is measured in a run.

    Attributes:
        selected: the features that were looked at, as by `autocorrelation.select_features`.
        peaks: as by `autocorrelation.top_peaks`.
        strips: as by `autocorrelation.strips`.
        curves: as by `autocorrelation.autocorrelation`, of the selected features.
        targets: as by `target_entropies`.
    """

    selected: pd.DataFrame
    peaks: pd.DataFrame
    strips: dict[int, Floats]
    curves: npt.NDArray[np.float64]
    targets: pd.DataFrame


def measure_autocorrelation(
    model: nn.Module,
    sae: SparseAutoencoder,
    documents: Sequence[Sequence[int]],
    *,
    layer: int,
    features: Sequence[int],
    settings: AutocorrelationSettings,
    checkpoint: Path | None = None,
    identity: str = "",
) -> Autocorrelation:
    """Measure all of it.

    Args:
        model: as in `activations_of`.
        sae: as in `activations_of`.
        documents: token ids of each document, together (tokens x features x 4) bytes of activations.
        layer: block whose output the autoencoder reads.
        features: those to select from.
        settings: the choices.
        checkpoint: as in `target_entropies`.
        identity: as in `target_entropies`.

    Raises:
        SchemaError: no feature passes the filters; or as in `activations_of`.
        UnknownNameError, ModelError: as in `activations_of` and `target_entropies`.
    """
    s = settings
    activations = activations_of(model, sae, documents, layer=layer, features=features, sae_encode=s.sae_encode)
    selected = arrays.select_features(
        arrays.activation_statistics(activations, features, s.threshold),
        min_density=s.min_density,
        max_density=s.max_density,
        min_documents=s.min_documents,
    )
    if selected.empty:
        problem = "none of the features is active as often, and in as many documents, as is asked for"
        raise SchemaError(problem, found=f"{len(features)} features", remedy="Give more text, or widen the filters.")
    chosen: list[int] = selected["feature_id"].tolist()
    columns = [list(features).index(feature) for feature in chosen]
    activations = [document[:, columns] for document in activations]
    peaks = arrays.top_peaks(activations, chosen, n_examples=s.n_examples, threshold=s.threshold)
    targets = arrays.sample_targets(
        activations, chosen, n_positions=s.n_positions, lookback=s.lookback, threshold=s.threshold, seed=s.seed
    )
    return Autocorrelation(
        selected=selected,
        peaks=peaks,
        strips=arrays.strips(activations, chosen, peaks),
        curves=arrays.autocorrelation(activations, max_lag=s.max_lag),
        targets=target_entropies(
            model,
            sae,
            documents,
            targets,
            layer=layer,
            threshold=s.threshold,
            lookback=s.lookback,
            sae_encode=s.sae_encode,
            checkpoint=checkpoint,
            identity=identity,
        ),
    )


@torch.no_grad()
def activations_of(
    model: nn.Module,
    sae: SparseAutoencoder,
    documents: Sequence[Sequence[int]],
    *,
    layer: int,
    features: Sequence[int],
    sae_encode: EncodeMode = "compat",
    batch_tokens: int = 8192,
) -> list[Floats]:
    """Activations of chosen features at every token of every document; the model runs only up to the layer.

    Documents run in batches of similar length, padded on the right, where no token sees the padding.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        sae: the layer's autoencoder, on the same device.
        documents: token ids of each document; it may have none.
        layer: block whose output the autoencoder reads.
        features: numbers of n features, all different. Only these are encoded, unless the autoencoder is top-k.
        sae_encode: as in `SparseAutoencoder.encode`.
        batch_tokens: tokens per batch, padding included.

    Returns:
        For each document float32 (T, n).

    Raises:
        SchemaError: the features are not different ones.
        UnknownNameError: no such layer or feature.
        ModelError: a document is longer than the model takes, the autoencoder reads another width, or activations are
            not finite.
    """
    require_length(model, max(map(len, documents), default=0))
    encode = FeatureEncoder(sae, features, sae_encode)
    device = next(model.parameters()).device
    rows = [row for row, ids in enumerate(documents) if len(ids)]
    found = [np.empty((0, len(features)), np.float32) for _ in documents]
    batches = length_sorted_batches([documents[row] for row in rows], batch_tokens=batch_tokens)
    with frozen(model):
        for batch in track(batches, "reading activations", total=len(rows), step=lambda done: len(done.rows)):
            residual = residual_stream(model, batch.ids.to(device), layer)
            is_token = torch.arange(residual.shape[1]) < batch.lengths[:, None]
            encoded = _encoded(encode, residual[is_token.to(device)])
            for place, part in zip(batch.rows, np.split(encoded, batch.lengths.cumsum(0)[:-1]), strict=True):
                found[rows[place]] = part
    if not all(np.isfinite(activations).all() for activations in found):
        problem = "the model, or the autoencoder, gives activations that are not finite"
        raise ModelError(problem, where=f"layer {layer}")
    return found


def target_entropies(
    model: nn.Module,
    sae: SparseAutoencoder,
    documents: Sequence[Sequence[int]],
    targets: pd.DataFrame,
    *,
    layer: int,
    threshold: float,
    lookback: int = arrays.LOOKBACK,
    sae_encode: EncodeMode = "compat",
    checkpoint: Path | None = None,
    identity: str = "",
) -> pd.DataFrame:
    """The entropy of each feature's influence, looking back from a position where it is active.

    The window begins `lookback` tokens before, not at the document's start, so a feature can be off there.

    Args:
        model: as in `window_influences`.
        sae: as in `window_influences`.
        documents: token ids of each document.
        targets: positions, as by `autocorrelation.sample_targets` with the same `lookback`.
        layer: as in `window_influences`.
        threshold: as in `window_influences`.
        lookback: tokens of each window, which ends at the position.
        sae_encode: as in `window_influences`.
        checkpoint: folder to save the entropies in from time to time, and to resume from. The caller deletes it once
            they are safe elsewhere.
        identity: what the result depends on besides the arguments, namely which model and autoencoder these are, so
            that another run's checkpoint is not resumed.

    Returns:
        The targets with a column H_pos_bits, float64; NaN where the feature is off in the window.

    Raises:
        SchemaError: a window would begin before its document.
        UnknownNameError, ModelError: as in `window_influences`.
    """
    places = targets[["feature_id", "document", "position"]].to_numpy(np.int64)
    if len(places) and places[:, 2].min() < lookback - 1:
        problem = "a window would begin before its document"
        raise SchemaError(problem, where="position", found=places[:, 2].min(), expected=f"at least {lookback - 1}")
    ends = [documents[document][position + 1 - lookback : position + 1] for _, document, position in places.tolist()]
    windows = torch.tensor(ends, dtype=torch.int64).reshape(-1, lookback)
    features: list[int] = places[:, 0].tolist()
    facts = (features, layer, threshold, sae_encode, identity)
    file = checkpoint and checkpoint / f"{work_digest({'windows': windows.numpy()}, 'entropies', facts)}.npz"
    stored = load_arrays(file) if file is not None else None
    entropies: list[float] = [] if stored is None else stored["entropies"].tolist()
    saved = time.monotonic()
    starts = range(len(entropies), len(windows), _WINDOWS_AT_ONCE)
    for start in track(starts, "measuring entropies", total=len(windows), step=lambda _: _WINDOWS_AT_ONCE):
        part = slice(start, start + _WINDOWS_AT_ONCE)
        results = window_influences(
            model,
            sae,
            windows[part],
            layer=layer,
            threshold=threshold,
            sae_encode=sae_encode,
            features=[[feature] for feature in features[part]],
            token_vector=False,
        )
        entropies += [float(found.entropy_bits[0]) if len(found.features) else np.nan for found in results]
        if file is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
            save_arrays(file, {"entropies": np.array(entropies)})
            saved = time.monotonic()
    return targets.assign(H_pos_bits=np.array(entropies, np.float64))


def _encoded(encode: FeatureEncoder, residual: Tensor) -> Floats:
    """Activations (tokens, n) of residuals (tokens, d)."""
    parts = torch.split(residual, max(1, _ENCODED_ENTRIES // encode.width))
    encoded: Floats = torch.cat([encode(part) for part in parts]).cpu().numpy()
    return encoded + np.float32(0)  # a JumpReLU in compat mode gives -0.0
