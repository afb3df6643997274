"""Attributes of every type as JSON, and none that would fill the memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5a, h5s, h5t

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.hdf5 import attributes, open_hdf5, read_attributes
from circuit_artifacts.formats.hdf5.attributes import LARGEST_ATTRIBUTE, attributes_json
from circuit_artifacts.remote import RemoteFile

TEXT = h5py.string_dtype()
COLOR = h5py.enum_dtype({"RED": 0, "BLUE": 1}, "i1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


def read_json(path: Path, owner: str = "/") -> dict[str, Any]:
    with open_hdf5(path) as file:
        text = attributes_json(file[owner])
    found: dict[str, Any] = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    return found


VALUES: dict[str, tuple[Callable[[h5py.AttributeManager], object], Any]] = {
    "integer": (lambda a: a.create("x", 2**64 - 1, dtype="u8"), 2**64 - 1),
    "boolean": (lambda a: a.create("x", np.True_), True),
    "big-endian matrix": (lambda a: a.create("x", np.array([[1, 2], [3, 258]], ">i2")), [[1, 2], [3, 258]]),
    "half": (lambda a: a.create("x", np.float16(0.5)), 0.5),
    "extended precision": (lambda a: a.create("x", np.longdouble(0.5)), 0.5),
    "not finite": (lambda a: a.create("x", [np.nan, np.inf, 1.5]), [None, None, 1.5]),
    "empty": (lambda a: a.create("x", h5py.Empty("f4")), None),
    "no elements": (lambda a: a.create("x", np.zeros((2, 0))), [[], []]),
    "text": (lambda a: a.create("x", "résumé"), "résumé"),
    "texts": (lambda a: a.create("x", ["a", ""], dtype=TEXT), ["a", ""]),
    "fixed text": (lambda a: a.create("x", np.bytes_("abc")), "abc"),
    "bytes": (lambda a: a.create("x", np.array([b"caf\xe9", b"tea"])), [{"base64": "Y2Fm6Q=="}, "tea"]),
    "opaque": (lambda a: a.create("x", np.void(b"\xff\0")), {"base64": "/wA="}),
    "enum": (lambda a: a.create("x", [1, 0], dtype=COLOR), ["BLUE", "RED"]),
    "complex": (lambda a: a.create("x", 1 + 2j), {"real": 1.0, "imag": 2.0}),
    "compound": (
        lambda a: a.create("x", np.array([(1, 0.5)], [("id", "i4"), ("at", "f4")])), [{"id": 1, "at": 0.5}]),
    "array elements": (lambda a: a.create("x", np.arange(6).reshape(2, 3), dtype=np.dtype(("i4", (3,)))),
                       [[0, 1, 2], [3, 4, 5]]),
    "list": (lambda a: a.create("x", np.fromiter([np.array([1, 2], "i4")], object), dtype=h5py.vlen_dtype("i4")),
             [[1, 2]]),
    "day": (lambda a: a.create("x", np.array(["2026-01-31", "NaT"], "M8[D]").astype(h5py.opaque_dtype("M8[D]"))),
            ["2026-01-31 00:00:00", None]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_value_as_json(path: Path, name: str) -> None:
    fill, expected = VALUES[name]
    with h5py.File(path, "w") as file:
        fill(file.create_group("group").attrs)
    assert read_json(path, "group") == {"x": expected}
    assert type(read_json(path, "group")["x"]) is type(expected)


def test_references_and_dimension_scales(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["time"], file["values"] = np.arange(3), np.arange(3)
        file["time"].make_scale("t")
        file["values"].dims[0].attach_scale(file["time"])
        file.attrs["to"] = file["values"].ref
        file.attrs.create("nowhere", np.fromiter([h5py.Reference()], object), dtype=h5py.ref_dtype)
        file.attrs["part"] = file["values"].regionref[0:1]
    assert read_json(path) == {"nowhere": [None], "part": "/values", "to": "/values"}
    assert read_json(path, "values") == {"DIMENSION_LIST": [["/time"]]}
    assert read_json(path, "time")["REFERENCE_LIST"] == [{"dataset": "/values", "dimension": 0}]


def test_names_in_order_and_of_any_characters(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in (b"b", b"a", b"\xff", "ü".encode()):
            h5a.create(file.id, name, h5t.NATIVE_INT8, h5s.create(h5s.SCALAR)).write(np.array(1, "i1"))
    assert list(read_json(path)) == ["a", "b", "ü", "\\xff"]
    with open_hdf5(path) as file:
        assert read_attributes(file) == {"a": 1, "b": 1, "ü": 1, "\udcff": 1}


def test_owner_without_attributes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["type"] = np.dtype("i4")
    assert read_json(path) == read_json(path, "type") == {}


def test_attribute_that_cannot_be_read_is_located(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("group")
        h5a.create(group.id, b"when", h5t.UNIX_D32LE, h5s.create(h5s.SCALAR))
        codes = h5a.create(file.id, b"color", h5t.py_create(COLOR, logical=True), h5s.create(h5s.SCALAR))
        codes.write(np.array(7, "i1"), h5t.py_create(COLOR, logical=True))
    for read in (read_attributes, attributes_json):
        with open_hdf5(path) as file, pytest.raises(FormatError) as caught:
            read(file["group"])
        assert (caught.value.file, caught.value.where) == (str(path), "/group@when")
    with open_hdf5(path) as file, pytest.raises(SchemaError, match=r"/@color: a code without a label \(found 7"):
        attributes_json(file)


# Attributes that would fill the memory

N_BYTES = 3 << 20


def write_large(path: Path, name: str) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("group")
        group.attrs["small"] = "kept"
        match name:
            case "text":
                group.attrs["large"] = "a" * N_BYTES
            case "texts":
                group.attrs.create("large", ["b", "a" * N_BYTES], dtype=TEXT)
            case "list":
                group.attrs.create("large", np.fromiter([np.zeros(N_BYTES, "u1")], object), dtype=h5py.vlen_dtype("u1"))
            case "fixed":
                group.attrs["large"] = np.zeros(N_BYTES, "u1")


@pytest.mark.parametrize("read", [read_attributes, attributes_json])
@pytest.mark.parametrize("name", ["text", "texts", "list", "fixed"])
def test_large_attribute_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[h5py.Group], object]
) -> None:
    monkeypatch.setattr(attributes, "LARGEST_ATTRIBUTE", 2 << 20)
    write_large(path, name)
    with open_hdf5(path) as file, pytest.raises(FormatError, match="expected at most 2097152") as caught:
        read(file["group"])
    # The library lists the names only after it has read all that are stored in one place with a large one.
    assert (caught.value.file, caught.value.where) == (str(path), "/group@" if name == "fixed" else "/group@large")


def test_small_attributes_of_a_large_file_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "LARGEST_ATTRIBUTE", 2 << 20)
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(N_BYTES, "u1")
        file["x"].attrs["to"], file["x"].attrs["note"] = file["x"].ref, "short"
    assert read_json(path, "x") == {"note": "short", "to": "/x"}
    with open_hdf5(path) as file:
        assert read_attributes(file["x"]) == {"note": "short", "to": "/x"}


class _Local(RemoteFile):
    """Read as a remote file is, without a server."""

    def open(self, mode: Any = "rb", **_: Any) -> Any:
        return Path(self.url).open(mode)


def test_large_attribute_of_a_remote_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "LARGEST_ATTRIBUTE", 2 << 20)
    write_large(path, "text")
    with open_hdf5(_Local(url=str(path), size=N_BYTES, identity="1")) as file:
        with pytest.raises(FormatError, match="/group@large"):
            attributes_json(file["group"])
        assert file["group"].attrs["small"] == "kept"  # the file is still usable
        assert len(file["group"].attrs["large"]) == N_BYTES


def test_refusal_takes_no_memory(path: Path) -> None:
    n_bytes = 4 * LARGEST_ATTRIBUTE
    with h5py.File(path, "w") as file:
        file.attrs["large"] = "a" * N_BYTES
    content = bytearray(path.read_bytes())
    # The collection that holds the text, and the text, say that they are longer; the file ends in a hole that long.
    heap = content.index(b"GCOL")
    size = int.from_bytes(content[heap + 8 : heap + 16], "little")
    assert size > N_BYTES
    content[heap + 8 : heap + 16] = (size + n_bytes).to_bytes(8, "little")
    content[heap + 24 : heap + 32] = (N_BYTES + n_bytes).to_bytes(8, "little")
    end = content.index(len(content).to_bytes(8, "little"), 0, 100)
    content[end : end + 8] = (len(content) + n_bytes).to_bytes(8, "little")
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + n_bytes)
    program = f"""
import resource
from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.hdf5 import open_hdf5, read_attributes
with open_hdf5({str(path)!r}) as file:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_attributes(file)
    except FormatError as error:
        print(error.where, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    where, grown = done.stdout.split()
    assert where == "/@large"
    assert int(grown) < 16 << 10  # KiB
