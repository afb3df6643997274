"""Decoder geometry against entropy: the tables of a run (locality spec 4.14 to 4.17, 5.6).

A run looks at the features of one event table. ``row_idx`` numbers them, and with them the rows of the decoder and of
the matrix of cosines. Their statistics are in `geometry_statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = [
    "N_NEIGHBOURS",
    "Nearest",
    "cosines",
    "feature_means",
    "nearest_features",
    "neighbours",
    "neuronpedia_check",
    "pairs",
]

N_NEIGHBOURS: Final = 10
"""The nearest features that a feature's entropy is compared with; column names of files say so, too."""
_SMALLEST_NORM: Final = 1e-12
_ANCHORS_AT_ONCE: Final = 64  # rows of cosines with the whole dictionary: 64 of 131,072 features are 34 MB

Floats = npt.NDArray[np.float32]


class Nearest(NamedTuple):
    """The nearest features of some anchors, nearest first.

    Attributes:
        features: (anchors, k) int64.
        cosines: (anchors, k) float32, signed.
    """

    features: npt.NDArray[np.int64]
    cosines: Floats


def feature_means(events: pd.DataFrame | pa.Table) -> pd.DataFrame:
    """Mean entropy of every feature that has a good event.

    The published code also groups by the description, and so silently loses every feature whose description is empty
    (locality spec 4.14). Here none is lost: these rows are a superset of the published ones.

    Args:
        events: rows of `Event` at one context length. Where there is no status, a row with an entropy is a good one.

    Returns:
        The columns of ``per_feature.csv``, by feature_id: feature_id, tier, description, n_events, H_pos_mean and
        H_pos_std in bits, row_idx. H_pos_std is the sample standard deviation, NaN for one event. A text is the
        first of the feature's that is not null, else empty.

    Raises:
        SchemaError: events of more than one context length.
    """
    rows = events.to_pandas() if isinstance(events, pa.Table) else events
    lengths = rows["ctx"].unique().tolist()
    if len(lengths) > 1:
        problem = "the events are of more than one context length"
        raise SchemaError(problem, where="ctx", found=sorted(lengths), expected="one length")
    is_good = (rows["status"].isna() | rows["status"].eq("ok")) & rows["H_pos_bits"].notna()
    by_feature = rows[is_good].groupby("feature_id", sort=True)
    entropies = by_feature["H_pos_bits"]
    texts = {name: by_feature[name].first().fillna("").astype(str) for name in ("tier", "description")}
    table = pd.DataFrame(
        {**texts, "n_events": entropies.count(), "H_pos_mean": entropies.mean(), "H_pos_std": entropies.std()}
    ).reset_index()
    return table.assign(feature_id=table["feature_id"].astype(np.int64), row_idx=np.arange(len(table)))


def cosines(decoder: npt.NDArray[Any]) -> Floats:
    """Cosines between all decoder rows (N, d): (N, N) float32, signed. A row of zeros has cosine 0 with all rows."""
    rows = np.asarray(decoder, dtype=np.float32)
    units = rows / _norms(rows)[:, None]
    products: Floats = units @ units.T
    return products


def pairs(features: pd.DataFrame, matrix: Floats) -> pd.DataFrame:
    """Every pair of features, in row order: the columns of ``pairwise.csv``.

    Args:
        features: as by `feature_means`.
        matrix: (N, N), their cosines.

    Returns:
        N (N - 1) / 2 rows: fid_a, fid_b, cosine, H_a, H_b, dH, tier_a, tier_b, abs_cosine; dH is |H_a - H_b| in bits.
    """
    first, second = np.triu_indices(len(features), 1)
    ids, entropies, tiers = (features[name].to_numpy() for name in ("feature_id", "H_pos_mean", "tier"))
    cosine = matrix[first, second].astype(np.float64)  # a file then holds just the value of the matrix
    return pd.DataFrame(
        {
            "fid_a": ids[first],
            "fid_b": ids[second],
            "cosine": cosine,
            "H_a": entropies[first],
            "H_b": entropies[second],
            "dH": np.abs(entropies[first] - entropies[second]),
            "tier_a": tiers[first],
            "tier_b": tiers[second],
            "abs_cosine": np.abs(cosine),
        }
    )


