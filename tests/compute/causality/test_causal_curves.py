"""Fits of curves: parameters that were put in come out, and the published end counts allow what they allow."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_artifacts.compute.causality.curve_fitting import Problem
from circuit_artifacts.compute.causality.curve_forms import FORMS
from circuit_artifacts.compute.causality.curves import CurveFits, fit_curves, predict, through_ends
from circuit_artifacts.errors import SchemaError, UnknownNameError

WIDTHS = 2.0 ** np.arange(14, 21)
ENDS = (2.0**14, 2.0**20)
TRUE = {
    "exp": {"kappa": 1500.0, "W0": 6e5},
    "mm": {"kappa": 1500.0, "K": 1e5},
    "hill": {"kappa": 1990.0, "K": 230_563.0, "a": 0.614},
    "weibull": {"kappa": 1990.0, "W0": 637_607.0, "b": 0.468},
    "exp_offset": {"kappa": 1500.0, "W0": 6e5, "N0": 300.0},
    "power": {"c": 10.0, "a": 0.354},
}


def noisy(form: str, deviation: float, seed: int = 0) -> np.ndarray:
    errors = np.random.default_rng(seed).normal(0, deviation, len(WIDTHS))
    return np.asarray(predict(form, TRUE[form], WIDTHS) * np.exp(errors))


def quick(counts: object, **options: object) -> CurveFits:
    return fit_curves(WIDTHS, counts, n_starts=3, **options)  # type: ignore[arg-type]  # passed through


@pytest.mark.parametrize("form", TRUE)
def test_exact_data_give_their_parameters_and_their_form(form: str) -> None:
    fits = quick(predict(form, TRUE[form], WIDTHS))
    assert fits.best == form
    assert fits.row(form).parameters == pytest.approx(TRUE[form], rel=1e-6)
    assert fits.verdict == ("no saturation detected" if form == "power" else "saturation")
    if form != "power":
        assert fits.selected == form
        assert fits.kappa_hat == pytest.approx(TRUE[form]["kappa"], rel=1e-6)


@pytest.mark.parametrize("form", ["exp", "mm", "hill", "weibull", "exp_offset"])
def test_noisy_data_give_nearly_their_kappa_inside_the_profile_interval(form: str) -> None:
    row = quick(noisy(form, 0.005)).row(form)
    assert row.profile is not None
    assert row.kappa == pytest.approx(TRUE[form]["kappa"], rel=0.15)
    assert row.profile.lo <= TRUE[form]["kappa"] <= row.profile.hi


def test_a_power_law_is_not_taken_for_saturation() -> None:
    fits = quick(noisy("power", 0.02))
    assert fits.verdict == "no saturation detected"
    assert fits.row("power").kappa is None
    exact = quick(predict("power", TRUE["power"], WIDTHS), d_model=2304)
    assert exact.row("hill").kappa == pytest.approx(100 * exact.counts[-1], rel=1e-3)
    assert "kappa" in exact.row("hill").at_bound
    assert exact.row("hill").extrapolated
    assert exact.row("hill").exceeds_d_model


def test_aicc_counts_the_variance_and_corrects_for_few_widths() -> None:
    fits = quick(noisy("mm", 0.05))
    row = fits.row("mm")
    log_likelihood = -3.5 * (np.log(2 * np.pi * row.sse / 7) + 1)
    expected = -2 * log_likelihood + 2 * 3 * 7 / (7 - 3 - 1)  # Burnham and Anderson: 2K n / (n - K - 1)
    assert row.aicc == pytest.approx(expected - 7 * (np.log(2 * np.pi) + 1), rel=1e-12)
    five = fit_curves(WIDTHS[:5], noisy("mm", 0.05)[:5], n_starts=4)
    assert np.isfinite(five.row("mm").aicc)
    assert np.isinf(five.row("hill").aicc)


def test_published_ends_are_as_the_specification_says() -> None:
    ends = (328.0, 1427.0)
    assert through_ends("exp", ENDS, ends)["kappa"] == pytest.approx(1427, abs=0.5)
    assert through_ends("mm", ENDS, ends)["kappa"] == pytest.approx(1507, abs=0.5)
    assert through_ends("power", ENDS, ends)["a"] == pytest.approx(0.354, abs=5e-4)
    for form, expected in (("exp", 1990), ("mm", 1844)):
        parameters = through_ends(form, ENDS, ends, kappa=1990)
        np.testing.assert_allclose(predict(form, parameters, ENDS), [328, expected], atol=0.5)
    grown = (328.0, 328 * 4.35)  # as the specification has the wide end
    hill, weibull = (through_ends(form, ENDS, grown, kappa=1990) for form in ("hill", "weibull"))
    assert (hill["a"], hill["K"]) == pytest.approx((0.614, 230_563), rel=5e-4)
    assert (weibull["b"], weibull["W0"]) == pytest.approx((0.468, 637_607), rel=5e-4)
    for form, parameters in (("hill", hill), ("weibull", weibull)):
        np.testing.assert_allclose(predict(form, parameters, ENDS), grown, rtol=1e-12)


def test_ends_that_leave_a_family_or_nothing_are_refused() -> None:
    for form, counts, kappa in (
        ("hill", (328, 1427), None),  # a family
        ("exp_offset", (328, 1427), 1990),
        ("power", (328, 1427), 1990),
        ("exp", (328, 328 * 65), None),  # faster than proportional
        ("mm", (400, 300), None),
        ("hill", (400, 300), 1990),
        ("mm", (328, 1427), 1000),  # below a count
    ):
        with pytest.raises(SchemaError, match="no single curve of this form"):
            through_ends(form, ENDS, counts, kappa=kappa)
    with pytest.raises(UnknownNameError, match=r"'log'.*exp, mm, hill"):
        predict("log", {}, WIDTHS)


def test_resampled_sequences_give_an_interval_and_equal_calls_equal_results() -> None:
    random = np.random.default_rng(3)
    counts = predict("mm", TRUE["mm"], WIDTHS)
    samples = counts * np.exp(random.normal(0, 0.02, (9, 7)))
    samples[0, 0] = 0  # its logarithm cannot be fitted
    first, second = (quick(counts, resampled=samples, d_model=1490, n_legacy=5, seed=4) for _ in range(2))
    assert first == second
    row = first.row("mm")
    assert row.bootstrap is not None
    assert (row.bootstrap.unit, row.bootstrap.n_boot) == ("sequence", 8)
    starts = random.uniform(size=(5, 1))
    solutions = [Problem(FORMS["mm"], np.log(WIDTHS), np.log(sample), starts).solve() for sample in samples[1:]]
    expected = [np.exp(solution.vector[0]) for solution in solutions]
    assert row.bootstrap.median == pytest.approx(np.median(expected), rel=1e-6)
    assert (row.bootstrap.lo, row.bootstrap.hi) == pytest.approx(np.quantile(expected, [0.025, 0.975]), rel=1e-6)
    assert row.exceeds_d_model
    assert row.interval == row.bootstrap


def test_resampled_widths_put_kappa_below_the_largest_count() -> None:
    counts = noisy("hill", 0.03)
    row = quick(counts, n_legacy=25).row("exp")
    assert row.legacy is not None
    assert row.legacy.unit == "width_point"
    assert row.legacy.lo < counts.max()  # as the published lower end is
    assert row.profile is not None
    assert row.profile.lo >= counts.max() * (1 - 1e-9)


def test_order_of_the_widths_does_not_matter() -> None:
    counts, order = noisy("mm", 0.02), np.random.default_rng(1).permutation(7)
    samples = np.stack([noisy("mm", 0.02, seed) for seed in (5, 6)])
    expected = quick(counts, resampled=samples)
    found = fit_curves(WIDTHS[order], counts[order], resampled=samples[:, order], n_starts=3)
    assert found == expected


def test_constant_counts_are_saturated_at_the_lower_bound() -> None:
    fits = quick([700] * 7)
    assert fits.verdict == "saturation"
    assert fits.kappa_hat == pytest.approx(700, rel=1e-6)
    assert "kappa" in fits.row("exp").at_bound
    assert not fits.row("exp").extrapolated


def test_two_widths_are_too_few_to_choose() -> None:
    fits = fit_curves(ENDS, (328, 1427), d_model=2304)
    assert (fits.best, fits.selected, fits.kappa_hat, fits.verdict) == (None, None, None, "too few widths")
    assert fits.row("mm").kappa == pytest.approx(1507, abs=0.5)
    assert fits.row("mm").profile is None
    assert fits.row("hill").parameters == {}
    assert fits.kappa_over_d_model is None


def test_data_that_cannot_be_fitted_are_refused_with_the_place() -> None:
    good = [10.0, 20.0, 30.0]
    for widths, counts, message in (
        ([64, 128, 256], [10, 0, 30], r"width 128: a count is not above 0.*Leave that width out"),
        ([64, 64, 256], good, "widths are not different numbers above 0"),
        ([64, 128, np.nan], good, "not finite"),
        ([64, 128], good, r"\(2,\) widths, \(3,\) counts"),
        ([64], [10], "several widths"),
    ):
        with pytest.raises(SchemaError, match=message):
            fit_curves(widths, counts)
    for samples in ([[1.0, 2.0]], [1.0, 2.0, 3.0], [[1.0, np.nan, 2.0]]):
        with pytest.raises(SchemaError, match="one row per resample"):
            fit_curves([64, 128, 256], good, resampled=samples)


@pytest.mark.parametrize("form", FORMS)
def test_extreme_parameters_neither_overflow_nor_warn(form: str) -> None:
    lower, upper = FORMS[form].box(FORMS[form].limits, np.log(WIDTHS))
    for corner in (lower, upper, np.concatenate([lower[:1], upper[1:]]), np.concatenate([upper[:1], lower[1:]])):
        assert np.isfinite(FORMS[form].shape(corner, np.log(WIDTHS))).all()
