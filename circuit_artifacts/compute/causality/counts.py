"""How many features are causal, by four rules that are always reported together (causal-dimensionality spec 2.2).

===============  ========================================================================================
``percentile``   score above the 98th percentile of the base's scores, dead features included: published,
                 and at the base itself the count is then what the percentile says
``null``         score above the 99.9th percentile of scores of random directions with the same activations
``effect_size``  mean absolute exact effect of at least max(1e-4, 5 times the numerical noise) nats per token
``mass``         the fewest features that carry 95 % of the sum of all scores
===============  ========================================================================================

A feature that fires and is not causal is inert; features that never fire are neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.stats

from circuit_artifacts.errors import SchemaError

__all__ = [
    "RULES",
    "Calibration",
    "Rule",
    "causal_count",
    "effect_calibration",
    "effect_count",
    "effective_count",
    "mass_calibration",
    "null_calibration",
    "percentile_calibration",
]

Rule = Literal["percentile", "null", "effect_size", "mass"]
RULES: Final[tuple[str, ...]] = get_args(Rule)

Floats = npt.NDArray[np.float64]

_LEAST_EFFECT: Final = 1e-4  # nats per token
_NOISE_FACTOR: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A rule with its numbers.

    Attributes:
        rule: one of ``RULES``.
        q: the quantile of ``percentile`` and ``null``, the share of ``mass``; None for ``effect_size``.
        tau: the threshold, in units of the score or of the effect per token; None for ``mass``.
        base: name of the autoencoder on which tau was found; None where none was needed.
    """

    rule: Rule
    q: float | None
    tau: float | None
    base: str | None


def percentile_calibration(scores: Floats, *, base: str, q: float = 0.98) -> Calibration:
    """The threshold above which a fixed share of the base's features lies.

    Args:
        scores: (width,), of all features, 0 for those that never fire.
        base: name of the autoencoder.
        q: the quantile, between order statistics as `numpy.quantile` interpolates.

    Raises:
        SchemaError: the percentile is zero.
    """
    tau = float(np.quantile(scores, q))
    if tau <= 0:
        problem = "the percentile of the scores is zero, since too few features fire"
        found = f"{np.count_nonzero(scores)} of {len(scores)} features with a score"
        expected = f"more than {(1 - q) * len(scores):.0f}"
        remedy = "Use more tokens, or a rule that does not fix the count."
        raise SchemaError(problem, where=base, found=found, expected=expected, remedy=remedy)
    return Calibration(rule="percentile", q=q, tau=tau, base=base)


def null_calibration(null: Floats, *, base: str, q: float = 0.999) -> Calibration:
    """The threshold that hardly any random direction exceeds.

    Args:
        null: scores of random directions, of any shape; see `null_scores`.
        base: name of the autoencoder whose activations they carry.
        q: the quantile.
    """
    return Calibration(rule="null", q=q, tau=float(np.quantile(null, q)), base=base)


def effect_calibration(noise: float) -> Calibration:
    """The threshold of exact effects, in nats per token.

    Args:
        noise: by how much a patch that changes nothing moves ``ce_sum``, per token; see `identity_noise`.
    """
    return Calibration(rule="effect_size", q=None, tau=max(_LEAST_EFFECT, _NOISE_FACTOR * noise), base=None)


def mass_calibration(q: float = 0.95) -> Calibration:
    """The share of the scores' sum that causal features carry together."""
    return Calibration(rule="mass", q=q, tau=None, base=None)


def causal_count(scores: Floats, calibration: Calibration) -> npt.NDArray[np.int64]:
    """How many features are causal by their scores.

    Args:
        scores: (..., m); features that never fire may be left out.
        calibration: of any rule but ``effect_size``, which is about exact effects.

    Returns:
        (...), an array without axes for one vector of scores.

    Raises:
        SchemaError: the rule is not about scores.
    """
    if calibration.rule == "effect_size":
        problem = "exact effects decide by this rule, not scores"
        raise SchemaError(problem, where="rule", found=calibration.rule, remedy="Use effect_count.")
    if calibration.tau is not None:
        return np.count_nonzero(scores > calibration.tau, axis=-1, keepdims=True)[..., 0]
    summed = np.sort(scores, axis=-1)[..., ::-1].cumsum(axis=-1)
    # Features before the share is reached, and the one that reaches it.
    wanted = (calibration.q or 0.0) * summed[..., -1:]
    return np.count_nonzero(summed < wanted, axis=-1, keepdims=True)[..., 0] + (summed[..., -1] > 0)


def effective_count(scores: Floats) -> float:
    """Features as if all had the same score: exp of the entropy of the scores divided by their sum; 0 if all are 0."""
    return float(np.exp(scipy.stats.entropy(scores))) if scores.any() else 0.0


def effect_count(effect_sizes: Floats, n_repr: int, calibration: Calibration) -> float:
    """How many features are causal by exact effects, estimated from a sample.

    Args:
        effect_sizes: (n,), mean absolute exact effects per token of features drawn uniformly among those that fire.
        n_repr: how many fire; if the sample holds them all, the count is exact.
        calibration: of the rule ``effect_size``.

    Raises:
        SchemaError: it is of another rule.
    """
    if calibration.rule != "effect_size" or calibration.tau is None:
        problem = "exact effects do not decide by this rule"
        raise SchemaError(problem, where="rule", found=calibration.rule, remedy="Use causal_count.")
    return float(np.mean(effect_sizes >= calibration.tau)) * n_repr
