"""The walk through loaded values: what is refused, and that the walk itself is bounded."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest

from circuit_artifacts.errors import FormatError, UnsafeContentError
from circuit_artifacts.formats.loaded_values import check_values


def check(value: object, *, most_entries: int = 1000, longest: int = 10, **options: Any) -> None:
    check_values(value, most_entries=most_entries, longest=longest, file="a.pt", **options)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_plain_values_and_arrays_of_numbers_pass() -> None:
    arrays = [np.zeros(10, dtype) for dtype in ("f2", "f4", "f8", "i1", "i8", "u2", "?")]
    scalars = [np.float32(1), np.bool_(1), np.int64(3), np.array(2.0)]
    check({"a": (1, 2.5, None, True, "x", b"y", 1j), 3: arrays, (1, "k"): scalars, "s": {1, 2}, "f": frozenset("ab")})
    check(Counter("abc"))
    check([])
    check(7)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array([None]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1j]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.zeros(2, [("a", "f4"), ("b", "O")]),
        np.str_("text"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_anything_but_numbers_are_refused(array: Any) -> None:
    with pytest.raises(UnsafeContentError, match="not of numbers") as caught:
        check({"windows": [{"influence": array}]})
    assert caught.value.found == str(array.dtype)
    assert caught.value.file == "a.pt"


def test_other_byte_orders_are_refused() -> None:
    swapped = np.zeros(3, np.dtype("f4").newbyteorder())
    with pytest.raises(FormatError, match="another byte order"):
        check([swapped])


def test_long_arrays_are_refused() -> None:
    check(np.zeros(10))
    with pytest.raises(FormatError, match=r"found 11, expected at most 10.*longest_array"):
        check([np.zeros(11)])


def test_objects_are_refused_wherever_they_are() -> None:
    class Thing:
        pass

    for value in (Thing(), Thing, [Thing()], {"a": Thing()}, {Thing(): 1}, {Thing()}, print, [int]):
        with pytest.raises(UnsafeContentError, match="neither a number nor text"):
            check(value)
    check([Thing()], others=(Thing,))


def test_attributes_of_a_state_dict_are_looked_at() -> None:
    state = OrderedDict(weight=1.0)
    state._metadata = {"version": 1}  # type: ignore[attr-defined]
    check(state)
    state._metadata = {"version": np.array([None])}  # type: ignore[attr-defined]
    with pytest.raises(UnsafeContentError, match="not of numbers"):
        check(state)


def test_containers_that_contain_themselves_are_refused() -> None:
    around: list[Any] = [1]
    around.append({"back": (around,)})
    with pytest.raises(FormatError, match="a list contains itself"):
        check({"value": around})


def test_what_is_shared_is_not_what_contains_itself() -> None:
    shared = [1.0, 2.0]
    check({"a": shared, "b": [shared, shared]})


def test_depth_is_bounded() -> None:
    check(nested(63))
    with pytest.raises(FormatError, match="more than 64 levels"):
        check(nested(64))
    with pytest.raises(FormatError, match="more than 64 levels"):
        check(nested(100_000))


def test_sharing_that_multiplies_is_counted_without_being_followed() -> None:
    """Forty lists, each of which holds the one before twice: 10**12 entries to whoever walks it."""
    value: list[Any] = [1]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(FormatError, match="more entries than allowed"):
        check(value, most_entries=10**9)
    check(value, most_entries=2**42)


def test_entries_are_counted_through_every_container() -> None:
    value = {"a": [1, 2, 3], "b": (4, 5)}  # itself, 2 keys, a list of 3, a tuple of 2
    check(value, most_entries=10)
    with pytest.raises(FormatError, match="more entries than allowed"):
        check(value, most_entries=9)
