"""What is known about a site's causal dimensionality, from the sums of outer products of groups of sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from circuit_artifacts.compute.causality.intervals import Interval, basic_interval
from circuit_artifacts.compute.causality.outer_products import Estimator, OuterProductSums, added
from circuit_artifacts.compute.causality.output_pullbacks import Output
from circuit_artifacts.compute.causality.spectrum import (
    Spectrum,
    effective_rank,
    eigenvalues,
    pair_participation_ratio,
    participation_ratio,
    spectrum_of,
)

__all__ = ["CONVERGED", "ENOUGH_SAMPLES", "REFUSED_SAMPLES", "Doubling", "Kappa", "doubling", "has_settled", "summary"]

REFUSED_SAMPLES: Final = 4
"""With fewer samples than d times this no effective rank is stated."""
ENOUGH_SAMPLES: Final = 16
"""With fewer samples than d times this it is flagged."""
CONVERGED: Final = 0.01
"""Relative change of the effective rank per doubling of the samples below which it counts as settled."""


@dataclass(frozen=True)
class Doubling:
    """The effective rank after a part of the sequences, which about doubles from row to row.

    Attributes:
        n_sequences: so far.
        n_positions: so far.
        n_samples: so far, see `OuterProductSums`.
        effective_rank: of the sum so far.
        participation_ratio: of the sum so far.
        change: of the effective rank since the row before, relative and per doubling of the samples; None in the first.
    """

    n_sequences: int
    n_positions: int
    n_samples: int
    effective_rank: float
    participation_ratio: float
    change: float | None


@dataclass(frozen=True, eq=False)
class Kappa:
    """Causal dimensionality of one site.

    Attributes:
        site: as given, and so the next six.
        layer: see there.
        output: see there.
        estimator: see there.
        spectrum: see there.
        n_probes: per sequence; 1 where there are none.
        seed: see there.
        d: width of the site.
        kappa: effective rank of A; None if refused. Never more than d; biased low, the less the more samples.
        kappa_pr: participation ratio of A, at most `kappa`; None if refused.
        refused: why `kappa` is not stated; None if it is.
        pr_ustat: participation ratio from pairs of different terms, without the bias of few samples. Only for
            eigenvalues; None if not defined.
        pr_ustat_sequences: the same from pairs of different sequences, so that no pair shares a probe or a text; ours.
        mean_token_rank: mean over positions of the effective rank of J_t^T J_t alone; only from whole Jacobians.
        eigenvalues: (d,) float64, of A, largest first.
        convergence: the doubling table.
        n_groups: groups of sequences, which the bootstrap resamples; few make its intervals unreliable.
        n_sequences: measured.
        n_positions: measured, without special ones.
        n_samples: matrices of rank one in A, see `OuterProductSums`.
        interval: of `kappa`, by a basic bootstrap over groups of sequences, cut to [1, d]; None if refused, not asked
            for, or there is one group only. A percentile interval would be off by the bias twice, and often miss the
            truth altogether.
        interval_pr: of `kappa_pr`, likewise.
        bias: mean of the resampled effective ranks less `kappa`, an estimate of its bias; None as `interval`.
        flags: "few_samples", "not_converged", "stopped_early", as they hold.
    """

    site: str
    layer: int
    output: Output
    estimator: Estimator
    spectrum: Spectrum
    n_probes: int
    seed: int
    d: int
    kappa: float | None
    kappa_pr: float | None
    refused: str | None
    pr_ustat: float | None
    pr_ustat_sequences: float | None
    mean_token_rank: float | None
    eigenvalues: npt.NDArray[np.float64]
    convergence: tuple[Doubling, ...]
    n_groups: int
    n_sequences: int
    n_positions: int
    n_samples: int
    interval: Interval | None
    interval_pr: Interval | None
    bias: float | None
    flags: tuple[str, ...]

    @property
    def kappa_over_d(self) -> float | None:
        """`kappa` as a share of the width."""
        return None if self.kappa is None else self.kappa / self.d


def doubling(sums: OuterProductSums, spectrum: Spectrum, before: Doubling | None) -> Doubling:
    """A row of the doubling table.

    Args:
        sums: of all sequences so far.
        spectrum: whose ranks are taken.
        before: the row before, if there is one.

    Raises:
        SchemaError: gradients are not finite.
    """
    values = spectrum_of(sums.matrix, spectrum)
    rank, change = effective_rank(values), None
    if before is not None and sums.n_samples > before.n_samples > 0:
        doublings = math.log2(sums.n_samples / before.n_samples)
        change = abs(rank / before.effective_rank - 1) / doublings
    return Doubling(sums.n_sequences, sums.n_positions, sums.n_samples, rank, participation_ratio(values), change)


def has_settled(row: Doubling, d: int, share: float) -> bool:
    """Whether there are enough samples for the width, and their last doubling changed the rank by less than a share."""
    return row.n_samples >= ENOUGH_SAMPLES * d and row.change is not None and row.change < share


def summary(
    parts: list[OuterProductSums], rows: list[Doubling], flags: tuple[str, ...], n_boot: int, **facts: Any
) -> Kappa:
    """All that the sums say.

    Args:
        parts: of groups of sequences.
        rows: the doubling table, whose last row is of all parts.
        flags: that hold already.
        n_boot: resamples of the parts for the confidence intervals.
        facts: the attributes from ``site`` to ``seed``.
    """
    sums = added(parts)
    spectrum, d = facts["spectrum"], len(sums.total)
    refused = _refusal(sums, d)
    rank, ratio = rows[-1].effective_rank, rows[-1].participation_ratio
    interval = interval_pr = bias = None
    if refused is None and n_boot and len(parts) > 1:
        ranks, ratios = _resampled(parts, spectrum, n_boot, facts["seed"])
        interval = _within(basic_interval(rank, ranks, unit="sequence"), d)
        interval_pr = _within(basic_interval(ratio, ratios, unit="sequence"), d)
        bias = float(np.nanmean(ranks)) - rank
    if sums.n_samples < ENOUGH_SAMPLES * d:
        flags += ("few_samples",)
    if rows[-1].change is None or not rows[-1].change < CONVERGED:
        flags += ("not_converged",)
    return Kappa(
        **facts,
        d=d,
        kappa=rank if refused is None else None,
        kappa_pr=ratio if refused is None else None,
        refused=refused,
        pr_ustat=_pair_ratio(spectrum, sums.total, sums.term_trace_squares, sums.term_norm_squares),
        pr_ustat_sequences=_pair_ratio(spectrum, sums.total, sums.sequence_trace_squares, sums.sequence_norm_squares),
        mean_token_rank=sums.token_ranks / sums.n_token_ranks if sums.n_token_ranks else None,
        eigenvalues=eigenvalues(sums.matrix),
        convergence=tuple(rows),
        n_groups=len(parts),
        n_sequences=sums.n_sequences,
        n_positions=sums.n_positions,
        n_samples=sums.n_samples,
        interval=interval,
        interval_pr=interval_pr,
        bias=bias,
        flags=flags,
    )


def _refusal(sums: OuterProductSums, d: int) -> str | None:
    if sums.n_samples < REFUSED_SAMPLES * d:
        return f"{sums.n_samples} samples are fewer than {REFUSED_SAMPLES} times the width {d}"
    return None if sums.total.any() else "the output does not depend on the site"


def _resampled(
    parts: list[OuterProductSums], spectrum: Spectrum, n_boot: int, seed: int
) -> tuple[list[float], list[float]]:
    """Effective ranks and participation ratios of groups drawn with replacement."""
    random = np.random.default_rng([seed, len(parts)])
    ranks, ratios = [], []
    for draw in random.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=n_boot).tolist():
        total = np.zeros_like(parts[0].total)
        for times, part in zip(draw, parts, strict=True):
            if times:
                total += times * part.total
        values = spectrum_of(total, spectrum)
        ranks.append(effective_rank(values))
        ratios.append(participation_ratio(values))
    return ranks, ratios


def _within(interval: Interval | None, d: int) -> Interval | None:
    """Ends cut to what a rank can be."""
    return interval and replace(interval, lo=min(max(1.0, interval.lo), d), hi=min(max(1.0, interval.hi), d))


def _pair_ratio(spectrum: Spectrum, total: Any, trace_squares: float, norm_squares: float) -> float | None:
    return pair_participation_ratio(total, trace_squares, norm_squares) if spectrum == "eig" else None
