"""Checks of claims about CSP-Atlas's circuits: its masks, how modular they are, and how they cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Interval, Outcome, few, no_data_if
from circuit_artifacts.compute.csp.masks import universals
from circuit_artifacts.csp_atlas.readers import LabelledMasks
from circuit_artifacts.formats.hdf5.leaves import read_layers
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.schemas.csp_vocabulary import ISOLATED_NODES, concept_key, split_pair

__all__ = [
    "ATOMIC",
    "are_intersections",
    "cluster_members",
    "clusters",
    "empty_circuits",
    "empty_concepts",
    "in_every_setting",
    "leader",
    "read_masks",
    "scores_are_one",
    "shrink",
    "significant_concepts",
    "top_scores",
]

ATOMIC = tuple(concept_key("ast", node) for node in ISOLATED_NODES)
"""The concepts that are paired with the sentinel only."""
_SIGNIFICANCE = 0.05


def read_masks(data: Data, config: str, group: str = "universal_masks") -> LabelledMasks:
    """All masks of one group of a mask file.

    Raises:
        FormatError: the file is truncated.
        SchemaError: it is not what the schema declares.
    """
    path = data.path(config)
    shape = Shape.of(path, data.mirror)
    labels, masks = read_layers(path, group, dtype=np.bool_, shape=shape, config=data.mirror.configs[config])
    return LabelledMasks(masks, labels)


# Masks


def in_every_setting(count: Callable[[npt.NDArray[np.bool_]], int], published: Interval, what: str) -> Check:
    """A count in the universal masks, bool (concept, layer, dimension), that is the same at every setting."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        counts = [count(read_masks(data, config).masks) for config in configs]
        span = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        return Outcome(f"{span} {what} in {len(counts)} setting(s)", published.farthest(counts))

    return check


def empty_concepts(masks: npt.NDArray[np.bool_]) -> int:
    """Concepts whose masks are empty at all layers."""
    return int((~masks.any(axis=(1, 2))).sum())


def empty_circuits(masks: npt.NDArray[np.bool_]) -> int:
    """Empty masks."""
    return int((~masks.any(axis=2)).sum())


def are_intersections(data: Data, configs: Sequence[str]) -> Outcome:
    """Each universal mask is what all pairs of its concept share."""
    masks, concepts = read_masks(data, configs[0])
    pair_masks, keys = read_masks(data, configs[0], "pair_masks")
    names, expected = universals(pair_masks, [split_pair(key) for key in keys])
    if sorted(names) != sorted(concepts):
        return Outcome("the concepts of the pairs are not those that have universal masks", holds=False)
    rows = [concepts.index(name) for name in names]
    wrong = int((masks[rows] != expected).any(axis=-1).sum())
    return Outcome(f"{wrong} of {masks.shape[0] * masks.shape[1]} masks are something else", wrong, holds=wrong == 0)


def shrink(data: Data, configs: Sequence[str]) -> Outcome:
    """No universal mask gains a dimension where a threshold is raised."""
    stacks = {config: read_masks(data, config) for config in configs}
    gains, steps = 0, 0
    for looser, stricter in _neighbours(data, configs):
        if stacks[looser].labels == stacks[stricter].labels:
            gains += int((stacks[stricter].masks & ~stacks[looser].masks).any(axis=-1).sum())
            steps += 1
    no_data_if(not steps, "there are no two settings of the same concepts to compare")
    return Outcome(f"{gains} masks gain dimensions in {steps} steps between settings", gains, holds=gains == 0)


def _neighbours(data: Data, configs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of settings that differ in one threshold, the looser first."""
    settings = {config: data.mirror.configs[config].setting for config in configs}
    for fixed, moving in (("eps", "cons"), ("cons", "eps")):
        for value in sorted({setting[fixed] for setting in settings.values()}):
            line = [config for config in configs if settings[config][fixed] == value]
            yield from pairwise(sorted(line, key=lambda config: settings[config][moving]))


# Modularity and hierarchy


def leader(concept: str, published: Interval) -> Check:
    """Layers at which a concept is modular without a trim, which is more than any other or as many."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        scores = _scores(data, configs)
        layers, others = int(scores[concept]), scores.drop(concept)
        sentence = (
            f"{concept} is modular at {layers} layers; {(others > layers).sum()} concepts at more, "
            f"{(others == layers).sum()} at as many"
        )
        return Outcome(sentence, layers, holds=layers in published and not (others > layers).any())

    return check


def top_scores(published: Iterable[str]) -> Check:
    """The concepts of the first rows."""
    wanted = set(published)

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        top = list(_scores(data, configs).index[: len(wanted)])
        return Outcome(f"the first rows are {', '.join(top)}", holds=set(top) == wanted)

    return check


def scores_are_one(*concepts: str) -> Check:
    """Some concepts are modular at one layer each."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        scores = _scores(data, configs)[list(concepts)]
        found = ", ".join(f"{concept} at {layers}" for concept, layers in scores.items())
        return Outcome(f"layers: {found}", holds=bool((scores == 1).all()))

    return check


def _scores(data: Data, configs: Sequence[str]) -> pd.Series[int]:
    scores = data.frame(configs[0]).set_index("concept")["p=0.0"]
    absent = [concept for concept in ATOMIC if concept not in scores.index]
    no_data_if(bool(absent), f"the table lacks {few(absent)}")
    return scores


def significant_concepts(data: Data, configs: Sequence[str]) -> Outcome:
    """By rank, only so many concepts can be below the level."""
    detail = data.frame(configs[0])
    no_data_if(detail.empty, "the table has no rows")
    most = int(detail.groupby(["layer", "p_trim"])["significant"].sum().max())
    cap = int(np.ceil(_SIGNIFICANCE * detail["object"].nunique())) - 1
    return Outcome(f"{most} at most in one layer and trim, of {cap} that can be", most, holds=most <= cap)


def clusters(layer: int) -> Check:
    """In how many of four clusters the atomic concepts are."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        labels = _labels(data, configs, layer)
        here = [concept for concept in ATOMIC if concept in labels]
        count = len({labels[concept] for concept in here})
        return Outcome(f"{len(here)} of the {len(ATOMIC)} are in {count} cluster(s) at layer {layer}", count)

    return check


def cluster_members(layer: int, published: Iterable[str]) -> Check:
    """What is in the cluster of the atomic concepts."""
    wanted = set(published)

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        labels = _labels(data, configs, layer)
        members = {concept for concept, label in labels.items() if label == labels.get(ATOMIC[0])}
        more, fewer = sorted(members - wanted), sorted(wanted - members)
        sentence = f"{len(members)} concepts share the cluster of {ATOMIC[0]}"
        sentence += f", with {few(more)} too many" * bool(more) + f", without {few(fewer)}" * bool(fewer)
        return Outcome(sentence, len(members), holds=members == wanted)

    return check


def _labels(data: Data, configs: Sequence[str], layer: int) -> dict[str, int]:
    """The flat cluster of each concept whose mask is not empty."""
    from circuit_artifacts.compute.csp.hierarchy import ATOMICITY_CLUSTERS, cut, ward  # needs SciPy, of an extra

    masks, concepts = read_masks(data, configs[0])
    no_data_if(layer >= masks.shape[1], f"there is no layer {layer}")
    linkage, names = ward(masks[:, layer], concepts)
    return dict(zip(names, cut(linkage, ATOMICITY_CLUSTERS).tolist(), strict=True))
