"""Relaxed modularity: which concepts share least with the others, allowing for a few close ones (csp_atlas spec 7.1).

The test ranks a concept's trimmed mean Jaccard index within the population of concepts. Scores are therefore zero-sum:
with N concepts, at most those of rank below ``significance * N`` (5 of 106) can be significant per layer and trim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.compute.csp.masks import MaskArray, pairwise_jaccard, require_masks
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import split_concept

__all__ = ["TRIMS", "RelaxedModularity", "detail_table", "relaxed_modularity", "scores_table"]

TRIMS = (0.0, 0.05, 0.10, 0.25)
"""Shares of the most similar other concepts that are left out of the mean."""


@dataclass(frozen=True)
class RelaxedModularity:
    """Result of `relaxed_modularity` for N concepts, L layers and P trims.

    Attributes:
        trims: the P trims.
        observed: float32 (L, P, N), mean Jaccard index with the other concepts after trimming.
        percentile: float64 (L, P, N), share of the concepts whose observed value is at most one's own.
        significant: bool (L, P, N), percentile below the significance level.
    """

    trims: tuple[float, ...]
    observed: npt.NDArray[np.float32]
    percentile: npt.NDArray[np.float64]
    significant: npt.NDArray[np.bool_]

    @property
    def scores(self) -> npt.NDArray[np.int64]:
        """Number of significant layers, int64 (N, P)."""
        scores: npt.NDArray[np.int64] = self.significant.sum(axis=0, dtype=np.int64)
        return scores.T


def relaxed_modularity(
    masks: MaskArray, *, trims: Sequence[float] = TRIMS, significance: float = 0.05
) -> RelaxedModularity:
    """Rank every concept by its trimmed mean Jaccard index with the others, per layer and trim.

    All arithmetic is float32 and sums run in the published order (over concepts without a trim, over descending values
    with one): the rank test compares the means for equality, so a different rounding could change who is significant.

    Args:
        masks: bool (N, L, W), concepts in ASCII order as in the published script.
        trims: shares p; the floor(p * (N - 1)) largest indices are dropped.
        significance: the percentile below which a concept is significant.

    Raises:
        SchemaError: not a stack of masks of at least two concepts, or a trim outside [0, 1).
    """
    require_masks("masks", masks, "concept, layer, dimension")
    n_others = len(masks) - 1
    if n_others < 1:
        problem = "modularity compares each concept with others"
        raise SchemaError(problem, where="masks", found=f"{len(masks)} concepts", expected="at least 2")
    if not all(0 <= trim < 1 for trim in trims):
        problem = "a trim is the share of the other concepts that is dropped"
        raise SchemaError(problem, where="trims", found=tuple(trims), expected="values in [0, 1)")
    jaccard = pairwise_jaccard(masks.swapaxes(0, 1), dtype=np.float32).astype(np.float32, copy=False)
    not_self = ~np.eye(len(masks), dtype=np.bool_)
    # Rows must be contiguous: numpy then sums each in the order in which it would sum it alone.
    others = np.ascontiguousarray(jaccard[:, not_self]).reshape(len(jaccard), len(masks), n_others)
    descending = -np.sort(-others, axis=-1)
    observed = np.empty((len(jaccard), len(trims), len(masks)), dtype=np.float32)
    for index, trim in enumerate(trims):
        kept = descending[..., math.floor(trim * n_others) :] if trim > 0 else others
        observed[:, index] = kept.mean(axis=-1)
    at_most_own = observed[..., None, :] <= observed[..., :, None]
    percentile = np.count_nonzero(at_most_own, axis=-1) / len(masks)
    return RelaxedModularity(tuple(trims), observed, percentile, percentile < significance)


def scores_table(concepts: Sequence[str], result: RelaxedModularity) -> pd.DataFrame:
    """The table of ``relaxed_modularity_scores.csv`` (csp_atlas spec 1.8).

    Args:
        concepts: keys of the N concepts, in the order of the masks.
        result: of `relaxed_modularity`.

    Returns:
        Unnamed index of concept keys, columns ``type`` and ``p=<trim>`` per trim; sorted by the first and then the last
        trim's score, descending, ties in ASCII order.
    """
    columns = [f"p={trim}" for trim in result.trims]
    table = pd.DataFrame(result.scores, index=pd.Index(list(concepts)), columns=columns)
    table.insert(0, "type", [split_concept(concept)[0] for concept in concepts])
    # Sorting by name first, and stably by score after that, leaves ties in ASCII order.
    return table.sort_index().sort_values([columns[0], columns[-1]], ascending=False, kind="stable")


def detail_table(concepts: Sequence[str], result: RelaxedModularity) -> pd.DataFrame:
    """The table of ``relaxed_modularity_detail.csv`` (csp_atlas spec 1.8).

    Args:
        concepts: keys of the N concepts, in the order of the masks.
        result: of `relaxed_modularity`.

    Returns:
        One row per layer, concept (ASCII order) and trim, in that nesting. Observed values are float32 with 4
        decimals; percentiles are as they are, since the spec knows of no rounding there.
    """
    n_layers, n_trims, n_concepts = result.observed.shape
    order = np.argsort(np.array(concepts, dtype=object), kind="stable")
    names = np.array(concepts, dtype=object)[order]
    kinds = np.array([split_concept(name)[0] for name in names], dtype=object)

    def column(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return values[:, :, order].swapaxes(1, 2).ravel()

    return pd.DataFrame(
        {
            "object": np.tile(np.repeat(names, n_trims), n_layers),
            "type": np.tile(np.repeat(kinds, n_trims), n_layers),
            "layer": np.repeat(np.arange(n_layers), n_concepts * n_trims),
            "p_trim": np.tile(np.array(result.trims, dtype=np.float64), n_layers * n_concepts),
            "observed_trimmed_jaccard": column(np.round(result.observed, 4)),
            "percentile": column(result.percentile),
            "significant": column(result.significant),
        }
    )
