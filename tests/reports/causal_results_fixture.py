"""Results of causal dimensionality with chosen numbers, for tests of their figures."""

from __future__ import annotations

from typing import Any, TypeVar

from circuit_artifacts.compute.causality.curve_forms import predict
from circuit_artifacts.schemas.causal_results import (
    AtpVersusExact,
    CurveFit,
    DirectKappa,
    EncoderCells,
    SvaRecall,
    WidthSweep,
    parse_result,
)

__all__ = ["FORMS", "SAE", "WIDTHS", "agreement", "curve_fit", "direct_kappa", "four_cells", "recalls", "sweep"]

T = TypeVar("T")
SAE = {"source": "gemma-scope-2b-pt-res", "sae_id": "width_16k", "layer": 12, "hook": "resid_post"}
WIDTHS = [2**14, 2**16, 2**20]
FORMS: dict[str, dict[str, float]] = {
    "exp": {"kappa": 1400, "W0": 2e5},
    "mm": {"kappa": 1500, "K": 7e4},
    "hill": {"kappa": 1990, "a": 0.614, "K": 230563},
    "weibull": {"kappa": 1990, "b": 0.468, "W0": 637607},
    "exp_offset": {"kappa": 1400, "W0": 3e5, "N0": 250},
    "power": {"c": 10.6, "a": 0.354},
}


def sweep(**changes: Any) -> WidthSweep:
    """Published end counts; the rule of the threshold, and another one with a bound."""
    counts = [(16000, 328), (40000, 500), (249600, 1427)]
    rows = [
        {"sae": SAE, "width": width, "n_repr": firing, "n_causal": causal}
        | {"n_causal_by_rule": {"percentile": causal, "null": 2.0 * causal}, "bound_by_rule": {"null": 30.0 * causal}}
        for width, (firing, causal) in zip(WIDTHS, counts, strict=True)
    ]
    return _result(
        WidthSweep, "exp1_width_sweep", {"layer": 12, "threshold": {"kind": "percentile"}, "rows": rows} | changes
    )


def curve_fit(**changes: Any) -> CurveFit:
    """Six forms, of which hill is selected; the counts are on it."""
    fits: list[dict[str, Any]] = [
        {"form": form, "params": values, "kappa": values.get("kappa")} for form, values in FORMS.items()
    ]
    fits[2] |= {"ci": {"lo": 545, "hi": 5130}, "aicc": -12.5}
    fields = {"d_model": 2304, "widths": WIDTHS, "n_causal": predict("hill", FORMS["hill"], WIDTHS).tolist()}
    fields |= {"fits": fits, "selected": "hill", "kappa_hat": 1990, "verdict": "no saturation detected"}
    return _result(CurveFit, "expB_curve_fit", fields | changes)


def direct_kappa(**changes: Any) -> DirectKappa:
    """Four eigenvalues and three rows of convergence."""
    rows = [
        {"n_samples": n, "n_sequences": n / 10, "effective_rank": rank, "participation_ratio": rank - 0.5}
        for n, rank in ((40, 3.0), (10, 2.0), (20, 2.5))
    ]
    fields = {"layer": 4, "d_model": 4, "output": "centred_logits", "estimator": "vjp_sketch", "n_probes": 8}
    fields |= {"n_positions": 40000, "kappa": 3.25, "kappa_pr": 2.75, "eigenvalues": [4.0, 3.0, 1.0, 0.0]}
    return _result(DirectKappa, "kappa_direct", fields | {"convergence": rows} | changes)


def agreement(pairs: Any, **changes: Any) -> AtpVersusExact:
    """From (estimated, exact) effects."""
    rows = None if pairs is None else [{"feature": i, "atp": a, "exact": e} for i, (a, e) in enumerate(pairs)]
    fields = {"sae": SAE, "n_features": len(rows or []), "spearman_rho": 0.838, "per_feature": rows}
    return _result(AtpVersusExact, "exp0_atp_vs_exact", fields | changes)


def four_cells(
    trained: list[int], random_encoder: list[int], random_decoder: list[int], **changes: Any
) -> EncoderCells:
    """Causal counts by seed; with both random as with the random decoder. All have 5,000 firing features."""
    counts = {("trained", "trained"): trained, ("random", "trained"): random_encoder}
    counts |= dict.fromkeys([("trained", "random"), ("random", "random")], random_decoder)
    cells = [
        {"encoder": encoder, "decoder": decoder, "n_repr": 5000, "n_causal": count, "seed": seed} | changes
        for (encoder, decoder), all_counts in counts.items()
        for seed, count in enumerate(all_counts)
    ]
    return _result(EncoderCells, "exp5b_encoder_ablation", {"sae": SAE, "threshold": {}, "cells": cells})


def recalls(scope: str = "global", *, extras: bool = True, **changes: Any) -> SvaRecall:
    """The published recalls."""
    points = [
        {"q": q, "n_hit": hit, "n_true": 56, "recall": hit / 56, "random_baseline": 1 - q}
        | ({"firing_baseline": 5 * (1 - q), "activation_recall": 0.25, "n_most": most} if extras else {})
        for q, hit, most in ((0.99, 24, 28), (0.98, 43, 56), (0.95, 55, 80))
    ]
    fields = {"task": "rc", "split": "train", "percentile_scope": scope, "node_threshold": 0.1, "points": points}
    return _result(SvaRecall, "exp9_sva_recall", fields | changes)


def _result(model: type[T], kind: str, fields: dict[str, Any]) -> T:
    provenance = {"model": "google/gemma-2-2b", "metric": "ce_sum"}
    found = parse_result({"kind": kind, "experiment": "e", "provenance": provenance, **fields})
    assert isinstance(found, model)
    return found
