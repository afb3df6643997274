"""The experiments, each a short function from a runner to results under the declared schema (causal-dim. spec 2, 3).

Counts are always given by every rule, since the published one fixes the count at the base (spec, finding 1): a row's
``n_causal`` is that of rule P, and ``n_causal_by_rule`` has all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from circuit_artifacts.causal_dimensionality.agreement import Contrast, contrasts, read_agreement
from circuit_artifacts.causal_dimensionality.agreement_items import CODE, ENGLISH, agreement_items
from circuit_artifacts.compute.causality.ablation import feature_effects, identity_noise
from circuit_artifacts.compute.causality.agreement import CircuitRecall, circuit_recall, node_threshold
from circuit_artifacts.compute.causality.agreement_examples import batched, choose_examples
from circuit_artifacts.compute.causality.cells import CellSettings, four_cells
from circuit_artifacts.compute.causality.counts import Calibration
from circuit_artifacts.compute.causality.curves import fit_curves
from circuit_artifacts.compute.causality.intervals import Interval as FoundInterval
from circuit_artifacts.compute.causality.kappa import measure_kappa
from circuit_artifacts.compute.causality.null_scores import null_scores
from circuit_artifacts.compute.causality.rank_correlation import rank_correlation, sample_features
from circuit_artifacts.compute.causality.runner import CausalityRunner
from circuit_artifacts.compute.causality.scores import score_features
from circuit_artifacts.compute.causality.submodule_effects import Submodule, SubmoduleEffects, submodule_effects
from circuit_artifacts.compute.causality.synthetic import run_synthetic
from circuit_artifacts.compute.causality.synthetic_sources import SourceSettings
from circuit_artifacts.compute.causality.widths import WidthRow as FoundRow
from circuit_artifacts.compute.causality.widths import WidthSweep as FoundSweep
from circuit_artifacts.compute.causality.widths import bootstrap_counts, calibrate, width_row, width_sweep
from circuit_artifacts.schemas.causal_result_parts import (
    Cell,
    FitForm,
    Interval,
    RecallPoint,
    SaeReference,
    Threshold,
    WidthRow,
)
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

__all__ = ["EXPERIMENTS", "Results"]

Results = Iterator[tuple[str, Any]]
"""Paths below ``results/``, and what they hold."""

_SHOWN_COSINE: Final = 0.8
_LEXICA: Final = {"english": ENGLISH, "code": CODE}


def atp_versus_exact(runner: CausalityRunner) -> Results:
    """Attribution patching beside exact ablation, on features sampled at random and by score (spec 2.5)."""
    p = runner.parameters
    scores, sae = runner.scores[runner.base], runner.sae(runner.base)
    sample = sample_features(scores.scores, scores.firing, n_uniform=p.n_exact, n_stratified=p.n_exact, seed=p.seed)
    for sampling, features in (("uniform_firing", sample.uniform), ("stratified", sample.stratified)):
        effects = _effects(runner, sae, features.tolist())
        for signed in (True, False):
            found = rank_correlation(effects.atp, effects.exact, absolute=not signed, n_boot=p.n_boot, seed=p.seed)
            atp, exact = effects.atp.sum(axis=1), effects.exact.sum(axis=1)
            pairs = zip(effects.features.tolist(), atp.tolist(), exact.tolist(), strict=True)
            name = f"exp0/atp_vs_exact_{sampling}_{'signed' if signed else 'absolute'}.json"
            yield (
                name,
                AtpVersusExact(
                    experiment="exp0",
                    provenance=runner.stated,
                    sae=runner.reference(runner.base, sae, p.layer),
                    n_features=len(features),
                    sampling=sampling,
                    signed=signed,
                    spearman_rho=found.rho,
                    p_value=found.p_value,
                    rho_ci=_interval(found.over_sequences),
                    per_feature=[{"feature": f, "atp": a, "exact": e} for f, a, e in pairs],
                    rho_ci_over_features=_dumped(_interval(found.over_features)),
                    atp_variant=p.atp_variant,
                ),
            )


def widths(runner: CausalityRunner) -> Results:
    """Firing and causal features at growing widths, by every rule (spec 2.3)."""
    p = runner.parameters
    found, threshold = _sweep(runner)
    yield (
        "exp1/width_sweep.json",
        WidthSweep(
            experiment="exp1",
            provenance=runner.stated,
            layer=p.layer,
            threshold=threshold,
            rows=[
                _row(row, runner.reference(row.name, runner.sae(row.name), p.layer), threshold) for row in found.rows
            ],
            repr_growth=found.repr_growth,
            causal_growth=found.causal_growth("percentile"),
            wedge_ratio=found.wedge("percentile"),
            causal_growth_by_rule={rule.rule: found.causal_growth(rule.rule) for rule in found.calibrations},
            wedge_by_rule={rule.rule: found.wedge(rule.rule) for rule in found.calibrations},
            repr_slope=found.slope(found.repr_growth),
            rules=[dataclasses.asdict(rule) for rule in found.calibrations],
        ),
    )


def curve_fit(runner: CausalityRunner) -> Results:
    """Kappa as the asymptote of the causal count, in six forms, with the sequence bootstrap (spec 2.4)."""
    p = runner.parameters
    rules = calibrate(runner.scores, q=p.quantile)
    sweep = width_sweep(runner.scores, rules)
    for rule in rules:
        counts = [row.n_causal[rule.rule] for row in sweep.rows]
        if min(counts) <= 0:
            continue
        resampled = bootstrap_counts(runner.scores, rule, n_boot=p.n_boot, seed=p.seed)
        resampled = resampled[np.isfinite(resampled).all(axis=1)]  # but where a resample's percentile is zero
        fits = fit_curves(
            [row.width for row in sweep.rows], counts, d_model=runner.stated.d_model, resampled=resampled, seed=p.seed
        )
        yield (
            f"expB/curve_fit_{rule.rule}.json",
            CurveFit(
                experiment="expB",
                provenance=runner.stated,
                d_model=runner.stated.d_model or 0,
                widths=[row.width for row in sweep.rows],
                n_causal=[float(count) for count in counts],
                fits=[
                    FitForm(
                        form=fit.form,
                        params=dict(fit.parameters),
                        kappa=fit.kappa,
                        sse=fit.sse,
                        aicc=fit.aicc,
                        space="log",
                        ci=_interval(fit.interval),
                        at_bound=bool(fit.at_bound),
                        extrapolated=fit.extrapolated if fit.kappa is not None else None,
                        exceeds_d_model=fit.exceeds_d_model,
                    )
                    for fit in fits.rows
                ],
                selected=fits.selected,
                kappa_hat=fits.kappa_hat,
                verdict=fits.verdict,
                kappa_over_dmodel=fits.kappa_over_d_model,
                rule=rule.rule,
            ),
        )


def cells(runner: CausalityRunner) -> Results:
    """Trained and random encoders and decoders, with each policy for how random encoders fire (spec 2.6)."""
    p = runner.parameters
    sae = runner.sae(runner.base)
    for policy in p.policies:
        settings = CellSettings(policy=policy, reduction=p.reduction, q=p.quantile, mode=p.sae_encode)
        found = four_cells(sae, runner.batches(p.layer), settings)
        inflation = found.inflation
        yield (
            f"exp5b/cells_{policy}.json",
            EncoderCells(
                experiment="exp5b",
                provenance=runner.stated,
                sae=runner.reference(runner.base, sae, p.layer),
                threshold=Threshold(kind="percentile", q=p.quantile, population="all_features", value=found.tau),
                cells=[
                    Cell(
                        encoder=cell.encoder,
                        decoder=cell.decoder,
                        n_repr=cell.n_repr,
                        n_causal=cell.n_causal,
                        mean_l0=cell.mean_l0,
                        threshold_policy=policy,
                        seed=cell.seed,
                    )
                    for cell in found.cells
                ],
                inflation=None if inflation is None else inflation.mean,
                inflation_range=None if inflation is None else [inflation.lowest, inflation.highest],
            ),
        )


def recall(runner: CausalityRunner) -> Results:
    """How much of a circuit for agreement attribution patching finds, on its own and on held-out sentences (2.8)."""
    p = runner.parameters
    first, *others = p.structures
    truth = _circuit_effects(runner, first)
    threshold = node_threshold(truth, p.circuit_size)
    for structure in (first, *others):
        scores = None if structure == first else _circuit_effects(runner, structure)
        found = circuit_recall(truth, scores, threshold=threshold)
        if found is not None:
            yield from _recall_results(runner, found, truth_of=first, scored_on=structure)


def planted(runner: CausalityRunner) -> Results:
    """Recovery of planted directions by cosine, beside the ceiling and chance (spec 2.7)."""
    found = run_synthetic(SourceSettings(seed=runner.parameters.seed))
    for item in found:
        if item.rule == "planted" and item.cosine == _SHOWN_COSINE:
            same = [
                dataclasses.asdict(other)
                for other in found
                if (other.phi, other.dictionary, other.width) == (item.phi, item.dictionary, item.width)
            ]
            yield (
                f"synthetic/{item.phi}_{item.dictionary}_{item.width}.json",
                Planted(
                    experiment="synthetic",
                    provenance=runner.stated,
                    n_planted=item.n_planted,
                    cos_threshold=item.cosine,
                    n_recovered=item.n_recovered,
                    ceiling_recovered=item.n_ceiling,
                    subspace_overlap=item.subspace,
                    phi=item.phi,
                    dictionary=item.dictionary,
                    chance=item.chance,
                    recoveries=same,
                ),
            )


def layers(runner: CausalityRunner) -> Results:
    """Counts at every layer, rule P calibrated anew at each, beside the rules that do not fix the count (spec 2.9)."""
    p = runner.parameters
    rows = []
    for layer in p.layers:
        ref, sae = runner.layer_sae(layer)
        scores = {ref: score_features(runner.batches(layer), [sae], reduction=p.reduction, mode=p.sae_encode)[0]}
        rules = calibrate(scores, q=p.quantile, null=_null(runner, layer, ref, sae, scores[ref].features))
        rows.append(_row(width_row(ref, scores[ref], rules), runner.reference(ref, sae, layer), _threshold(rules, ref)))
    yield (
        "cross_family/layers.json",
        CrossFamily(
            experiment="cross_family",
            provenance=runner.stated,
            rows=rows,
            threshold=Threshold(kind="percentile", q=p.quantile, population="all_features", calibrated_on="each layer"),
        ),
    )


def kappa(runner: CausalityRunner) -> Results:
    """Kappa as it is defined, at every layer (spec 2.1)."""
    p = runner.parameters
    for layer in p.layers:
        found = measure_kappa(
            runner.model,
            runner.ids,
            site=p.site,
            layer=layer,
            output=p.output,
            n_probes=1 if p.output == "ce" else p.n_probes,
            estimator="gradient_outer_product" if p.output in {"ce", "fisher"} else "vjp_sketch",
            special_ids=runner.bos,
            seed=p.seed,
        )
        yield (
            f"kappa/layer_{layer}_{p.output}.json",
            DirectKappa(
                experiment="kappa",
                provenance=runner.stated,
                layer=layer,
                d_model=found.d,
                output=found.output,
                estimator=found.estimator,
                n_probes=found.n_probes,
                n_positions=found.n_positions,
                kappa=found.kappa,
                kappa_pr=found.kappa_pr,
                refused=found.refused,
                eigenvalues=found.eigenvalues.tolist(),
                convergence=[
                    {name: value for name, value in dataclasses.asdict(row).items() if value is not None}
                    for row in found.convergence
                ],
                ci=_dumped(_interval(found.interval)),
                pr_ustat=found.pr_ustat,
                flags=list(found.flags),
            ),
        )


EXPERIMENTS: Final[Mapping[str, Callable[[CausalityRunner], Results]]] = MappingProxyType(
    {
        "width_sweep": widths,
        "atp_versus_exact": atp_versus_exact,
        "curve_fit": curve_fit,
        "cells": cells,
        "recall": recall,
        "planted": planted,
        "layers": layers,
        "kappa": kappa,
    }
)


def _sweep(runner: CausalityRunner) -> tuple[FoundSweep, Threshold]:
    """All widths by all rules that the metric allows; exact effects decide rule E, on a sample."""
    p = runner.parameters
    base = runner.base
    sae = runner.sae(base)
    noise = None
    sizes = {}
    if p.metric == "ce_sum":  # nats per token, which the threshold of rule E is in
        ids, mask = _exact_ids(runner), _exact_mask(runner)
        moved = identity_noise(runner.model, ids, sae, site=p.site, layer=p.layer, mask=mask, metric=p.metric)
        noise = float((moved / mask.sum(dim=1).cpu().numpy()).mean())
        for ref, scores in runner.scores.items():
            sample = sample_features(scores.scores, scores.firing, n_uniform=p.n_exact, n_stratified=10, seed=p.seed)
            sizes[ref] = _effects(runner, runner.sae(ref), sample.uniform.tolist()).effect_size
    null = _null(runner, p.layer, base, sae, runner.scores[base].features)
    rules = calibrate(runner.scores, q=p.quantile, null=null, noise=noise)
    return width_sweep(runner.scores, rules, effect_sizes=sizes), _threshold(rules, base)


def _null(runner: CausalityRunner, layer: int, ref: str, sae: Any, features: Any) -> Any:
    p = runner.parameters
    return null_scores(runner.batches(layer), sae, features, seed=p.seed, reduction=p.reduction, mode=p.sae_encode)


def _threshold(rules: tuple[Calibration, ...], base: str) -> Threshold:
    (rule,) = (rule for rule in rules if rule.rule == "percentile")
    return Threshold(
        kind="percentile",
        q=rule.q,
        population="all_features",
        value=rule.tau,
        calibrated_on=base.rpartition("/")[2],
    )


def _row(row: FoundRow, reference: SaeReference, threshold: Threshold) -> WidthRow:
    causal = int(row.n_causal["percentile"])
    return WidthRow(
        sae=reference,
        width=row.width,
        n_repr=row.n_repr,
        n_causal=causal,
        mean_l0=row.l0,
        n_inert=row.n_repr - causal,
        inert_fraction=row.inert_fraction("percentile"),
        tau=threshold.value,
        recon_fvu=row.fvu,
        n_firing_10=row.n_often,
        n_causal_by_rule=dict(row.n_causal),
        bound_by_rule=dict(row.bound),
        n_effective=row.n_effective,
        sum_scores=row.total,
        error_score=row.error_score,
    )


def _exact_ids(runner: CausalityRunner) -> Any:
    return runner.ids[: runner.parameters.n_exact_sequences]


def _exact_mask(runner: CausalityRunner) -> Any:
    return runner.mask[: runner.parameters.n_exact_sequences]


def _effects(runner: CausalityRunner, sae: Any, features: list[int]) -> Any:
    p = runner.parameters
    return feature_effects(
        runner.model,
        _exact_ids(runner),
        sae,
        features,
        site=p.site,
        layer=p.layer,
        mask=_exact_mask(runner),
        metric=p.metric,
        mode=p.sae_encode,
        atp_variant=p.atp_variant,
    )


def _circuit_effects(runner: CausalityRunner, structure: str) -> list[SubmoduleEffects]:
    p = runner.parameters
    encode = runner.tokenizer.encode
    chosen = choose_examples(
        _items(runner, structure),
        lambda text: [*runner.bos, *encode(text)],
        n=p.n_examples,
        bos_id=runner.bos[0] if runner.bos else None,
    )
    batches = list(batched(chosen.examples))
    submodules = (Submodule(p.site, layer, runner.layer_sae(layer)[1]) for layer in p.layers)
    return list(submodule_effects(runner.model, submodules, batches, special_ids=runner.bos, mode=p.sae_encode))


def _items(runner: CausalityRunner, structure: str) -> list[Contrast]:
    p = runner.parameters
    if p.agreement is None:
        return agreement_items(structure, lexicon=_LEXICA[p.lexicon], seed=p.seed)["train"]
    return contrasts(read_agreement(Path(p.agreement).expanduser() / f"{structure}_train.json"))


def _recall_results(runner: CausalityRunner, found: CircuitRecall, *, truth_of: str, scored_on: str) -> Results:
    scopes = sorted({point.scope for point in found.points})
    for scope in scopes:
        points = [point for point in found.points if point.scope == scope]
        yield (
            f"exp9/recall_{truth_of}_scored_on_{scored_on}_{scope}.json",
            SvaRecall(
                experiment="exp9",
                provenance=runner.stated,
                task=truth_of,
                split="train",
                node_threshold=found.node_threshold,
                ground_truth_method="ig",
                percentile_scope=scope,
                points=[
                    RecallPoint(
                        q=point.q,
                        n_hit=point.n_hit,
                        n_true=point.n_true,
                        recall=point.recall,
                        random_baseline=point.random_baseline,
                        firing_baseline=point.firing_baseline,
                        activation_recall=point.activation_recall,
                        n_most=point.n_most,
                    )
                    for point in points
                ],
                scored_on=scored_on,
                held_out=truth_of != scored_on,
            ),
        )


def _interval(found: FoundInterval | None) -> Interval | None:
    return (
        None if found is None or not np.isfinite([found.lo, found.hi]).all() else Interval(**dataclasses.asdict(found))
    )


def _dumped(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else interval.model_dump()
