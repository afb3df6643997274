"""Which circuits resemble each other: Ward clustering on the Jaccard distance (csp_atlas spec 7.3).

Ward's criterion assumes Euclidean distances, which 1 - Jaccard is not; this is what was published, and ties may merge
in another order under another SciPy version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy as scipy_hierarchy

from circuit_artifacts.compute.csp.masks import MaskArray, pairwise_jaccard, require_masks
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import ISOLATED_NODES, concept_key

__all__ = [
    "ATOMICITY_CLUSTERS",
    "ATOMICITY_CONCEPTS",
    "ATOMICITY_LAYER",
    "Clustering",
    "atomicity_clusters",
    "cut",
    "ward",
]

ATOMICITY_LAYER = 3
"""The layer of the published dendrogram."""

ATOMICITY_CLUSTERS = 4
"""The number of flat clusters into which it is cut."""

ATOMICITY_CONCEPTS = tuple(concept_key("ast", node) for node in ISOLATED_NODES)
"""The six concepts that are paired with nothing but the sentinel, and so are not marginalised."""


class Clustering(NamedTuple):
    """Result of `ward`.

    Attributes:
        linkage: float64 (n - 1, 4), SciPy's linkage matrix of the n clustered masks.
        names: the names of those masks, in the order of the linkage's leaves.
    """

    linkage: npt.NDArray[np.float64]
    names: list[str]


def ward(masks: MaskArray, names: Sequence[str]) -> Clustering:
    """Cluster the non-empty masks of one layer, names sorted as in the published figure.

    Args:
        masks: bool (N, W), one layer.
        names: N names.

    Returns:
        The linkage and the names that were kept; empty masks are left out.

    Raises:
        SchemaError: not masks with one name each, or fewer than two that are not empty.
    """
    require_masks("masks", masks, "concept, dimension", names)
    kept = sorted((name, row) for row, name in enumerate(names) if masks[row].any())
    if len(kept) < 2:
        problem = "clustering needs masks that are not empty"
        raise SchemaError(problem, where="masks", found=f"{len(kept)} of {len(masks)}", expected="at least 2")
    distance = 1.0 - pairwise_jaccard(masks[[row for _, row in kept]])
    condensed = distance[np.triu_indices(len(kept), k=1)]
    return Clustering(scipy_hierarchy.linkage(condensed, method="ward"), [name for name, _ in kept])


def cut(linkage: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.int32]:
    """Cut a linkage into at most `k` flat clusters: int32 (n,) labels from 1 on."""
    return scipy_hierarchy.fcluster(linkage, t=k, criterion="maxclust").astype(np.int32, copy=False)


def atomicity_clusters(
    names: Sequence[str], labels: npt.NDArray[np.int32], *, members: Iterable[str] = ATOMICITY_CONCEPTS
) -> int:
    """Number of flat clusters that hold the atomicity concepts; 1 means that they form one group.

    Args:
        names: names of the clustered masks.
        labels: their flat clusters, from `cut`.
        members: the concepts to look for. Those that were not clustered do not count.

    Raises:
        SchemaError: not one label per name.
    """
    if len(names) != len(labels):
        problem = "every clustered mask needs one label"
        raise SchemaError(problem, where="labels", found=len(labels), expected=len(names))
    wanted = set(members)
    return len({label for name, label in zip(names, labels.tolist(), strict=True) if name in wanted})
