"""Counts against width: nested dictionaries that saturate without any budget, and resampled sequences."""

from __future__ import annotations

import math

import causal_models as tiny
import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.capture import SiteValues, positions_mask, site_values
from circuit_artifacts.compute.causality.counts import (
    Calibration,
    causal_count,
    effective_count,
    mass_calibration,
    percentile_calibration,
)
from circuit_artifacts.compute.causality.null_scores import null_scores
from circuit_artifacts.compute.causality.scores import FeatureScores, score_features
from circuit_artifacts.compute.causality.widths import WidthRow, WidthSweep, bootstrap_counts, calibrate, width_sweep
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import SchemaError

Batch = tuple[SiteValues, Tensor]

IDS = tiny.token_ids(8)
WIDTHS = (24, 48, 96, 192)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    model = tiny.build("gpt2")
    return [
        (site_values(model, ids, site="resid_post", layer=1), positions_mask(ids, {int(IDS[0, 0])}))
        for ids in (IDS[:3], IDS[3:])
    ]


def split(sae: SparseAutoencoder, parts: int) -> SparseAutoencoder:
    """Every feature as so many equal ones that share its decoder row: the same reconstruction."""
    return SparseAutoencoder(
        "relu",
        sae.W_enc.repeat(1, parts),
        sae.b_enc.repeat(parts),
        sae.W_dec.repeat(parts, 1) / parts,
        sae.b_dec,
        trained=sae.trained,
    )


