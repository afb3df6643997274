"""How a feature's activation goes on along a text: strips around its peaks, and autocorrelation by lag.

Only the card speaks of this strand (locality spec 4.19, 5.7). Strips are as it describes them. Everything else here is
ours: the selection of features and peaks, the estimator of the autocorrelation, and which positions are sampled. So
results are not to be compared with published ones; files say so (``FORMULAS``).

Everywhere `documents` are the activations of n features in each document, float32 (T, n), in the order of `features`.
Documents may differ in length, and nothing here looks across the border of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.fft

from circuit_artifacts.sae_locality.autocorrelation import PEAK, TRACE_LENGTH

__all__ = [
    "FORMULAS",
    "LOOKBACK",
    "MAX_LAG",
    "activation_statistics",
    "autocorrelation",
    "curve_table",
    "feature_summary",
    "sample_targets",
    "select_features",
    "strips",
    "top_peaks",
]

FORMULAS: Final = "proposed by circuit-artifacts; the published code is not available"
LOOKBACK: Final = 256
"""Tokens of the window of an entropy target, the active one included (card)."""
MAX_LAG: Final = PEAK
"""Largest lag; the published range is not known, and this is as far as the strips reach."""

Floats = npt.NDArray[np.float32]


def activation_statistics(documents: Sequence[Floats], features: Sequence[int], threshold: float = 0.0) -> pd.DataFrame:
    """How often and how strongly features are active.

    Args:
        documents: see the module.
        features: their columns' numbers in the autoencoder.
        threshold: an active feature is above it.

    Returns:
        One row per feature: feature_id, n_active tokens, n_documents with such a token, density (share of all tokens),
        max_activation (at least 0).
    """
    active, present = np.zeros((2, len(features)), np.int64)
    highest = np.zeros(len(features), np.float32)
    for activations in documents:
        counts = (activations > threshold).sum(axis=0)
        active += counts
        present += counts > 0
        np.maximum(highest, activations.max(axis=0, initial=0), out=highest)
    n_tokens = sum(len(activations) for activations in documents)
    return pd.DataFrame(
        {
            "feature_id": np.asarray(features, np.int64),
            "n_active": active,
            "n_documents": present,
            "density": active / max(1, n_tokens),
            "max_activation": highest.astype(np.float64),
        }
    )


def select_features(
    statistics: pd.DataFrame, *, min_density: float, max_density: float, min_documents: int
) -> pd.DataFrame:
    """The features worth looking at: neither rare nor everywhere, in several documents.

    Args:
        statistics: as by `activation_statistics`.
        min_density: least share of tokens on which a feature is active.
        max_density: greatest share.
        min_documents: least number of documents in which it is.

    Returns:
        Those rows, in the same order, with the three filters as columns.
    """
    passes = statistics["density"].between(min_density, max_density) & (statistics["n_documents"] >= min_documents)
    filters = {"min_density": min_density, "max_density": max_density, "min_documents": min_documents}
    return statistics[passes].reset_index(drop=True).assign(**filters)


def top_peaks(
    documents: Sequence[Floats], features: Sequence[int], *, n_examples: int, threshold: float = 0.0
) -> pd.DataFrame:
    """The places where each feature is most active, one per document, so that strips do not overlap.

    Args:
        documents: see the module.
        features: see `activation_statistics`.
        n_examples: peaks per feature; fewer, where it is active in fewer documents.
        threshold: an active feature is above it.

    Returns:
        By feature, highest peak first: feature_id, example (from 0), document (its index), peak_position in it,
        activation. Of equal activations, the first in the first document.
    """
    columns = np.arange(len(features))
    values = np.full((len(documents), len(features)), -np.inf, np.float32)
    positions = np.zeros(values.shape, np.int64)
    for row, activations in enumerate(documents):
        if len(activations):
            positions[row] = activations.argmax(axis=0)
            values[row] = activations[positions[row], columns]
    order = np.argsort(-values, axis=0, kind="stable")[:n_examples]
    peaks = pd.DataFrame(
        {
            "feature_id": np.repeat(np.asarray(features, np.int64), len(order)),
            "example": np.tile(np.arange(len(order)), len(features)),
            "document": order.T.ravel(),
            "peak_position": np.take_along_axis(positions, order, axis=0).T.ravel(),
            "activation": np.take_along_axis(values, order, axis=0).T.ravel().astype(np.float64),
        }
    )
    return peaks[peaks["activation"] > threshold].reset_index(drop=True)


def strips(documents: Sequence[Floats], features: Sequence[int], peaks: pd.DataFrame) -> dict[int, Floats]:
    """Activations from 64 tokens before to 64 after each peak, divided by the peak (locality spec 5.7).

    Args:
        documents: see the module.
        features: see `activation_statistics`.
        peaks: as by `top_peaks`.

    Returns:
        For each feature that has peaks, float32 (examples, 129): exactly 1 in the middle, NaN outside the document.
    """
    columns = {feature: column for column, feature in enumerate(features)}
    found: dict[int, list[Floats]] = {}
    places = (peaks[name].tolist() for name in ("feature_id", "document", "peak_position"))
    for feature, document, peak in zip(*places, strict=True):
        activations = documents[document][:, columns[feature]]
        start = max(0, peak - PEAK)
        inside = activations[start : peak + PEAK + 1] / activations[peak]
        strip = np.full(TRACE_LENGTH, np.nan, np.float32)
        strip[start - (peak - PEAK) :][: len(inside)] = inside
        found.setdefault(feature, []).append(strip)
    return {feature: np.stack(members) for feature, members in found.items()}


def autocorrelation(documents: Sequence[Floats], *, max_lag: int = MAX_LAG) -> npt.NDArray[np.float64]:
    """Autocorrelation of activations by lag (locality spec 5.7).

    With m the mean of f over all tokens of all documents, r(lag) is the sum of (f(t) - m)(f(t + lag) - m) over all
    pairs of tokens of one document, divided by the sum of (f(t) - m)^2 over all tokens. Longer lags have fewer pairs,
    which is not made up for: that keeps r between -1 and 1.

    Args:
        documents: see the module.
        max_lag: largest lag, in tokens.

    Returns:
        float64 (n, max_lag + 1), 1 at lag 0; NaN for a feature whose activation never changes.
    """
    texts = [activations for activations in documents if len(activations)]
    n_features = documents[0].shape[1] if documents else 0
    if not texts:
        return np.full((n_features, max_lag + 1), np.nan)
    extremes = np.array([(text.min(axis=0), text.max(axis=0)) for text in texts])
    is_constant = extremes[:, 0].min(axis=0) == extremes[:, 1].max(axis=0)
    mean = sum(text.sum(axis=0, dtype=np.float64) for text in texts) / sum(map(len, texts))
    sums = np.zeros((max_lag + 1, n_features))
    for text in texts:
        length = scipy.fft.next_fast_len(len(text) + max_lag, real=True)  # so that no product wraps around
        spectrum = scipy.fft.rfft(text - mean, length, axis=0)
        sums += scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, length, axis=0)[: max_lag + 1]
    return (sums / np.where(is_constant, np.nan, sums[0])).T


def curve_table(features: Sequence[int], curves: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Curves (n, lags) in long form: feature_id, lag, autocorrelation, by feature and lag."""
    n_features, n_lags = curves.shape
    return pd.DataFrame(
        {
            "feature_id": np.repeat(np.asarray(features, np.int64), n_lags),
            "lag": np.tile(np.arange(n_lags), n_features),
            "autocorrelation": curves.ravel(),
        }
    )


