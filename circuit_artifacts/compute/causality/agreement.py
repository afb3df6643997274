"""Which features carry subject-verb agreement, and how many of them attribution patching finds.

The truth is a circuit: features whose effect by integrated gradients is large. Attribution patching finds those of them
whose score is above a percentile (causal-dimensionality spec 2.8). The published numbers come with no more than this;
what is compared with what is our choice, as the spec makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from circuit_artifacts.compute.causality.submodule_effects import SubmoduleEffects
from circuit_artifacts.errors import ModelError

__all__ = [
    "NODE_THRESHOLDS",
    "QUANTILES",
    "CircuitRecall",
    "PercentileScope",
    "RecallPoint",
    "circuit",
    "circuit_recall",
    "node_threshold",
    "recall_points",
    "recall_sweep",
]

logger = logging.getLogger(__name__)

QUANTILES: Final = (0.99, 0.98, 0.95)
NODE_THRESHOLDS: Final = (0.1, 0.2)
"""Least effects of a circuit's nodes: the example of feature-circuits' README, and its default for sums."""
_PUBLISHED_SIZE: Final = 56
"""The published recalls are 24, 43 and 55 of so many features, if of any number below 112."""

PercentileScope = Literal["per_submodule", "global"]
"""Whether a score must be above the percentile of its submodule, or of all submodules together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallPoint:
    """The share of a circuit's features that is above one percentile.

    Attributes:
        scope: what the percentile is taken over, always with the features that do not fire.
        q: the percentile, as a share.
        n_true: features of the circuit.
        n_hit: those whose absolute effect by attribution reaches the percentile; an effect of zero never does.
        n_hit_activation: those that reach it by their activation alone.
        n_most: the most members that any score could have brought to the percentile, in this scope: with few
            features, fewer reach it than the circuit has.
        random_baseline: expected recall of features drawn at random, 1 - q.
        firing_baseline: expected recall of features drawn at random among those that fire.
    """

    scope: PercentileScope
    q: float
    n_true: int
    n_hit: int
    n_hit_activation: int
    n_most: int
    random_baseline: float
    firing_baseline: float

    @property
    def recall(self) -> float:
        """Share of the circuit that attribution patching finds."""
        return self.n_hit / self.n_true

    @property
    def activation_recall(self) -> float:
        """Share of the circuit that activations alone find."""
        return self.n_hit_activation / self.n_true


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRecall:
    """How much of one circuit is found.

    Attributes:
        node_threshold: least effect of its features.
        n_true: its number of features.
        points: for every scope and percentile.
    """

    node_threshold: float
    n_true: int
    points: tuple[RecallPoint, ...]


def circuit(effects: Sequence[SubmoduleEffects], threshold: float) -> list[Tensor]:
    """Features whose effect by integrated gradients exceeds a threshold, (d_sae,) bool per submodule.

    The error nodes are no part of it.
    """
    return [submodule.integrated.abs() > threshold for submodule in effects]


def node_threshold(effects: Sequence[SubmoduleEffects], size: int) -> float:
    """The threshold with which the circuit has so many features; midway between two effects.

    Raises:
        ModelError: fewer features have an effect, or two equal effects are in the way.
    """
    magnitudes = torch.cat([submodule.integrated.abs() for submodule in effects]).sort(descending=True).values
    n_effects = int((magnitudes > 0).sum())
    lower = magnitudes[size] if size < len(magnitudes) else torch.tensor(0.0)
    if not 1 <= size <= n_effects or magnitudes[size - 1] == lower:
        problem = "no threshold gives a circuit of this size"
        raise ModelError(problem, where="size", found=size, expected=f"1 to {n_effects}, without ties")
    return float((magnitudes[size - 1] + lower) / 2)


