"""Causal dimensionality: printed numbers against each other, and against results that have them or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from circuit_artifacts import catalog
from circuit_artifacts.causal_dimensionality.consistency import CHECKS
from circuit_artifacts.causal_dimensionality.facts import published_facts
from circuit_artifacts.claims import Interval, Verdict, evaluate
from circuit_artifacts.claims.causal_dimensionality import claims
from circuit_artifacts.schemas.causal_dimensionality_mirror import SITES
from circuit_artifacts.sources import Sources

KNOWN_INCONSISTENCIES = {
    "kappa_ratio_9b",
    "point_eq_median",
    "ci_hi_le_dmodel",
    "ci_lo_ge_observed",
    "two_param_exp",
    "two_param_mm",
    "inert_not_of_width",
    "pythia_tol",
    "scaling_params",
    "total_gb_decimal",
}
SAE = {"source": "gemma-scope-2b-pt-res"}


def verdicts(root: Path | None, *names: str) -> dict[str, Verdict]:
    wanted = [claim for claim in claims() if not names or claim.name in names]
    assert not names or len(wanted) == len(names)
    mirror = catalog.mirror("causal-dimensionality")
    found = evaluate(Sources(mirror=mirror, data_root=root, regenerate=False), wanted)
    return {verdict.claim.name: verdict for verdict in found}


def test_ten_of_the_consistency_checks_fail_and_no_other() -> None:
    found = {name: v.status for name, v in verdicts(None).items() if name.startswith("consistency_")}
    assert len(found) == len(CHECKS) == 29
    assert {name.removeprefix("consistency_") for name, status in found.items() if status == "fails"} == (
        KNOWN_INCONSISTENCIES
    )


def test_every_published_number_is_a_claim_with_the_interval_of_its_print() -> None:
    by_name = {claim.name: claim for claim in claims()}
    facts = [fact for fact in published_facts().values() if fact.source != "config"]
    assert len(facts) == 33
    for fact in facts:
        interval = by_name[fact.id].published
        assert isinstance(interval, Interval)
        assert float(interval.least) == fact.published
        if fact.low is not None:
            assert (float(interval.low), float(interval.high)) == pytest.approx((fact.low, fact.high))
    about = by_name["kappa_hat"].published
    assert isinstance(about, Interval)
    assert (about.low, about.high) == (1985, 1995)


def write(root: Path, path: str, result: dict[str, Any], *, regenerated: bool = False) -> None:
    file = root / "results" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"experiment": file.parent.name} | result))
    if regenerated:
        record = {"mirror": "causal-dimensionality-mini", "step": "experiments", "model": {"reference": "mini"}}
        file.with_name(f"{file.name}.provenance.json").write_text(json.dumps(record))


def sweep(n_repr: tuple[int, int] = (15_990, 249_444), n_causal: tuple[int, int] = (328, 1_427)) -> dict[str, Any]:
    """As published: 16,384 to 1,048,576 features in seven powers of two."""
    rows = [
        {"sae": SAE, "width": 2**power, "n_repr": of_firing, "n_causal": of_causal}
        for power, of_firing, of_causal in zip(
            range(14, 21),
            (n_repr[0], *(20_000 + number for number in range(5)), n_repr[1]),
            (n_causal[0], *(400 + number for number in range(5)), n_causal[1]),
            strict=True,
        )
    ]
    threshold = {"kind": "percentile", "q": 0.98}
    return {
        "kind": "exp1_width_sweep",
        "layer": 12,
        "threshold": threshold,
        "rows": rows,
        "provenance": {"seq_len": 512},
    }


def fit(kappa: float = 1987.4) -> dict[str, Any]:
    interval = {"lo": 545.2, "hi": 5130.4, "median": 1705.1}
    form = {"form": "hill", "params": {}, "kappa": kappa, "ci": interval}
    counts = {"d_model": 2304, "widths": [16_384], "n_causal": [328.0]}
    return {
        "kind": "expB_curve_fit",
        "fits": [form],
        "selected": "hill",
        "kappa_hat": kappa,
        "kappa_pr": 281.0,
    } | counts


def cells(random: int) -> dict[str, Any]:
    counts = {
        ("trained", "trained"): 328,
        ("random", "trained"): random,
        ("trained", "random"): 5,
        ("random", "random"): 6,
    }
    made = [{"encoder": e, "decoder": d, "n_repr": 9_000, "n_causal": n} for (e, d), n in counts.items()]
    return {"kind": "exp5b_encoder_ablation", "sae": SAE, "threshold": {}, "cells": made}


def recall(*hits: int) -> dict[str, Any]:
    points = [
        {"q": q, "n_hit": n, "n_true": 56, "recall": n / 56} for q, n in zip((0.99, 0.98, 0.95), hits, strict=True)
    ]
    return {"kind": "exp9_sva_recall", "task": "rc", "points": points}


def rank(rho: float) -> dict[str, Any]:
    return {"kind": "exp0_atp_vs_exact", "sae": SAE, "n_features": 500, "spearman_rho": rho}


def as_published(root: Path, **options: bool) -> Path:
    write(root, "exp1/sweep.json", sweep(), **options)
    write(root, "expB/fit.json", fit(), **options)
    write(root, "exp5b/cells.json", cells(3_041), **options)
    write(root, "exp9/recall.json", recall(24, 43, 55), **options)
    write(root, "exp0/rank.json", rank(0.8381), **options)
    planted = {"kind": "exp_synthetic_gt", "n_planted": 16, "cos_threshold": 0.8, "n_recovered": 0}
    write(root, "synthetic/planted.json", planted, **options)
    for family, n_repr in (("llama", 1_000_000), ("pythia", 1_000_000)):
        n_causal = {"llama": 21_400, "pythia": 47_700}[family]
        row = {"sae": {"source": family}, "width": 2_000_000, "n_repr": n_repr, "n_causal": n_causal}
        write(root, f"{family}/row.json", {"kind": "cross_family", "rows": [row], "threshold": {}}, **options)
    return root


MEASURED = {claim.name for claim in claims() if claim.kind == "published" and claim.needs == ("results",)}


def test_results_as_published_bear_every_number_out(tmp_path: Path) -> None:
    found = verdicts(as_published(tmp_path), *MEASURED)
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(MEASURED, "holds")
    assert all(v.regenerated is False for v in found.values())
    assert len(MEASURED) == 25


@pytest.mark.parametrize(
    ("path", "result", "refuted"),
    [
        ("exp1/sweep.json", sweep(n_causal=(328, 1_430)), {"causal_growth"}),  # 4.36
        ("exp1/sweep.json", sweep(n_repr=(16_100, 251_160)), {"inert_g2b_pct", "inert_g2b_prose_pct"}),  # 97.96
        ("expB/fit.json", fit(1_995.0), {"kappa_hat", "kappa_over_dmodel"}),
        ("exp5b/cells.json", cells(3_045), {"inflation"}),
        ("exp9/recall.json", recall(24, 44, 55), {"sva_p98_pct"}),
        ("exp0/rank.json", rank(0.8385), {"rho_atp_exact"}),
    ],
)
def test_a_number_beyond_the_rounding_is_found(
    tmp_path: Path, path: str, result: dict[str, Any], refuted: set[str]
) -> None:
    write(as_published(tmp_path), path, result)
    found = verdicts(tmp_path, *MEASURED)
    assert {name for name, verdict in found.items() if verdict.status == "fails"} == refuted


def test_one_of_several_results_may_have_the_number(tmp_path: Path) -> None:
    write(tmp_path, "exp0/a.json", rank(0.61))
    write(tmp_path, "exp0/b.json", rank(0.838))
    found = verdicts(tmp_path, "rho_atp_exact")["rho_atp_exact"]
    assert (found.status, found.measured) == ("holds", 0.838)
    assert "b.json, of 2 results from 0.61 to 0.838" in found.sentence


def test_of_regenerated_results_the_first_stands_for_all(tmp_path: Path) -> None:
    """Taking the nearest would make any run look like the published one."""
    write(tmp_path, "exp0/a.json", rank(0.61), regenerated=True)
    write(tmp_path, "exp0/b.json", rank(0.838), regenerated=True)
    found = verdicts(tmp_path, "rho_atp_exact", "atp_follows_exact")
    assert (found["rho_atp_exact"].status, found["rho_atp_exact"].measured) == ("no data", 0.61)
    assert found["rho_atp_exact"].distance == pytest.approx(0.61 - 0.838)
    assert (found["atp_follows_exact"].status, found["atp_follows_exact"].measured) == ("holds", 0.61)


def test_structure_is_judged_in_every_result(tmp_path: Path) -> None:
    root = as_published(tmp_path, regenerated=True)
    names = ("wedge", "encoder_filters", "atp_follows_exact", "recall_grows")
    assert {name: v.status for name, v in verdicts(root, *names).items()} == dict.fromkeys(names, "holds")
    write(root, "exp5b/other.json", cells(300), regenerated=True)
    write(root, "exp0/other.json", rank(0.4), regenerated=True)
    write(root, "exp1/other.json", sweep(n_repr=(10_000, 40_000)), regenerated=True)
    found = verdicts(root, *names)
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(names, "fails") | {"recall_grows": "holds"}
    assert found["encoder_filters"].measured == pytest.approx(300 / 328)


def test_effective_rank_and_participation(tmp_path: Path) -> None:
    name = "participation_below_rank"
    direct = {"kind": "kappa_direct", "layer": 4, "d_model": 64, "output": "ce", "estimator": "vjp_sketch"}
    write(tmp_path, "kappa/a.json", direct | {"n_probes": 1, "n_positions": 9, "kappa": 20.0, "kappa_pr": 10.0})
    assert verdicts(tmp_path, name)[name].measured == 2
    refused = {"n_probes": 1, "n_positions": 9, "kappa": None, "kappa_pr": None, "refused": "too few"}
    write(tmp_path, "kappa/a.json", direct | refused)
    assert verdicts(tmp_path, name)[name].status == "no data"


def test_results_that_cannot_be_understood_are_no_data(tmp_path: Path) -> None:
    write(tmp_path, "exp0/rank.json", {"something": "else"})
    found = verdicts(tmp_path, "rho_atp_exact")["rho_atp_exact"]
    assert found.status == "no data"
    assert "exp0_atp_vs_exact" in found.sentence


def write_dictionary(root: Path, site: str, d_sae: int = 4) -> None:
    folder = root / "pythia-70m-deduped" / site / f"10_{d_sae}"
    folder.mkdir(parents=True)
    tensors = {"bias": (3,), "encoder.weight": (d_sae, 3), "encoder.bias": (d_sae,), "decoder.weight": (3, d_sae)}
    torch.save({name: torch.ones(*shape) for name, shape in tensors.items()}, folder / "ae.pt")


def test_dictionaries_are_counted_and_weighed_when_all_are_here(tmp_path: Path) -> None:
    names = ("n_sae_files", "sae_total_gb", "sae_file_mb", "d_sae_marks", "jumprelu_style")
    write_dictionary(tmp_path, "embed")
    found = verdicts(tmp_path, *names)
    assert {name: v.status for name, v in found.items()} == {
        "n_sae_files": "no data",  # a part of them says nothing of their number
        "sae_total_gb": "no data",
        "sae_file_mb": "fails",
        "d_sae_marks": "fails",
        "jumprelu_style": "fails",
    }
    assert found["d_sae_marks"].measured == 4
    for site in SITES[1:]:
        write_dictionary(tmp_path, site)
    found = verdicts(tmp_path, "n_sae_files", "sae_total_gb")
    assert (found["n_sae_files"].status, found["n_sae_files"].measured) == ("holds", 19)
    assert found["sae_total_gb"].status == "fails"