def sample_targets(
    documents: Sequence[Floats],
    features: Sequence[int],
    *,
    n_positions: int,
    lookback: int = LOOKBACK,
    threshold: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw positions where features are active, to measure their entropy there.

    Args:
        documents: see the module.
        features: see `activation_statistics`.
        n_positions: positions per feature, drawn without replacement; all, where there are fewer.
        lookback: only positions that end as many tokens of their document.
        threshold: an active feature is above it.
        seed: together with the feature, of numpy's generator, so that a feature's positions depend on no other feature.

    Returns:
        By feature, document and position: feature_id, document (its index), position in it, activation.
    """
    first = lookback - 1
    active = [np.argwhere(activations[first:] > threshold) for activations in documents]
    places = np.concatenate(
        [np.empty((0, 3), np.int64)]
        + [
            np.column_stack([found[:, 1], np.full(len(found), document), found[:, 0] + first])
            for document, found in enumerate(active)
        ]
    )
    places = places[np.argsort(places[:, 0], kind="stable")]
    bounds = np.searchsorted(places[:, 0], np.arange(len(features) + 1))
    chosen = [np.empty(0, np.int64)]
    for feature, start, stop in zip(features, bounds[:-1], bounds[1:], strict=True):
        random = np.random.default_rng([seed, feature])
        chosen.append(start + np.sort(random.choice(stop - start, min(n_positions, stop - start), replace=False)))
    column, document, position = places[np.concatenate(chosen)].T
    values = [float(documents[d][p, c]) for c, d, p in zip(column, document, position, strict=True)]
    ids = np.asarray(features, np.int64)[column]
    return pd.DataFrame(
        {"feature_id": ids, "document": document, "position": position, "activation": np.array(values, np.float64)}
    )


def feature_summary(
    statistics: pd.DataFrame,
    curves: npt.NDArray[np.float64],
    traces: Mapping[int, Floats],
    targets: pd.DataFrame,
) -> pd.DataFrame:
    """One line per feature, in the order of `statistics`.

    Args:
        statistics: as by `activation_statistics`.
        curves: as by `autocorrelation`, of the same features.
        traces: as by `strips`.
        targets: positions with H_pos_bits.

    Returns:
        feature_id, density, max_activation, n_examples; n_targets with an entropy, their mean H_pos_mean and sample
        standard deviation H_pos_std in bits; autocorr_lag1, and half_lag, the first lag at which the autocorrelation
        is at most one half, missing if that is beyond the largest lag.
    """
    ids = statistics["feature_id"]
    by_feature = targets.groupby("feature_id")["H_pos_bits"]
    entropies = pd.DataFrame({"n": by_feature.count(), "mean": by_feature.mean(), "std": by_feature.std()}).reindex(ids)
    is_low = curves <= 0.5
    half_lag = pd.array(is_low.argmax(axis=1), dtype="Int64")
    half_lag[~is_low.any(axis=1)] = pd.NA
    return pd.DataFrame(
        {
            "feature_id": ids,
            "density": statistics["density"],
            "max_activation": statistics["max_activation"],
            "n_examples": [len(traces.get(feature, ())) for feature in ids.tolist()],
            "n_targets": entropies["n"].fillna(0).astype(np.int64).to_numpy(),
            "H_pos_mean": entropies["mean"].to_numpy(),
            "H_pos_std": entropies["std"].to_numpy(),
            "autocorr_lag1": curves[:, 1] if curves.shape[1] > 1 else np.nan,
            "half_lag": half_lag,
        }
    )