def neighbours(features: pd.DataFrame, matrix: Floats, *, k: int = N_NEIGHBOURS) -> pd.DataFrame:
    """Every feature beside its `k` nearest in the set by |cosine|: the columns of ``feature_neighbour_summary.csv``.

    Args:
        features: as by `feature_means`.
        matrix: (N, N), their cosines.
        k: number of neighbours; all others, where the set is smaller. Of equally near ones, the first in row order.

    Returns:
        N rows: feature_id, tier, H_pos, and the means of the neighbours' entropies and |cosines|, NaN for a feature
        that is alone.
    """
    entropies = features["H_pos_mean"].to_numpy()
    means = np.full((2, len(features)), np.nan)
    if len(features) > 1:
        nearest = _nearest(matrix, np.arange(len(features)), k)
        means[0] = entropies[nearest.features].mean(axis=1)
        means[1] = np.abs(nearest.cosines).mean(axis=1, dtype=np.float64)
    return pd.DataFrame(
        {
            "feature_id": features["feature_id"],
            "tier": features["tier"],
            "H_pos": entropies,
            "nbr10_H_mean": means[0],
            "nbr10_abs_cos_mean": means[1],
        }
    )


def nearest_features(decoder: Floats, anchors: Sequence[int], *, k: int = N_NEIGHBOURS) -> Nearest:
    """The `k` features of a whole dictionary that are nearest to each anchor by |cosine|, the anchor itself excluded.

    Args:
        decoder: (d_sae, d) float32, all decoder rows; not copied.
        anchors: features.
        k: number of neighbours; all others, where the dictionary is smaller.

    Raises:
        UnknownNameError: the dictionary has no such feature.
    """
    chosen = np.asarray(anchors, dtype=np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(decoder):
        problem = "the dictionary has no such feature"
        found = f"{chosen.min()} to {chosen.max()}"
        raise UnknownNameError(problem, where="anchors", found=found, expected=f"0 to {len(decoder) - 1}")
    norms = _norms(decoder)
    k = min(k, len(decoder) - 1)
    features, values = np.empty((len(chosen), k), np.int64), np.empty((len(chosen), k), np.float32)
    for start in range(0, len(chosen), _ANCHORS_AT_ONCE):
        rows = slice(start, start + _ANCHORS_AT_ONCE)
        part = chosen[rows]
        matrix = decoder[part] / norms[part, None] @ decoder.T
        features[rows], values[rows] = _nearest(np.divide(matrix, norms, out=matrix), part, k)
    return Nearest(features, values)


def neuronpedia_check(
    answers: Mapping[int, Mapping[str, Any]], feature_ids: Sequence[int], matrix: Floats
) -> pd.DataFrame:
    """Cosines of the set beside those that Neuronpedia gives: the columns of ``neuronpedia_xcheck.csv``.

    Args:
        answers: Neuronpedia's answers by feature; features may be missing, and so may the cosines in an answer.
        feature_ids: the features of the set, in row order.
        matrix: (N, N), their cosines.

    Returns:
        A row for every neighbour in an answer that is in the set, and not the feature itself, by feature and then as
        answered: fid, neighbour_fid, cosine_local, cosine_neuronpedia, abs_diff.

    Raises:
        SchemaError: an answer does not hold as many cosines as neighbours, or they are no numbers.
    """
    rows = {feature: row for row, feature in enumerate(feature_ids)}
    found = [
        (feature, neighbour, float(matrix[row, rows[neighbour]]), cosine)
        for feature, row in rows.items()
        for neighbour, cosine in _answered(feature, answers.get(feature, {}))
        if neighbour in rows and neighbour != feature
    ]
    kinds = {"fid": np.int64, "neighbour_fid": np.int64, "cosine_local": np.float64, "cosine_neuronpedia": np.float64}
    table = pd.DataFrame(found, columns=list(kinds)).astype(kinds)
    return table.assign(abs_diff=(table["cosine_local"] - table["cosine_neuronpedia"]).abs())


def _norms(rows: Floats) -> Floats:
    """Norms (N,) of rows (N, d), at least 1e-12; unlike `numpy.linalg.norm`, without squares of all rows at once."""
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    norms: Floats = np.maximum(np.sqrt(squares), _SMALLEST_NORM).astype(np.float32)
    return norms


def _nearest(matrix: Floats, own: npt.NDArray[np.int64], k: int) -> Nearest:
    """The `k` columns of greatest magnitude in every row (A, N), but for the row's own (A,)."""
    magnitudes = np.abs(matrix)
    magnitudes[np.arange(len(own)), own] = -1
    order = np.argsort(-magnitudes, axis=1, kind="stable")[:, : min(k, matrix.shape[1] - 1)]
    return Nearest(order, np.take_along_axis(matrix, order, axis=1))


def _answered(feature: int, answer: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """Neighbours and cosines in one answer."""
    ids, values = answer.get("topkCosSimIndices") or (), answer.get("topkCosSimValues") or ()
    try:
        yield from [(int(neighbour), float(value)) for neighbour, value in zip(ids, values, strict=True)]
    except (TypeError, ValueError) as error:
        problem = "an answer of Neuronpedia does not hold one cosine per neighbour"
        where = f"topkCosSimIndices and topkCosSimValues of feature {feature}"
        raise SchemaError(problem, where=where, found=error) from error
