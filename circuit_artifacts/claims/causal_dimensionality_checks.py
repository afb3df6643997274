"""Checks of claims about causal dimensionality, on its results and dictionaries.

Which of several results of a kind a published number is of, nothing says. So it holds if one of them has it; of
regenerated results the first by path stands for all, and the sentence says how far they reach.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TypeVar

import pandas as pd
from pydantic import BaseModel

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Interval, NoDataError, Outcome, no_data_if
from circuit_artifacts.schemas.causal_dimensionality_mirror import SITES
from circuit_artifacts.schemas.causal_result_parts import WidthRow
from circuit_artifacts.schemas.causal_results import (
    AtpVersusExact,
    CrossFamily,
    CurveFit,
    DirectKappa,
    EncoderCells,
    Planted,
    SvaRecall,
    WidthSweep,
)

__all__ = ["DICTIONARIES", "RESULTS", "STRUCTURAL", "in_every_result", "in_some_result", "not_in_files", "plain_relu"]

Kind = TypeVar("Kind", bound=BaseModel)
Numbers = Callable[[Data, str], dict[str, float]]
"""A number of each result that has it, by path; called with the data and the config of results."""


def not_in_files(data: Data, configs: Sequence[str]) -> Outcome:
    """Of numbers that no kind of result holds."""
    del data, configs
    lacking = "no kind of result holds this number"
    raise NoDataError(lacking)


def in_some_result(numbers: Numbers, published: Interval) -> Check:
    """A published number against the nearest of the results."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        found = numbers(data, configs[0])
        path = min(found) if data.regenerated(configs) else min(found, key=lambda p: abs(published.distance(found[p])))
        return Outcome(f"{found[path]:.6g} by {path}{_range(found)}", found[path])

    return check


