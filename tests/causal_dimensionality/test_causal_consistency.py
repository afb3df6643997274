"""The published numbers, their intervals, and which relations between them hold."""

from __future__ import annotations

import pytest

from circuit_artifacts.causal_dimensionality.consistency import CHECKS, evaluate
from circuit_artifacts.causal_dimensionality.facts import published_facts
from circuit_artifacts.causal_dimensionality.statements import STATEMENTS

FACTS = published_facts()
FAILING = {
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


def test_there_are_thirty_nine_numbers_of_three_sources() -> None:
    assert len(FACTS) == 39
    assert {fact.source for fact in FACTS.values()} == {"card", "abstract", "config"}
    assert FACTS["kappa_hat"].published == 1990
    assert (FACTS["params_g9b"].published, FACTS["params_g2b"].published) == (9_241_705_984, 2_614_341_888)


def test_intervals_are_what_the_printed_digits_leave_open() -> None:
    for fact in FACTS.values():
        if fact.low is not None and fact.high is not None:
            assert fact.low <= fact.published <= fact.high
        if fact.decimals is not None:
            half = 0.5 * 10**-fact.decimals
            assert (fact.low, fact.high) == pytest.approx((fact.published - half, fact.published + half))


def test_every_check_comes_out_as_it_is_known_to() -> None:
    verdicts = evaluate()
    assert len(verdicts) == 29 == len({verdict.name for verdict in verdicts})
    assert {verdict.name for verdict in verdicts if not verdict.holds} == FAILING
    assert all(verdict.holds == verdict.expected for verdict in verdicts)
    assert all((verdict.severity == "ok") == verdict.expected for verdict in verdicts)


def test_a_verdict_says_what_it_looked_at() -> None:
    of_name = {verdict.name: verdict for verdict in evaluate()}
    assert of_name["calib_count"].values == {"calib_fraction": 0.02, "width_min": 16384, "n_causal_16k": 328}
    assert all(verdict.values.keys() <= FACTS.keys() and verdict.values for verdict in of_name.values())


def test_other_numbers_take_the_place_of_published_ones() -> None:
    of_name = {verdict.name: verdict for verdict in evaluate({"kappa_ci_hi": 2000, "n_causal_16k": 500})}
    assert of_name["ci_hi_le_dmodel"].holds
    assert not of_name["calib_count"].holds


def test_numbers_that_no_curve_goes_through_fail_a_check_instead_of_stopping_all() -> None:
    for numbers in ({"n_causal_16k": 0.0}, {"kappa_hat": 100.0}, {"width_min": 0.0}):
        verdicts = {verdict.name: verdict.holds for verdict in evaluate(numbers)}
        assert len(verdicts) == len(CHECKS)
        assert not verdicts["two_param_exp"]


def test_the_fits_that_spec_computes() -> None:
    # kappa = 1,990 through 328 predicts 1,990 or 1,844 at the widest (spec 2.4); within 5 % counts as agreement.
    def agreeing(count: float) -> set[str]:
        verdicts = evaluate({"causal_growth": count / 328})
        return {verdict.name for verdict in verdicts if verdict.kind == "fit_form" and verdict.holds}

    assert agreeing(1990 * 1.04) == {"two_param_exp"}
    assert agreeing(1844 * 0.97) == {"two_param_mm"}
    assert agreeing(1427) == set()


def test_statements_that_no_number_settles() -> None:
    assert len(STATEMENTS) == 9
    assert "ReLU" in STATEMENTS["jumprelu_style"].sentence
