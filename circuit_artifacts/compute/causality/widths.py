"""Firing and causal features against the number of features of the autoencoder (causal-dimensionality spec 2.3).

Thresholds are found on the narrowest autoencoder and then held, in absolute units. Two things can make the causal count
grow slower than the firing count whatever the model does, and what tells of them stands beside the counts. Effects of
all features add up to about the same in every dictionary: a feature that splits into parts shares its score among them,
and at most S / tau features can be above a threshold tau, with S the sum of all scores. And autoencoders of different
widths differ in training and in L0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from circuit_artifacts.compute.causality.counts import (
    Calibration,
    Rule,
    causal_count,
    effect_calibration,
    effect_count,
    effective_count,
    mass_calibration,
    null_calibration,
    percentile_calibration,
)
from circuit_artifacts.compute.causality.scores import FeatureScores
from circuit_artifacts.errors import SchemaError

__all__ = ["WidthRow", "WidthSweep", "bootstrap_counts", "calibrate", "width_row", "width_sweep"]

Floats = npt.NDArray[np.float64]

_OFTEN = 10  # tokens
_ENTRIES = 1 << 22  # scores of resamples at once, 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthRow:
    """One autoencoder.

    Attributes:
        name: of the autoencoder.
        width: number of features.
        n_repr: features that fire at one or more tokens.
        n_often: features that fire at ten or more tokens.
        n_causal: by each rule; by effect size an estimate, if not all features were ablated.
        n_effective: exp of the entropy of the scores.
        total: S, the sum of all scores.
        bound: for each rule with a threshold of the score, S / tau, which the count cannot exceed.
        error_score: the score of the error node.
        l0: features that fire, per token.
        fvu: fraction of variance unexplained.
    """

    name: str
    width: int
    n_repr: int
    n_often: int
    n_causal: Mapping[Rule, float]
    n_effective: float
    total: float
    bound: Mapping[Rule, float]
    error_score: float
    l0: float
    fvu: float

    def inert_fraction(self, rule: Rule) -> float | None:
        """Share of the firing features that are not causal; None if none fires."""
        return 1 - self.n_causal[rule] / self.n_repr if self.n_repr else None


@dataclass(frozen=True, slots=True)
class WidthSweep:
    """Autoencoders of one site from the narrowest to the widest, on the same tokens.

    Attributes:
        rows: one per autoencoder.
        calibrations: the rules with their numbers.
    """

    rows: tuple[WidthRow, ...]
    calibrations: tuple[Calibration, ...]

    @property
    def repr_growth(self) -> float | None:
        """Firing features of the widest by those of the narrowest; None if there it has none."""
        return _ratio(self.rows[-1].n_repr, self.rows[0].n_repr)

    def causal_growth(self, rule: Rule) -> float | None:
        """Causal features of the widest by those of the narrowest; None if there it has none."""
        return _ratio(self.rows[-1].n_causal[rule], self.rows[0].n_causal[rule])

    def wedge(self, rule: Rule) -> float | None:
        """How many times more the firing features grow than the causal ones; None where a growth is unknown or 0."""
        firing, causal = self.repr_growth, self.causal_growth(rule)
        return None if firing is None or causal is None else _ratio(firing, causal)

    def slope(self, growth: float | None) -> float | None:
        """Exponent of a growth, from end to end: log(growth) / log(ratio of widths); None if there is none."""
        return math.log(growth) / math.log(self.rows[-1].width / self.rows[0].width) if growth else None


def calibrate(
    dictionaries: Mapping[str, FeatureScores],
    *,
    q: float = 0.98,
    mass: float = 0.95,
    null: Floats | None = None,
    noise: float | None = None,
) -> tuple[Calibration, ...]:
    """All rules for which there is what they need, with thresholds from the narrowest autoencoder.

    Args:
        dictionaries: scores by name.
        q: quantile of the rule ``percentile``.
        mass: share of the rule ``mass``.
        null: scores of random directions with the narrowest one's activations, for the rule ``null``.
        noise: numerical noise of exact effects in nats per token, for the rule ``effect_size``.

    Raises:
        SchemaError: too few features fire for the percentile.
    """
    base = min(dictionaries, key=lambda name: dictionaries[name].width)
    found = [percentile_calibration(dictionaries[base].scores, base=base, q=q)]
    if null is not None:
        found.append(null_calibration(null, base=base))
    if noise is not None:
        found.append(effect_calibration(noise))
    return (*found, mass_calibration(mass))


def width_sweep(
    dictionaries: Mapping[str, FeatureScores],
    calibrations: Iterable[Calibration],
    *,
    effect_sizes: Mapping[str, Floats] | None = None,
) -> WidthSweep:
    """Count features of every autoencoder by every rule.

    Args:
        dictionaries: scores by name, of at least two widths, none of them twice.
        calibrations: as `calibrate` gives them.
        effect_sizes: for the rule ``effect_size``, of each autoencoder the mean absolute exact effects per token of
            features drawn uniformly among those that fire; see ``FeatureEffects.effect_size``.

    Raises:
        SchemaError: widths that do not differ, scores of different tokens or reductions, or effect sizes missing.
    """
    _require_comparable(dictionaries)
    rules = tuple(calibrations)
    if any(rule.rule == "effect_size" for rule in rules) and dictionaries.keys() != (effect_sizes or {}).keys():
        problem = "exact effects are needed of every autoencoder"
        found, expected = ", ".join(effect_sizes or {}) or "none", ", ".join(dictionaries)
        raise SchemaError(problem, where="effect_sizes", found=found, expected=expected)
    names = sorted(dictionaries, key=lambda name: dictionaries[name].width)
    return WidthSweep(tuple(width_row(name, dictionaries[name], rules, effect_sizes or {}) for name in names), rules)


def bootstrap_counts(
    dictionaries: Mapping[str, FeatureScores],
    calibration: Calibration,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    recalibrate: bool = True,
) -> Floats:
    """Causal counts on resamples of the sequences, the same for all autoencoders.

    Args:
        dictionaries: as in `width_sweep`.
        calibration: of a rule about scores.
        n_boot: resamples.
        seed: of the resamples.
        recalibrate: find a percentile anew on each resample, since it is an estimate too (ours); it then stays the
            case that the count at the base is what the percentile says. Thresholds of other rules are held.

    Returns:
        (n_boot, n_widths), by ascending width; NaN where a resample's percentile is zero.

    Raises:
        SchemaError: as `width_sweep` and `causal_count`, or the base of a percentile is not among the autoencoders.
    """
    _require_comparable(dictionaries)
    ordered = sorted(dictionaries.values(), key=lambda scores: scores.width)
    n_sequences = ordered[0].n_sequences
    shares = np.full(n_sequences, 1 / n_sequences)
    weights = np.random.default_rng(seed).multinomial(n_sequences, shares, size=n_boot).astype(np.float64)
    taus: Floats | None = None
    if calibration.rule == "percentile" and recalibrate:
        taus = _percentiles(_base(dictionaries, calibration), weights, calibration.q or 0.0)
    counts = np.empty((n_boot, len(ordered)))
    for column, scores in enumerate(ordered):
        for part in _parts(n_boot, len(scores.features)):
            resampled = scores.resampled(weights[part])
            if taus is None:
                counts[part, column] = causal_count(resampled, calibration)
            else:
                counts[part, column] = np.count_nonzero(resampled > taus[part, None], axis=1)
    if taus is not None:
        counts[taus <= 0] = np.nan
    return counts


def width_row(
    name: str,
    scores: FeatureScores,
    rules: Iterable[Calibration],
    effect_sizes: Mapping[str, Floats] = MappingProxyType({}),
) -> WidthRow:
    """Count features of one autoencoder by every rule; arguments and errors as `width_sweep`."""
    values, firing = scores.scores, scores.firing
    n_repr, total = int(np.count_nonzero(firing)), float(values.sum())
    n_causal: dict[Rule, float] = {}
    for rule in rules:
        if rule.rule == "effect_size":
            n_causal[rule.rule] = effect_count(effect_sizes[name], n_repr, rule)
        else:
            n_causal[rule.rule] = int(causal_count(values, rule))
    return WidthRow(
        name=name,
        width=scores.width,
        n_repr=n_repr,
        n_often=int(np.count_nonzero(firing >= _OFTEN)),
        n_causal=n_causal,
        n_effective=effective_count(values),
        total=total,
        bound={rule.rule: total / rule.tau for rule in rules if rule.rule in ("percentile", "null") and rule.tau},
        error_score=scores.error_score,
        l0=scores.l0,
        fvu=scores.fvu,
    )


def _base(dictionaries: Mapping[str, FeatureScores], calibration: Calibration) -> FeatureScores:
    if calibration.base is None or calibration.base not in dictionaries:
        problem = "the autoencoder that fixed the threshold is not among those given"
        raise SchemaError(problem, where="base", found=calibration.base, expected=", ".join(dictionaries))
    return dictionaries[calibration.base]


def _percentiles(scores: FeatureScores, weights: Floats, q: float) -> Floats:
    """Of all features, dead ones included, on each resample."""
    taus = np.empty(len(weights))
    for part in _parts(len(weights), scores.width):
        every = np.zeros((part.stop - part.start, scores.width))
        every[:, scores.features] = scores.resampled(weights[part])
        taus[part] = np.quantile(every, q, axis=1)
    return taus


def _parts(n_boot: int, width: int) -> Iterable[slice]:
    step = max(1, _ENTRIES // max(1, width))
    return (slice(start, min(start + step, n_boot)) for start in range(0, n_boot, step))


def _require_comparable(dictionaries: Mapping[str, FeatureScores]) -> None:
    scores = list(dictionaries.values())
    if len({each.width for each in scores}) < max(2, len(scores)):
        problem = "a sweep takes autoencoders of different widths"
        raise SchemaError(problem, found=", ".join(str(each.width) for each in scores))
    if len({(each.reduction, each.n_sequences, each.n_tokens) for each in scores}) > 1:
        problem = "the autoencoders were not scored alike, on the same tokens"
        found = "; ".join(f"{name}: {each.reduction}, {each.n_tokens} tokens" for name, each in dictionaries.items())
        raise SchemaError(problem, found=found)


def _ratio(upper: float, lower: float) -> float | None:
    return upper / lower if lower else None