@pytest.fixture(scope="module")
def nested(batches: list[Batch]) -> dict[str, FeatureScores]:
    base = tiny.autoencoder("relu")
    saes = [split(base, width // 24) for width in WIDTHS]
    return dict(zip(map(str, WIDTHS), score_features(batches, saes), strict=True))


@pytest.fixture(scope="module")
def random(batches: list[Batch]) -> dict[str, FeatureScores]:
    saes = [tiny.autoencoder("relu", n_features=width, seed=width, shift=-4.0) for width in WIDTHS[:3]]
    return dict(zip("abc", score_features(batches, saes), strict=True))


def test_features_that_split_saturate_the_count_without_any_budget(nested: dict[str, FeatureScores]) -> None:
    """The control: nothing about the model changes, every feature fires, and yet a wedge opens."""
    sweep = width_sweep(nested, calibrate(nested, q=0.75))
    rows = sweep.rows
    assert [row.n_repr for row in rows] == [rows[0].n_repr * parts for parts in (1, 2, 4, 8)]
    assert len({round(row.total, 9) for row in rows}) == 1  # S is conserved
    assert rows[0].n_causal["percentile"] == 6
    tau = sweep.calibrations[0].tau
    base = nested["24"].scores
    for row in rows:
        parts = row.width // 24
        assert row.n_causal["percentile"] == parts * np.count_nonzero(base / parts > tau)
        assert row.n_causal["percentile"] <= row.bound["percentile"] == pytest.approx(row.total / tau)
    # Were it free to, the count would grow eightfold like the firing features.
    assert sweep.repr_growth == 8
    assert sweep.causal_growth("percentile") < 1
    assert width_sweep({name: nested[name] for name in ("24", "48")}, sweep.calibrations).wedge("percentile") > 1
    # The rules whose count is free to follow see the features that there are.
    assert sweep.causal_growth("mass") == pytest.approx(8, rel=0.1)
    assert rows[-1].n_effective == pytest.approx(8 * rows[0].n_effective)


def test_rows(random: dict[str, FeatureScores], batches: list[Batch]) -> None:
    base = tiny.autoencoder("relu", n_features=24, seed=24, shift=-4.0)
    null = null_scores(batches, base, random["a"].features, n_seeds=4)
    rules = calibrate(random, q=0.75, null=null, noise=1e-5)
    sizes = {name: np.array([0.0, 1e-4, 1.0, 2.0]) for name in random}
    sweep = width_sweep(dict(reversed(random.items())), rules, effect_sizes=sizes)
    assert [row.name for row in sweep.rows] == ["a", "b", "c"]  # narrow to wide
    assert [rule.rule for rule in sweep.calibrations] == ["percentile", "null", "effect_size", "mass"]
    for row in sweep.rows:
        scores = random[row.name]
        assert row.n_repr == np.count_nonzero(scores.firing)
        assert row.n_often == np.count_nonzero(scores.firing >= 10)
        assert 0 < row.n_often < row.n_repr
        for rule in (rules[0], rules[1]):
            assert row.n_causal[rule.rule] == np.count_nonzero(scores.scores > rule.tau)
            assert row.bound[rule.rule] == pytest.approx(scores.total / rule.tau)
        assert rules[1].tau == np.quantile(null, 0.999)
        assert row.n_causal["effect_size"] == 0.75 * row.n_repr
        assert row.n_causal["mass"] == causal_count(scores.scores, mass_calibration())
        assert row.n_effective == effective_count(scores.scores)
        assert (row.l0, row.fvu, row.total) == (scores.l0, scores.fvu, scores.total)
        assert row.error_score == scores.error_score
        assert row.inert_fraction("percentile") == 1 - row.n_causal["percentile"] / row.n_repr


def test_wedge_and_slopes_of_the_published_ends() -> None:
    """15.6 and 4.35 over 64 times the width give 3.59, 0.661 and 0.354."""
    sweep = WidthSweep((fixed_row("16k", 16_384, 16_000, 328), fixed_row("1M", 2**20, 249_600, 1427)), ())
    assert sweep.wedge("percentile") == pytest.approx(3.59, abs=0.005)
    assert sweep.slope(sweep.repr_growth) == pytest.approx(0.661, abs=5e-4)
    assert sweep.slope(sweep.causal_growth("percentile")) == pytest.approx(0.354, abs=5e-4)


def fixed_row(name: str, width: int, n_repr: int, n_causal: int) -> WidthRow:
    rest = {"n_often": 0, "n_effective": 0.0, "total": 0.0, "bound": {}, "error_score": 0.0, "l0": 0.0, "fvu": 0.0}
    return WidthRow(name=name, width=width, n_repr=n_repr, n_causal={"percentile": n_causal}, **rest)


def test_growth_from_nothing_is_unknown() -> None:
    sweep = WidthSweep((fixed_row("a", 8, 0, 0), fixed_row("b", 16, 4, 2)), ())
    assert sweep.repr_growth is None
    assert sweep.causal_growth("percentile") is None
    assert sweep.wedge("percentile") is None
    assert sweep.slope(sweep.repr_growth) is None
    assert sweep.rows[0].inert_fraction("percentile") is None


@pytest.mark.parametrize("recalibrate", [True, False])
def test_bootstrap_is_full_recomputation(
    batches: list[Batch], random: dict[str, FeatureScores], recalibrate: bool
) -> None:
    """Resampled sequences, put through attribution again."""
    rule = percentile_calibration(random["a"].scores, base="a", q=0.75)
    found = bootstrap_counts(random, rule, n_boot=4, seed=1, recalibrate=recalibrate)
    weights = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=4)
    values = [torch.cat([getattr(v, name) for v, _ in batches]) for name in ("activation", "gradient", "metric")]
    mask = torch.cat([mask for _, mask in batches])
    saes = [tiny.autoencoder("relu", n_features=width, seed=width, shift=-4.0) for width in WIDTHS[:3]]
    for row, counts in zip(weights, found, strict=True):
        drawn = torch.from_numpy(np.repeat(np.arange(8), row))
        again = score_features([(SiteValues(*(value[drawn] for value in values)), mask[drawn])], saes)
        tau = np.quantile(again[0].scores, 0.75) if recalibrate else rule.tau
        assert counts.tolist() == [np.count_nonzero(scores.scores > tau) for scores in again]
    if recalibrate:
        assert set(found[:, 0]) == {6}  # a quarter of 24, as the percentile says


def test_bootstrap_of_other_rules_holds_their_thresholds(random: dict[str, FeatureScores]) -> None:
    null = Calibration(rule="null", q=0.999, tau=0.05, base="a")
    found = bootstrap_counts(random, null, n_boot=6, seed=2)
    weights = np.random.default_rng(2).multinomial(8, np.full(8, 1 / 8), size=6)
    for column, scores in enumerate(random.values()):
        resampled = scores.resampled(weights)
        np.testing.assert_array_equal(found[:, column], (resampled > 0.05).sum(axis=1))
    mass = bootstrap_counts(random, mass_calibration(), n_boot=6, seed=2)
    assert (mass > 0).all()
    assert (mass.astype(int) == mass).all()


def test_the_share_of_resamples_done_at_once_changes_nothing(
    random: dict[str, FeatureScores], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = percentile_calibration(random["a"].scores, base="a", q=0.75)
    whole = bootstrap_counts(random, rule, n_boot=20)
    monkeypatch.setattr("circuit_artifacts.compute.causality.widths._ENTRIES", 100)
    np.testing.assert_array_equal(bootstrap_counts(random, rule, n_boot=20), whole)


def test_resamples_with_too_few_features_for_the_percentile_are_unknown(batches: list[Batch]) -> None:
    """Where features fire in the first sequence only, so that a third of the resamples have none."""
    saes = [tiny.autoencoder("relu", n_features=width, seed=3, shift=-1.0) for width in (24, 48)]
    values, mask = batches[0]
    scores: dict[str, FeatureScores] = {}
    for name, sae in zip("ab", saes, strict=True):
        x = sae.b_dec.expand_as(values.activation).clone()
        x[0] = values.activation[0]
        (scores[name],) = score_features([(SiteValues(x, values.gradient, values.metric), mask)], [sae])
    rule = percentile_calibration(scores["a"].scores, base="a", q=0.75)
    unknown = np.isnan(bootstrap_counts(scores, rule, n_boot=400))
    np.testing.assert_array_equal(unknown[:, 0], unknown[:, 1])
    assert unknown[:, 0].mean() == pytest.approx((2 / 3) ** 3, abs=0.06)


def test_sweeps_that_cannot_be_compared_are_refused(random: dict[str, FeatureScores], batches: list[Batch]) -> None:
    rules = calibrate(random, q=0.75)
    with pytest.raises(SchemaError, match="different widths"):
        width_sweep({"a": random["a"]}, rules)
    with pytest.raises(SchemaError, match="different widths"):
        width_sweep({"a": random["a"], "b": random["a"]}, rules)
    (short,) = score_features(batches[:1], [tiny.autoencoder("relu", n_features=48)])
    with pytest.raises(SchemaError, match=r"a: mean_abs, .* tokens; b: mean_abs"):
        width_sweep({"a": random["a"], "b": short}, rules)
    with pytest.raises(SchemaError, match="effect_sizes: exact effects are needed of every autoencoder"):
        width_sweep(random, calibrate(random, q=0.75, noise=0.0))
    with pytest.raises(SchemaError, match=r"base: .*not among those given .found z"):
        bootstrap_counts(random, Calibration(rule="percentile", q=0.75, tau=0.1, base="z"))
    with pytest.raises(SchemaError, match="a: the percentile of the scores is zero"):
        calibrate(random, q=0.01)


def test_slopes_are_of_a_power_law() -> None:
    sweep = WidthSweep((fixed_row("a", 100, 10, 10), fixed_row("b", 10_000, 1000, 100)), ())
    assert sweep.slope(sweep.repr_growth) == pytest.approx(1.0)
    assert sweep.slope(sweep.causal_growth("percentile")) == pytest.approx(math.log(10) / math.log(100))