def in_every_result(numbers: Numbers, low: float, high: float = float("inf")) -> Check:
    """Numbers that are above one bound, and not above another; the measured one is the smallest."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        found = numbers(data, configs[0])
        path = min(found, key=lambda path: found[path])
        holds = all(low < number <= high for number in found.values())
        return Outcome(f"{found[path]:.6g} by {path}{_range(found)}", found[path], holds=holds)

    return check


def _range(found: Mapping[str, float]) -> str:
    lowest, highest = min(found.values()), max(found.values())
    return f", of {len(found)} results from {lowest:.6g} to {highest:.6g}" if len(found) > 1 else ""


def _of(kind: type[Kind], measure: Callable[[Kind], float | None]) -> Numbers:
    """A number of all results of one kind that could be understood."""

    def numbers(data: Data, config: str) -> dict[str, float]:
        name = kind.model_fields["kind"].default
        rows = data.frame(config, ["kind", "path", "status", "typed"])
        rows = rows[(rows["kind"] == name) & (rows["status"] == "typed")]
        found = {
            path: number
            for path, typed in zip(rows["path"], rows["typed"], strict=True)
            if (number := measure(kind.model_validate(json.loads(typed)))) is not None
        }
        no_data_if(not found, f"no result of kind {name} that is here has it")
        return found

    return numbers


# What results hold


def _by_width(sweep: WidthSweep) -> list[WidthRow]:
    return sorted(sweep.rows, key=lambda row: row.width)


def _inert_percent(row: WidthRow) -> float | None:
    return 100 * (1 - row.n_causal / row.n_repr) if row.n_repr else None


def _growth(name: str) -> Callable[[WidthSweep], float | None]:
    def measure(sweep: WidthSweep) -> float | None:
        rows = _by_width(sweep)
        first, last = getattr(rows[0], name), getattr(rows[-1], name)
        return last / first if first and len(rows) > 1 else None

    return measure


def _wedge(sweep: WidthSweep) -> float | None:
    of_firing, of_causal = _growth("n_repr")(sweep), _growth("n_causal")(sweep)
    return of_firing / of_causal if of_firing and of_causal else None


def _calibrated_share(sweep: WidthSweep) -> float | None:
    """By the percentile that the threshold is, without the error of the subtraction."""
    quantile = sweep.threshold.q
    return None if quantile is None else round(1 - quantile, 9)


def _inert_of(family: str) -> Callable[[CrossFamily], float | None]:
    def measure(result: CrossFamily) -> float | None:
        named = f"{result.experiment} {result.provenance.model}"
        rows = [row for row in result.rows if family in f"{named} {row.sae.source}".lower()]
        return _inert_percent(rows[0]) if rows else None

    return measure


def _ci(end: str) -> Callable[[CurveFit], float | None]:
    def measure(fit: CurveFit) -> float | None:
        intervals = [form.ci for form in fit.fits if form.form == fit.selected]
        number: float | None = getattr(intervals[0], end, None) if intervals else None
        return number

    return measure


def _kappa_share(fit: CurveFit) -> float | None:
    return None if fit.kappa_hat is None else fit.kappa_hat / fit.d_model


def _inflation(result: EncoderCells) -> float | None:
    counts = {
        encoder: [cell.n_causal for cell in result.cells if (cell.encoder, cell.decoder) == (encoder, "trained")]
        for encoder in ("random", "trained")
    }
    random, trained = (sum(numbers) / len(numbers) for numbers in counts.values())
    return random / trained if trained else None


def _recall_percent(quantile: float) -> Callable[[SvaRecall], float | None]:
    def measure(result: SvaRecall) -> float | None:
        recalls = [point.recall for point in result.points if abs(point.q - quantile) < 1e-9]
        return 100 * recalls[0] if recalls else None

    return measure


def _recall_gain(result: SvaRecall) -> float | None:
    """The least gain of recall from a percentile to the next lower one."""
    recalls = [point.recall for point in sorted(result.points, key=lambda point: -point.q)]
    return min((lower - one for one, lower in pairwise(recalls)), default=None)


def _rank_over_participation(result: DirectKappa) -> float | None:
    return result.kappa / result.kappa_pr if result.kappa and result.kappa_pr else None


_inert = _of(WidthSweep, lambda sweep: _inert_percent(_by_width(sweep)[0]))
_rho = _of(AtpVersusExact, lambda result: result.spearman_rho)

RESULTS: Mapping[str, Numbers] = MappingProxyType(
    {
        "inert_g2b_pct": _inert,
        "inert_g2b_prose_pct": _inert,
        "causal_growth": _of(WidthSweep, _growth("n_causal")),
        "repr_growth": _of(WidthSweep, _growth("n_repr")),
        "width_growth": _of(WidthSweep, _growth("width")),
        "width_min": _of(WidthSweep, lambda sweep: _by_width(sweep)[0].width),
        "width_max": _of(WidthSweep, lambda sweep: _by_width(sweep)[-1].width),
        "n_widths": _of(WidthSweep, lambda sweep: len(sweep.rows)),
        "n_causal_16k": _of(WidthSweep, lambda sweep: _by_width(sweep)[0].n_causal),
        "calib_fraction": _of(WidthSweep, _calibrated_share),
        "seq_len": _of(WidthSweep, lambda sweep: sweep.provenance.seq_len),
        "kappa_hat": _of(CurveFit, lambda fit: fit.kappa_hat),
        "kappa_boot_median": _of(CurveFit, _ci("median")),
        "kappa_ci_lo": _of(CurveFit, _ci("lo")),
        "kappa_ci_hi": _of(CurveFit, _ci("hi")),
        "kappa_over_dmodel": _of(CurveFit, _kappa_share),
        "kappa_pr": _of(CurveFit, lambda fit: fit.kappa_pr),
        "inflation": _of(EncoderCells, _inflation),
        "rho_atp_exact": _rho,
        "sva_p99_pct": _of(SvaRecall, _recall_percent(0.99)),
        "sva_p98_pct": _of(SvaRecall, _recall_percent(0.98)),
        "sva_p95_pct": _of(SvaRecall, _recall_percent(0.95)),
        "inert_llama_pct": _of(CrossFamily, _inert_of("llama")),
        "inert_pythia_pct": _of(CrossFamily, _inert_of("pythia")),
        "synth_recovered": _of(Planted, lambda result: result.n_recovered),
    }
)
"""By published number, where results have it; those of the base are of the narrowest width."""

STRUCTURAL: Mapping[str, Check] = MappingProxyType(
    {
        "wedge": in_every_result(_of(WidthSweep, _wedge), 1),
        "encoder_filters": in_every_result(_of(EncoderCells, _inflation), 1),
        "atp_follows_exact": in_every_result(_rho, 0.5, 1),
        "recall_grows": in_every_result(_of(SvaRecall, _recall_gain), -1e-9),
        "participation_below_rank": in_every_result(_of(DirectKappa, _rank_over_participation), 1 - 1e-6),
    }
)
"""What is expected of any run (spec 4, ours)."""


# Dictionaries


def _of_inventory(measure: Callable[[pd.DataFrame], Outcome]) -> Check:
    def check(data: Data, configs: Sequence[str]) -> Outcome:
        inventory = data.frame(configs[0], ["site", "d_sae", "bytes"])
        no_data_if(inventory.empty, "there is no dictionary")
        return measure(inventory)

    return check


def _require_all(inventory: pd.DataFrame) -> None:
    absent = set(SITES) - set(inventory["site"])
    no_data_if(bool(absent), f"{len(absent)} of {len(SITES)} dictionaries are not on this machine")


def _n_files(inventory: pd.DataFrame) -> Outcome:
    _require_all(inventory)
    return Outcome(f"{len(inventory)} dictionaries", len(inventory))


def _file_size(inventory: pd.DataFrame) -> Outcome:
    megabytes = float(inventory["bytes"].max()) / 1e6
    return Outcome(f"{megabytes:.2f} MB of a million bytes, the largest of {len(inventory)}", megabytes)


def _total_size(inventory: pd.DataFrame) -> Outcome:
    _require_all(inventory)
    total = float(inventory["bytes"].sum())
    return Outcome(f"{total / 2**30:.3f} GiB, which is {total / 1e9:.3f} GB of a billion bytes", total / 2**30)


def _n_features(inventory: pd.DataFrame) -> Outcome:
    sizes = sorted(set(inventory["d_sae"].tolist()))
    return Outcome(f"{' or '.join(f'{size:,}' for size in sizes)} features in {len(inventory)} dictionaries", sizes[0])


def plain_relu(data: Data, configs: Sequence[str]) -> Outcome:
    """A dictionary that can be read has a plain ReLU's tensors, and no other."""
    inventory = data.frame(configs[0], ["site"])
    no_data_if(inventory.empty, "there is no dictionary")
    return Outcome(f"{len(inventory)} are plain ReLU autoencoders: none has a tensor of thresholds", holds=False)


DICTIONARIES: Mapping[str, Check] = MappingProxyType(
    {
        "n_sae_files": _of_inventory(_n_files),
        "sae_file_mb": _of_inventory(_file_size),
        "sae_total_gb": _of_inventory(_total_size),
        "d_sae_marks": _of_inventory(_n_features),
    }
)
"""By published number, how the dictionaries have it."""