def circuit_recall(
    truth: Sequence[SubmoduleEffects],
    scores: Sequence[SubmoduleEffects] | None = None,
    *,
    threshold: float,
    quantiles: Sequence[float] = QUANTILES,
) -> CircuitRecall | None:
    """How much of a circuit attribution patching finds, at several percentiles; None if the circuit is empty.

    Args:
        truth: effects that make the circuit.
        scores: effects on other examples, for a test on held-out sentences, of the same submodules; None scores with
            the examples of the circuit, which makes recall at low percentiles high almost by construction.
        threshold: least effect of the circuit's features.
        quantiles: the percentiles, as shares.

    Raises:
        ModelError: the submodules are not the same.
    """
    members = circuit(truth, threshold)
    n_true = int(sum(mask.sum() for mask in members))
    if not n_true:
        return None
    scores = truth if scores is None else scores
    if [submodule.name for submodule in truth] != [submodule.name for submodule in scores]:
        problem = "circuit and scores are not of the same submodules"
        names = [", ".join(submodule.name for submodule in effects) for effects in (scores, truth)]
        raise ModelError(problem, where="scores", found=names[0], expected=names[1])
    points = recall_points(members, scores, quantiles=quantiles)
    return CircuitRecall(node_threshold=threshold, n_true=n_true, points=tuple(points))


def recall_points(
    members: Sequence[Tensor], scores: Sequence[SubmoduleEffects], *, quantiles: Sequence[float] = QUANTILES
) -> Iterator[RecallPoint]:
    """Recall for every scope and percentile.

    Args:
        members: the circuit, (d_sae,) bool per submodule, not empty.
        scores: effects of the same submodules.
        quantiles: the percentiles, as shares.
    """
    n_true = int(sum(mask.sum() for mask in members))
    for scope in get_args(PercentileScope):
        for q in quantiles:
            hits, most = _hits(members, [submodule.attributed.abs() for submodule in scores], scope, q)
            by_activation, _ = _hits(members, [submodule.activation.abs() for submodule in scores], scope, q)
            yield RecallPoint(
                scope=scope,
                q=q,
                n_true=n_true,
                n_hit=hits,
                n_hit_activation=by_activation,
                n_most=most,
                random_baseline=1 - q,
                firing_baseline=_firing_baseline(members, [submodule.fires for submodule in scores], scope, q),
            )


def recall_sweep(
    truth: Sequence[SubmoduleEffects],
    scores: Sequence[SubmoduleEffects] | None = None,
    *,
    thresholds: Sequence[float] = NODE_THRESHOLDS,
    sizes: Sequence[int] = (_PUBLISHED_SIZE,),
    quantiles: Sequence[float] = QUANTILES,
) -> list[CircuitRecall]:
    """Recall for circuits of several sizes, the largest threshold first; impossible ones are left out, and logged.

    Args:
        truth: as `circuit_recall`.
        scores: as `circuit_recall`.
        thresholds: least effects.
        sizes: numbers of features, for each of which the threshold is found that gives it.
        quantiles: as `circuit_recall`.

    Raises:
        ModelError: the submodules are not the same.
    """
    wanted = set(thresholds)
    for size in sizes:
        try:
            wanted.add(node_threshold(truth, size))
        except ModelError as error:
            logger.warning("a circuit of %d features is left out: %s", size, error)
    found = []
    for threshold in sorted(wanted, reverse=True):
        recall = circuit_recall(truth, scores, threshold=threshold, quantiles=quantiles)
        if recall is None:
            logger.warning("no feature has an effect above %g, so that there is no circuit", threshold)
        else:
            found.append(recall)
    return found


def _hits(members: Sequence[Tensor], scores: Sequence[Tensor], scope: PercentileScope, q: float) -> tuple[int, int]:
    """Members whose score is at least the percentile, and how many could be.

    Where the percentile is zero, features without a score do not reach it.
    """
    if scope == "global":
        members, scores = [torch.cat(list(members))], [torch.cat(list(scores))]
    hits = most = 0
    for mask, score in zip(members, scores, strict=True):
        reaching = (score >= score.quantile(q)) & (score > 0)
        hits += int((mask & reaching).sum())
        most += min(int(mask.sum()), int(reaching.sum()))
    return hits, most


def _firing_baseline(members: Sequence[Tensor], fires: Sequence[Tensor], scope: PercentileScope, q: float) -> float:
    """(1 - q) / share of features that fire, at most 1; over submodules, the mean over members."""
    if scope == "global":
        members, fires = [torch.cat(list(members))], [torch.cat(list(fires))]
    n_members = torch.stack([mask.sum() for mask in members]).double()
    alive = torch.stack([mask.double().mean() for mask in fires])
    return float((n_members * ((1 - q) / alive).clamp(max=1)).sum() / n_members.sum())
