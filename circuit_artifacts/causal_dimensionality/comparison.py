"""The quantities of published numbers in results, so that the two can be held against each other (spec 3, rule 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from circuit_artifacts.causal_dimensionality.facts import published_facts
from circuit_artifacts.schemas.causal_dimensionality import Headline
from circuit_artifacts.schemas.causal_result_parts import WidthRow
from circuit_artifacts.schemas.causal_results import (
    AtpVersusExact,
    CrossFamily,
    CurveFit,
    EncoderCells,
    Planted,
    Result,
    SvaRecall,
    WidthSweep,
)

__all__ = ["Comparison", "compare", "quantities"]

Found = dict[str, float | None]

_FAMILIES = {"llama": "inert_llama_pct", "pythia": "inert_pythia_pct"}
_RECALLS = {0.99: "sva_p99_pct", 0.98: "sva_p98_pct", 0.95: "sva_p95_pct"}
_ABOUT = 0.0025
"""How far a number that is printed as approximate may be: half of the last of three digits. Ours."""


@dataclass(frozen=True)
class Comparison:
    """A published number beside one that was found.

    Attributes:
        fact: the published number.
        found: the same quantity, in its unit.
    """

    fact: Headline
    found: float

    @property
    def agrees(self) -> bool:
        """Whether the number that was found is printed as the published one is."""
        if self.fact.low is None or self.fact.high is None:
            return abs(self.found - self.fact.published) <= _ABOUT * abs(self.fact.published)
        return self.fact.low <= self.found <= self.fact.high

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "differs"
        return f"{self.fact.quantity}: published {self.fact.published:.7g}, found {self.found:.7g}: {verdict}"


def compare(result: Result) -> list[Comparison]:
    """Every published number whose quantity a result has."""
    facts = published_facts()
    return [Comparison(facts[name], value) for name, value in quantities(result).items()]


def quantities(result: Result) -> dict[str, float]:
    """The quantities that a result has, by the ids of published numbers and in their units.

    Which model and layer a result is of is not looked at: imported files may not say so.
    """
    read = _QUANTITIES.get(type(result))
    found = {} if read is None else read(result)
    return {name: value for name, value in found.items() if value is not None}


def _of_sweep(sweep: WidthSweep) -> Found:
    rows = sorted(sweep.rows, key=lambda row: row.width)
    first, last = rows[0], rows[-1]
    found: Found = {"inert_g2b_pct": _inert(first), "width_min": first.width}
    found |= {f"n_causal_{row.width >> 10}k": row.n_causal for row in rows if row.width == 1 << 14}
    if len(rows) > 1:
        found |= {
            "width_max": last.width,
            "n_widths": len({row.width for row in rows}),
            "width_growth": last.width / first.width,
            "repr_growth": last.n_repr / first.n_repr if first.n_repr else None,
            "causal_growth": last.n_causal / first.n_causal if first.n_causal else None,
        }
    return found


def _of_fit(fit: CurveFit) -> Found:
    interval = next(form.ci for form in fit.fits if form.form == fit.selected)
    ends = {} if interval is None else {"kappa_ci_lo": interval.lo, "kappa_ci_hi": interval.hi}
    return {
        "kappa_hat": fit.kappa_hat,
        "kappa_over_dmodel": None if fit.kappa_hat is None else fit.kappa_hat / fit.d_model,
        "kappa_pr": fit.kappa_pr,
        "kappa_boot_median": None if interval is None else interval.median,
        **ends,
    }


def _of_families(result: CrossFamily) -> Found:
    found: Found = {}
    for row in result.rows:
        texts = f"{row.sae.source} {row.sae.sae_id} {result.provenance.model} {result.experiment}".lower()
        named = [fact for name, fact in _FAMILIES.items() if name in texts]
        if len(named) == 1:
            found.setdefault(named[0], _inert(row))
    return found


def _inert(row: WidthRow) -> float | None:
    """Percent of firing features."""
    return 100 * (1 - row.n_causal / row.n_repr) if row.n_repr else None


def _of_effects(result: AtpVersusExact) -> Found:
    return {"rho_atp_exact": result.spearman_rho}


def _of_cells(result: EncoderCells) -> Found:
    return {"inflation": result.inflation}


def _of_recalls(result: SvaRecall) -> Found:
    return {_RECALLS[point.q]: 100 * point.recall for point in result.points if point.q in _RECALLS}


def _of_planted(result: Planted) -> Found:
    return {"synth_recovered": result.n_recovered}


_QUANTITIES: Mapping[type[BaseModel], Callable[[Any], Found]] = MappingProxyType(
    {
        AtpVersusExact: _of_effects,
        WidthSweep: _of_sweep,
        CurveFit: _of_fit,
        EncoderCells: _of_cells,
        SvaRecall: _of_recalls,
        Planted: _of_planted,
        CrossFamily: _of_families,
    }
)
