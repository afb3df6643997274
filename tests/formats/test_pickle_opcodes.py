"""Pickles read from their opcodes: the same content as if loaded, and nothing of it run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle  # noqa: TID251 (written here, never loaded)
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats import pickle_opcodes
from circuit_artifacts.formats.pickle_opcodes import Call, Global, Pairs, PersistentId, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def read(content: Any, protocol: int = 4) -> pickle_opcodes.Pickle:
    return read_pickle(io.BytesIO(pickle.dumps(content, protocol)), file="a.pkl")


def built(value: Any) -> Any:
    """The value with dictionaries for pairs."""
    if isinstance(value, Pairs):
        return {key: built(part) for key, part in value.pairs}
    return type(value)(map(built, value)) if isinstance(value, list | tuple) else value


@given(plain, st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_content_is_read_as_it_is(content: Any, protocol: int) -> None:
    found = read(content, protocol)
    assert built(found.value) == content
    assert found.globals == ()
    assert found.complete


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol(protocol: int) -> None:
    content = {"a": [1, -(2**70), 0.5, None, True], "b": (), "c": ((1,), (1, 2), (1, 2, 3, 4)), 5: {"d": {}}, "e": "ä"}
    assert built(read(content, protocol).value) == content


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_is_read_and_not_made(protocol: int, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    found = read([Trap()], protocol)
    (call,) = found.value
    assert (call.function, call.arguments) == (Global(f"{os.name}.mkdir"), (str(tmp_path / "made"),))
    assert found.globals == (f"{os.name}.mkdir",)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dictionary_classes_keep_their_pairs(protocol: int) -> None:
    found = read(OrderedDict(a=1, b=[2]), protocol).value
    assert found.name == "collections.OrderedDict"
    assert found.pairs == [("a", 1), ("b", [2])]


class Thing:
    def __init__(self) -> None:
        self.size = 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_keep_their_state(protocol: int) -> None:
    found = read(Thing(), protocol).value
    assert isinstance(found, Call)
    assert found.state.pairs == [("size", 3)]


def test_what_is_shared_and_what_contains_itself() -> None:
    shared: list[Any] = [1]
    content = [shared, shared]
    content.append(content)
    found = read(content).value
    assert found[0] is found[1]
    assert found[2] is found


def test_old_opcodes() -> None:
    """INST, OBJ and the text forms, as old or hostile files use them."""
    found = read_pickle(io.BytesIO(b"(lp0\n(I1\nios\nsystem\na(cos\nsystem\nS'x'\noa."))
    first, second = found.value
    assert (first.name, first.arguments) == ("os.system", (1,))
    assert (second.name, second.arguments) == ("os.system", ("x",))
    assert found.globals == ("os.system",)


def test_references_are_kept() -> None:
    found = read_pickle(io.BytesIO(b"(Pkey\nX\x03\x00\x00\x00abcQl."))
    assert [reference.key for reference in found.value] == ["key", "abc"]
    assert all(isinstance(reference, PersistentId) for reference in found.kept_elsewhere)


def test_a_name_that_is_computed_does_not_hide() -> None:
    found = read_pickle(io.BytesIO(b"\x80\x04c_x\ny\n\x8c\x01z\x93."))
    assert found.globals == ("_x.y", "a name that the file computes")


def test_what_is_made_and_dropped_is_kept_too() -> None:
    """`os.getcwd()` and a dictionary are made and thrown away before the value is."""
    found = read_pickle(io.BytesIO(b"cos\ngetcwd\n)R0}K\x01K\x02s0N."))
    call, dictionary = found.objects
    assert found.value is None
    assert isinstance(call, Call)
    assert call.name == "os.getcwd"
    assert built(dictionary) == {1: 2}


def test_reading_stops_after_many_opcodes() -> None:
    content = {"first": 1, "numbers": [float(number) for number in range(10_000)]}
    found = read_pickle(io.BytesIO(pickle.dumps(content)), most_opcodes=5000)
    assert not found.complete
    assert isinstance(found.value, Pairs)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04]",
        b"]",
        b".",
        b"a.",
        b"0.",
        b"\x80\x04h\x05.",
        b"\x85.",
        b"(u.",
        b"\xff.",
        b"Nb.",
        b"}Nb.",
        b"cx\ny\n)R}b}b.",
        b"}Ns.",
    ],
)
def test_broken_pickles_are_format_errors(content: bytes) -> None:
    with pytest.raises(FormatError, match=r"a\.pkl: not a complete pickle"):
        read_pickle(io.BytesIO(content), file="a.pkl")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        read_pickle(io.BytesIO(b"\x80\x04" + content))
