"""What a printed number may stand for, and what a verdict looks like as JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.claims.model import Claim, Interval, Outcome, Verdict

NUMBERS = st.floats(min_value=-1e6, max_value=1e6)


def test_a_printed_number_stands_for_what_rounds_half_up_to_it() -> None:
    interval = Interval.printed("97.9")
    assert (interval.low, interval.high) == (Decimal("97.85"), Decimal("97.95"))
    assert 97.9 in interval
    assert 97.8499 not in interval
    assert Decimal("97.85") in interval
    assert Decimal("97.95") not in interval


def test_digits_that_are_printed_count_though_they_are_zeros() -> None:
    assert Interval.printed("0.6440").low == Decimal("0.64395")
    assert Interval.printed("63,800").low == Decimal("63799.5")
    assert Interval.printed("1,990", decimals=-1).low == 1985


def test_a_range_is_open_by_the_rounding_of_its_ends() -> None:
    interval = Interval.between("4", "9")
    assert [number in interval for number in (3.49, 3.5, 9.49, 9.5, float("inf"), float("nan"))] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert [interval.distance(number) for number in (2.0, 5.0, 11.0)] == [-2, 0, 2]
    assert interval.farthest([4.5, 3.0, 9.25]) == 3.0


@given(NUMBERS, st.integers(0, 6))
def test_a_number_lies_in_the_interval_of_its_print(number: float, decimals: int) -> None:
    text = f"{number:.{decimals}f}"
    exact, step = Fraction(number), Fraction(1, 10**decimals)
    interval = Interval.printed(text)
    is_tie = (exact / step - Fraction(1, 2)).denominator == 1
    assert number in interval or is_tie  # Python rounds ties to even, people half up
    assert Fraction(interval.high) - Fraction(interval.low) == step
    assert Fraction(interval.low) <= exact <= Fraction(interval.high)


@given(NUMBERS, NUMBERS)
def test_the_farthest_is_outside_if_any_is(one: float, other: float) -> None:
    interval = Interval.printed("10", decimals=-1)
    inside = one in interval and other in interval
    assert (interval.farthest([one, other]) in interval) >= inside


def test_a_row_is_json_with_the_same_keys_for_every_kind() -> None:
    def check(data: object, configs: object) -> Outcome:
        raise NotImplementedError

    number = Claim(name="a", statement="s", source="card", check=check, published=Interval.printed("3.0"), needs=("x",))
    words = Claim(name="b", statement="s", source="card", check=check, kind="arithmetic", published="three")
    rows = [
        Verdict(claim=number, status="no data", sentence="why", measured=3.5, distance=0.5, regenerated=True).row,
        Verdict(claim=words, status="holds", sentence="why").row,
    ]
    assert json.loads(json.dumps(rows)) == rows
    assert list(rows[0]) == list(rows[1])
    assert rows[0] == {
        "claim": "a",
        "verdict": "no data",
        "published": "3.0",
        "measured": 3.5,
        "why": "why",
        "statement": "s",
        "source": "card",
        "kind": "published",
        "regenerated": True,
        "distance": 0.5,
        "low": 2.95,
        "high": 3.05,
        "needs": ["x"],
    }
    assert [rows[1][key] for key in ("published", "low", "high", "measured")] == ["three", None, None, None]


@pytest.mark.parametrize("text", ["", "about 3", "3 %"])
def test_only_numbers_are_intervals(text: str) -> None:
    with pytest.raises(ArithmeticError):
        Interval.printed(text)
