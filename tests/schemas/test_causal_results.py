"""Results by kind: what each accepts, gives back, and refuses because its numbers contradict each other."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.causal_results import KINDS, dump_result, parse_result

SAE = {"source": "gemma-scope-2b-pt-res", "arch": "jumprelu", "layer": 12}
ROW = {"sae": SAE, "width": 16384, "n_repr": 16000, "n_causal": 328, "inert_fraction": 0.9795}
WIDE = {"sae": SAE, "width": 1048576, "n_repr": 249600, "n_causal": 1427}
FIT = {"form": "hill", "params": {"kappa": 1990.0, "a": 0.614}, "kappa": 1990.0, "ci": {"lo": 545, "hi": 5130}}
POINTS = [{"q": q, "n_hit": hit, "n_true": 56, "recall": hit / 56} for q, hit in ((0.99, 24), (0.98, 43), (0.95, 55))]
CELLS = [
    {"encoder": encoder, "decoder": decoder, "n_repr": 16000, "n_causal": 3041 if encoder == "random" else 328}
    for encoder in ("trained", "random")
    for decoder in ("trained", "random")
]
BY_KIND: dict[str, dict[str, Any]] = {
    "exp0_atp_vs_exact": {
        "sae": SAE,
        "n_features": 2,
        "spearman_rho": 0.838,
        "per_feature": [{"feature": 1, "atp": 0.1, "exact": 0.2}, {"feature": 2, "atp": 0.3, "exact": 0.1}],
    },
    "exp1_width_sweep": {
        "layer": 12,
        "threshold": {"kind": "percentile", "q": 0.98, "population": "all_features"},
        "rows": [WIDE, ROW],
        "repr_growth": 15.6,
        "causal_growth": 4.35,
    },
    "expB_curve_fit": {
        "d_model": 2304,
        "widths": [16384, 1048576],
        "n_causal": [328, 1427],
        "fits": [FIT, {"form": "power", "params": {"c": 1.0}, "kappa": None}],
        "selected": "hill",
        "kappa_hat": 1990,
        "kappa_over_dmodel": 0.86,
    },
    "exp5b_encoder_ablation": {"sae": SAE, "threshold": {}, "cells": CELLS, "inflation": 9.27},
    "exp9_sva_recall": {"task": "rc", "points": POINTS},
    "exp_synthetic_gt": {"n_planted": 16, "cos_threshold": 0.7, "n_recovered": 0, "ceiling_recovered": 5},
    "cross_family": {"rows": [ROW], "threshold": {"kind": "mass"}},
    "kappa_direct": {
        "layer": 12,
        "d_model": 2304,
        "output": "centred_logits",
        "estimator": "vjp_sketch",
        "n_probes": 100,
        "n_positions": 40000,
        "kappa": 800.0,
        "kappa_pr": 280.0,
    },
    "unknown": {"raw": {"anything": [1, None]}},
}


def valid(kind: str, /, **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "experiment": "e", **BY_KIND[kind], **changes}


def test_every_kind_is_tried() -> None:
    assert BY_KIND.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_comes_back_as_it_was(kind: str) -> None:
    found = parse_result(valid(kind, of_tomorrow={"x": 1}))
    assert isinstance(found, KINDS[kind])
    again = parse_result(json.loads(dump_result(found)))
    assert again == found
    assert again.model_dump()["of_tomorrow"] == {"x": 1}  # what we do not know is kept


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_that_are_not_finite_are_written_as_null(value: float) -> None:
    params = {"kappa": value}
    fits = [{**FIT, "params": params, "sse": value}]
    text = dump_result(parse_result(valid("expB_curve_fit", fits=fits, more=[value])))
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    expected = value if math.isfinite(value) else None
    assert (written["fits"][0]["params"]["kappa"], written["fits"][0]["sse"], written["more"]) == (
        expected,
        expected,
        [expected],
    )
    parse_result(written)


WITHOUT_RANDOM = [cell for cell in CELLS if cell["encoder"] == "trained"]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("exp0_atp_vs_exact", {"spearman_rho": 1.01}, "spearman_rho"),
        ("exp0_atp_vs_exact", {"spearman_rho": float("nan")}, "spearman_rho"),
        ("exp0_atp_vs_exact", {"n_features": 3}, "2 pairs of 3 features"),
        ("exp0_atp_vs_exact", {"rho_ci": {"lo": 0.9, "hi": 0.8}}, "ends at 0.8, before it begins at 0.9"),
        ("exp0_atp_vs_exact", {"sae": {"arch": "dense"}}, "sae"),
        ("exp1_width_sweep", {"rows": []}, "rows"),
        ("exp1_width_sweep", {"rows": [{**ROW, "n_causal": 16001}]}, "16001 causal"),
        ("exp1_width_sweep", {"rows": [{**ROW, "n_repr": 16385}]}, "16385 firing"),
        ("exp1_width_sweep", {"rows": [{**ROW, "n_causal": -1}]}, "-1 causal"),
        ("exp1_width_sweep", {"rows": [{**ROW, "inert_fraction": 0.9801}]}, "by the counts 0.97950"),
        ("exp1_width_sweep", {"rows": [{**ROW, "inert_fraction": 97.95}]}, "inert_fraction"),
        ("exp1_width_sweep", {"repr_growth": 15.8}, "repr_growth is 15.8, but by the counts 15.6"),
        ("exp1_width_sweep", {"causal_growth": 4.2}, "causal_growth"),
        ("exp1_width_sweep", {"threshold": {"q": 98}}, "threshold.q"),
        ("expB_curve_fit", {"widths": [16384]}, "2 counts for 1 widths"),
        ("expB_curve_fit", {"selected": "exp"}, "'exp' was selected, but the fits are hill, power"),
        ("expB_curve_fit", {"fits": []}, "fits"),
        ("expB_curve_fit", {"kappa_over_dmodel": 0.87}, "kappa_over_dmodel is 0.87"),
        ("expB_curve_fit", {"fits": [{**FIT, "exceeds_d_model": False}]}, "exceeds_d_model of the form hill"),
        ("expB_curve_fit", {"fits": [{**FIT, "extrapolated": True}]}, "extrapolated of the form hill is True"),
        ("exp5b_encoder_ablation", {"cells": WITHOUT_RANDOM}, "no cell with random encoder, trained decoder; random"),
        ("exp5b_encoder_ablation", {"inflation": 9.4}, "inflation is 9.4"),
        ("exp9_sva_recall", {"points": [{**POINTS[0], "recall": 0.43}]}, "24 of 56 are 0.42857"),
        ("exp9_sva_recall", {"points": [{**POINTS[0], "n_true": 0}]}, "n_true"),
        ("exp9_sva_recall", {"points": [POINTS[0], {**POINTS[2], "q": 0.995}]}, "recall falls"),
        ("exp_synthetic_gt", {"n_recovered": 6}, "6 <= 5 <= 16"),
        ("exp_synthetic_gt", {"ceiling_recovered": 17}, "0 <= 17 <= 16"),
        ("exp_synthetic_gt", {"ceiling_recovered": None, "n_recovered": 17}, "17 <= 16"),
        ("cross_family", {"rows": [{**ROW, "n_causal": 16001}]}, "16001 causal"),
        ("kappa_direct", {"kappa_pr": 801}, "participation ratio 801"),
        ("kappa_direct", {"kappa": 2305, "kappa_pr": 1}, "effective rank 2305"),
        ("kappa_direct", {"output": "loss"}, "output"),
        ("unknown", {"kind": "exp2"}, "exp2"),
        ("unknown", {"experiment": None}, "experiment"),
    ],
)
def test_contradictions_are_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_result(valid(kind, **changes), file="results/x.json")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("exp1_width_sweep", {"rows": [{**ROW, "inert_fraction": 0.9799}]}),  # 4e-4 off
        ("exp1_width_sweep", {"repr_growth": 15.7, "causal_growth": 4.39}),  # under 1 % off
        ("exp1_width_sweep", {"rows": [{**ROW, "n_repr": 0, "n_causal": 0}, WIDE]}),  # nothing to divide by
        ("expB_curve_fit", {"kappa_over_dmodel": 0.8686}),
        ("expB_curve_fit", {"fits": [{**FIT, "exceeds_d_model": True, "extrapolated": False}]}),
        ("exp5b_encoder_ablation", {"cells": [*CELLS, {**CELLS[2], "n_causal": 3200, "seed": 1}], "inflation": 9.51}),
        ("exp9_sva_recall", {"points": [{**POINTS[0], "recall": 0.429}]}),
        ("kappa_direct", {"kappa": 280.0, "kappa_pr": 280.0 * (1 + 5e-7)}),  # a flat spectrum, rounded
        ("kappa_direct", {"kappa": 2304.01, "kappa_pr": 2304.0}),
    ],
)
def test_rounding_is_no_contradiction(kind: str, changes: dict[str, Any]) -> None:
    parse_result(valid(kind, **changes))


def test_a_message_names_the_file_and_the_first_fault() -> None:
    with pytest.raises(SchemaError, match=r"^results/x\.json: .*rows.*and 1 more"):
        parse_result({"kind": "cross_family", "experiment": "e"}, file="results/x.json")


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "exp9_sva_recall", "task": "rc", "points": [{"q": 0.5, "n_hit": 10**400, "n_true": 7}]},
        {"kind": "kappa_direct", "layer": 1, "d_model": 10**400, "kappa": 3.0, "kappa_pr": 2.0},
    ],
)
def test_integers_without_end_are_refused_as_values(value: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        parse_result({"experiment": "x", **value})
