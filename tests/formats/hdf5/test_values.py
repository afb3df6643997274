"""HDF5 values as Arrow: the exact type and value of every kind of element. Oracle: what was written."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from h5py import h5d, h5s, h5t, h5z
from hub import LoopbackHub
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from circuit_artifacts.errors import FormatError, SchemaError, UnsafeContentError
from circuit_artifacts.formats.hdf5 import open_hdf5
from circuit_artifacts.formats.hdf5.values import cell_field, flat_field, read_cells, read_flat
from circuit_artifacts.remote import RemoteFile, locate

TEXT = h5py.string_dtype()
RED_BLUE = h5py.enum_dtype({"RED": 0, "BLUE": 1}, "i1")
SPARSE = h5py.enum_dtype({"LOW": -5, "HIGH": 300}, ">i2")
POINT = np.dtype([("id", ">i4"), ("x", "<f8")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


def objects(*values: Any) -> np.ndarray[Any, Any]:
    return np.fromiter(values, object, len(values))


def create(file: h5py.File, stored: h5t.TypeID, values: np.ndarray[Any, Any], given: h5t.TypeID | None = None) -> None:
    dataset = h5d.create(file.id, b"x", stored, h5s.create_simple(values.shape))
    dataset.write(h5s.ALL, h5s.ALL, values, given or stored)


def read(path: Path, **options: Any) -> tuple[pa.Field, list[Any]]:
    """Field and values by rows, after checking that the other two forms give the same."""
    with open_hdf5(path) as file:
        dataset = file["x"]
        field = cell_field("x", dataset, per_row=True, **options)
        cells = read_cells(dataset, field, slice(0, len(dataset)))
        whole = cell_field("x", dataset, per_row=False)
        flat = flat_field("x", dataset)
        rows, one, elements = cells, read_cells(dataset, whole), read_flat(dataset, flat)
    for array, of in ((rows, field), (one, whole), (elements, flat)):
        array.validate(full=True)
        assert array.type == of.type
        assert of.metadata == field.metadata
    found = rows.to_pylist()
    assert repr(one.to_pylist()) == repr([found])  # repr: NaN
    if len(cells) and pa.types.is_fixed_size_list(field.type) and field.type.value_type == flat.type.value_type:
        assert repr(elements.to_pylist()) == repr([[value for row in found for value in row]])
    return field, found


# Types

Fill = Callable[[h5py.File], object]
ELEMENTS: dict[str, tuple[Fill, pa.DataType, list[Any]]] = {
    "bool": (lambda f: f.create_dataset("x", data=[True, False]), pa.bool_(), [True, False]),
    "uint64": (lambda f: f.create_dataset("x", data=np.array([2**64 - 1], "u8")), pa.uint64(), [2**64 - 1]),
    "float16": (lambda f: f.create_dataset("x", data=np.array([1.5, -0.0], "f2")), pa.float16(), [1.5, -0.0]),
    "NaN stays a value": (lambda f: f.create_dataset("x", data=[np.nan]), pa.float64(), [float("nan")]),
    "big-endian half": (lambda f: f.create_dataset("x", data=np.array([1.5], ">f2")), pa.float16(), [1.5]),
    "big-endian integer": (lambda f: f.create_dataset("x", data=np.array([-2, 258], ">i2")), pa.int16(), [-2, 258]),
    "bfloat16": (lambda f: create(f, bfloat16(), np.array([1.5, 2**-8], "f4"), h5t.NATIVE_FLOAT), pa.float32(),
                 [1.5, 2**-8]),
    "bit field": (lambda f: create(f, h5t.STD_B16BE, np.array([1, 258], ">u2")), pa.uint16(), [1, 258]),
    "enum without gaps": (lambda f: f.create_dataset("x", data=[1, 0], dtype=RED_BLUE), pa.int8(), [1, 0]),
    "enum with gaps": (lambda f: f.create_dataset("x", data=[300, -5], dtype=SPARSE), pa.string(), ["HIGH", "LOW"]),
    "fixed strings": (lambda f: f.create_dataset("x", data=np.array([b"for", b""], "S5")), pa.string(), ["for", ""]),
    "null characters inside": (lambda f: f.create_dataset("x", data=np.array([b"a\0c", b"b"])), pa.string(),
                               ["a\0c", "b"]),
    "padded with spaces": (lambda f: create(f, space_padded(4), np.array([b"ab  ", b" a  "])), pa.string(),
                           ["ab", " a"]),
    "fixed UTF-8": (lambda f: f.create_dataset("x", data=np.array(["ü".encode()], h5py.string_dtype(length=2))),
                    pa.string(), ["ü"]),
    "fixed strings in Latin-1": (lambda f: f.create_dataset("x", data=np.array([b"a", b"\xe9"])), pa.binary(),
                                 [b"a", b"\xe9"]),
    "strings": (lambda f: f.create_dataset("x", data=["", "日本"], dtype=TEXT), pa.string(), ["", "日本"]),
    "strings in Latin-1": (lambda f: f.create_dataset("x", data=objects(b"caf\xe9", b"tea"), dtype=TEXT), pa.binary(),
                           [b"caf\xe9", b"tea"]),
    "never written strings": (lambda f: f.create_dataset("x", (2,), TEXT), pa.string(), ["", ""]),
    "complex": (lambda f: f.create_dataset("x", data=np.array([1 + 2j], ">c8")),
                pa.struct({"real": pa.float32(), "imag": pa.float32()}), [{"real": 1.0, "imag": 2.0}]),
    "compound": (lambda f: f.create_dataset("x", data=np.array([(1, 0.5)], POINT)),
                 pa.struct({"id": pa.int32(), "x": pa.float64()}), [{"id": 1, "x": 0.5}]),
    "lists": (lambda f: fill_lists(f, "<u2", [np.array([0, 258], "u2"), np.array([], "u2")]), pa.list_(pa.uint16()),
              [[0, 258], []]),
    "big-endian lists": (lambda f: fill_lists(f, ">f8", [np.array([0.5, 2], ">f8"), np.array([], ">f8")]),
                         pa.list_(pa.float64()), [[0.5, 2.0], []]),
    "big-endian lists in compounds": (
        lambda f: f.create_dataset("x", data=np.array([(np.array([1, 258], ">i4"),)], [("v", h5py.vlen_dtype(">i4"))])),
        pa.struct({"v": pa.list_(pa.int32())}), [{"v": [1, 258]}]),
    "lists of strings": (lambda f: fill_lists(f, TEXT, [np.array([b"a", b"\xc3\xbc"], object), np.array([], object)]),
                         pa.list_(pa.string()), [["a", "ü"], []]),
    "lists of lists": (lambda f: fill_lists(f, h5py.vlen_dtype("i1"), [objects(*np.ones((2, 1), "i1"))]),
                       pa.list_(pa.list_(pa.int8())), [[[1], [1]]]),
    "lists of compounds": (lambda f: fill_lists(f, POINT, [np.array([(7, 0.5)], POINT)]),
                           pa.list_(pa.struct({"id": pa.int32(), "x": pa.float64()})), [[{"id": 7, "x": 0.5}]]),
    "array elements": (lambda f: fill_arrays(f, np.dtype((">i4", (2, 3))), np.arange(12).reshape(2, 2, 3)),
                       pa.list_(pa.list_(pa.int32(), 3), 2), [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]),
    "opaque": (lambda f: f.create_dataset("x", data=np.array([b"a\0\xff", b"\0\0\0"], "V3")), pa.binary(),
               [b"a\0\xff", b"\0\0\0"]),
    "days": (lambda f: fill_times(f, ["2026-01-31", "NaT"], "M8[D]"), pa.timestamp("s"), [datetime(2026, 1, 31), None]),
    "milliseconds": (lambda f: fill_times(f, ["1969-12-31T23:59:59.999"], "M8[ms]"), pa.timestamp("ms"),
                     [datetime(1969, 12, 31, 23, 59, 59, 999000)]),
    "quarter hours": (lambda f: fill_times(f, [3], "m8[15m]"), pa.duration("s"), [timedelta(minutes=45)]),
}  # fmt: skip


# The last two h5py writes, but does not read as they were written.
NOT_COPIED_BY_H5PY = {
    "bfloat16",
    "bit field",
    "padded with spaces",
    "big-endian lists",
    "big-endian lists in compounds",
}


def bfloat16() -> h5t.TypeID:
    stored = h5t.IEEE_F32LE.copy()
    stored.set_fields(15, 7, 8, 0, 7)
    stored.set_size(2)
    stored.set_ebias(127)
    return stored


def space_padded(size: int) -> h5t.TypeID:
    stored = h5t.C_S1.copy()
    stored.set_size(size)
    stored.set_strpad(h5t.STR_SPACEPAD)
    return stored


def fill_lists(file: h5py.File, item: Any, lists: list[np.ndarray[Any, Any]]) -> None:
    dataset = file.create_dataset("x", (len(lists),), h5py.vlen_dtype(item))
    for row, values in enumerate(lists):
        dataset[row] = values


def fill_arrays(file: h5py.File, dtype: np.dtype[Any], values: np.ndarray[Any, Any]) -> None:
    file.create_dataset("x", (len(values),), dtype)[...] = values


def fill_times(file: h5py.File, values: list[Any], dtype: str) -> None:
    file["x"] = np.array(values, dtype).astype(h5py.opaque_dtype(dtype))


@pytest.mark.parametrize("name", ELEMENTS)
def test_type_and_values_of_an_element(path: Path, name: str) -> None:
    fill, expected_type, expected = ELEMENTS[name]
    with h5py.File(path, "w") as file:
        fill(file)
    field, found = read(path)
    assert field.type == expected_type
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("name", sorted(ELEMENTS.keys() - NOT_COPIED_BY_H5PY))
def test_the_same_elements_as_members_of_a_compound(path: Path, name: str) -> None:
    fill, expected_type, expected = ELEMENTS[name]
    with h5py.File(path, "w") as file:
        fill(file)
        element = file["x"].dtype
        values = file["x"][...]
        del file["x"]
        made = np.zeros(len(values), np.dtype([("before", "i1"), ("it", element)]))
        made["it"] = values
        file.create_dataset("x", data=made, dtype=made.dtype)
    field, found = read(path)
    assert field.type == pa.struct({"before": pa.int8(), "it": expected_type})
    assert repr(found) == repr([{"before": 0, "it": value} for value in expected])


def test_labels_are_noted_at_the_nearest_field(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.array([[1, 0], [0, 0]], "i1"), dtype=RED_BLUE)
    field, found = read(path)
    assert (field.type, found) == (pa.list_(pa.int8(), 2), [[1, 0], [0, 0]])
    assert json.loads(field.metadata[b"labels"]) == ["RED", "BLUE"]
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(1, np.dtype([("color", RED_BLUE, (2,)), ("n", "i1")]))
    field, found = read(path)
    assert (field.metadata, found) == (None, [{"color": [0, 0], "n": 0}])
    assert json.loads(field.type.field("color").metadata[b"labels"]) == ["RED", "BLUE"]


@pytest.mark.parametrize(("codes", "expected"), [((0, 1), [1, 0]), ((3, 7), ["b\\xff", "a"])])
def test_labels_that_are_not_text(path: Path, codes: tuple[int, int], expected: list[object]) -> None:
    color = h5t.enum_create(h5t.STD_I8LE)
    for name, code in zip((b"a", b"b\xff"), codes, strict=True):
        color.enum_insert(name, code)
    with h5py.File(path, "w") as file:
        data = h5d.create(file.id, b"x", color, h5s.create_simple((2,)))
        data.write(h5s.ALL, h5s.ALL, np.array(codes[::-1], "i1"), color)
    field, found = read(path)
    assert found == expected
    assert field.metadata is None or json.loads(field.metadata[b"labels"]) == ["a", "b\\xff"]


@pytest.mark.parametrize("dtype", [RED_BLUE, SPARSE])
def test_code_without_a_label_is_located(path: Path, dtype: np.dtype[Any]) -> None:
    with h5py.File(path, "w") as file:
        codes = file.create_dataset("x", (2,), dtype)
        codes.id.write(h5s.ALL, h5s.ALL, np.array([0, 77], dtype), codes.id.get_type())
    with (
        open_hdf5(path) as file,
        pytest.raises(SchemaError, match=r"x: a code without a label \(found (0|77), exp") as e,
    ):
        read_cells(file["x"], cell_field("x", file["x"], per_row=True), slice(0, 2))
    assert (e.value.file, e.value.where) == (str(path), "/x")


def test_boolean_that_is_neither_is_located(path: Path) -> None:
    with h5py.File(path, "w") as file:
        flags = file.create_dataset("x", (2,), bool)
        flags.id.write(h5s.ALL, h5s.ALL, np.array([1, 7], "i1"), flags.id.get_type())
    with open_hdf5(path) as file, pytest.raises(SchemaError, match=r"/x: not booleans \(found the value 7"):
        read_flat(file["x"], flat_field("x", file["x"]))


def test_only_the_member_that_is_no_text_becomes_binary(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.array([(b"tea", b"caf\xe9")], [("good", "S3"), ("bad", "S4")])
    field, found = read(path)
    assert field.type == pa.struct({"good": pa.string(), "bad": pa.binary()})
    assert found == [{"good": "tea", "bad": b"caf\xe9"}]


def test_one_bad_string_in_the_last_block_is_seen(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (40_000, 1), "S1000", chunks=(7_000, 1), compression=1)[39_999] = b"\xff"
    with open_hdf5(path) as file:
        assert cell_field("x", file["x"], per_row=True).type == pa.list_(pa.binary(), 1)


def test_extended_precision_is_rounded_with_a_warning(path: Path) -> None:
    dtype = np.dtype([("a", np.longdouble), ("b", np.clongdouble)])
    if dtype["a"].itemsize == 8:
        pytest.skip("no extended precision here")
    with h5py.File(path, "w") as file:
        file["x"] = np.array([(np.longdouble("1e4000"), 1 + 2j)], dtype)
    with pytest.warns(UserWarning, match="file.h5:/x: extended precision"):
        _, found = read(path)
    assert found == [{"a": float("inf"), "b": {"real": 1.0, "imag": 2.0}}]


@pytest.mark.parametrize("dtype", ["M8[ps]", "m8[Y]"])
def test_times_that_arrow_does_not_have(path: Path, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        fill_times(file, [1], dtype)
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="/x: a type that Arrow does not have"):
        cell_field("x", file["x"], per_row=True)


def test_type_that_numpy_does_not_have(path: Path) -> None:
    with h5py.File(path, "w") as file:
        h5d.create(file.id, b"x", h5t.UNIX_D32LE, h5s.create_simple((3,)))
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="/x: a type that numpy does not have"):
        flat_field("x", file["x"])


# References


@pytest.mark.parametrize("userblock", [0, 1024])
def test_references_are_the_paths_of_their_targets(path: Path, userblock: int) -> None:
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["a link to it"], file["group/data"] = h5py.SoftLink("/group/data"), np.arange(9)
        file["gone"], file["also gone"] = 1, np.arange(3)
        object_dtype, region_dtype = h5py.ref_dtype, h5py.regionref_dtype
        targets = [file["group/data"].ref, file.ref, file["gone"].ref, h5py.Reference()]
        regions = [file["group/data"].regionref[2:4], file["also gone"].regionref[0:1], h5py.RegionReference()]
        file.create_dataset("x", data=objects(*targets), dtype=object_dtype)
        file.create_dataset("regions", data=objects(*regions), dtype=region_dtype)
        del file["gone"], file["also gone"]
    assert read(path) == (pa.field("x", pa.string()), ["/group/data", "/", None, None])
    with open_hdf5(path) as file:
        field = flat_field("x", file["regions"])
        assert read_flat(file["regions"], field).to_pylist() == [["/group/data", None, None]]


def test_references_are_looked_up_in_the_file_that_is_open(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        with h5py.File(tmp_path / "same.h5", "w") as file:
            file[name] = 1
            file.create_dataset("x", data=objects(file[name].ref), dtype=h5py.ref_dtype)
        assert read(tmp_path / "same.h5")[1] == [f"/{name}"]


def test_references_into_a_file_that_changes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["before"] = 1
        references = file.create_dataset("x", data=objects(file["before"].ref), dtype=h5py.ref_dtype)
        field = flat_field("x", references)
        assert read_flat(references, field).to_pylist() == [["/before"]]
        file.move("before", "after")
        assert read_flat(references, field).to_pylist() == [["/after"]]


def test_thousands_of_references_are_not_looked_up_one_by_one(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        targets = [file.create_group(f"group{i}").ref for i in range(2000)]
        file.create_dataset("x", data=objects(*targets), dtype=h5py.ref_dtype)
    assert read(path)[1] == [f"/group{i}" for i in range(2000)]


# Shapes


def nested(element: pa.DataType, *sizes: int) -> pa.DataType:
    for size in reversed(sizes):
        element = pa.list_(element, size)
    return element


SHAPES: dict[tuple[int, ...], list[int]] = {
    (4,): [],
    (4, 3): [3],
    (2, 1, 2, 1, 2, 1): [1, 2, 1, 2, 1],
    (2, 1, 2, 1, 2, 1, 2): [-1] * 6,
    (4, 0): [-1],
    (4, 2, 0): [-1, -1],
    (0,): [],
    (0, 3): [3],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_inner_axes_are_fixed_lists_where_they_can_be(path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    with h5py.File(path, "w") as file:
        file["x"] = values
    field, found = read(path)
    assert field.type == nested(pa.int64(), *SHAPES[shape])
    assert found == values.tolist()
    with open_hdf5(path) as file:
        assert cell_field("x", file["x"], per_row=False).type == nested(pa.int64(), -1, *SHAPES[shape])
        assert flat_field("x", file["x"]).type == pa.list_(pa.int64())
        assert read_flat(file["x"], flat_field("x", file["x"])).to_pylist() == [values.ravel().tolist()]


@pytest.mark.parametrize(
    ("data", "dtype", "expected_type", "expected"),
    [
        (np.float32(0.5), None, pa.float32(), 0.5),
        ("résumé", None, pa.string(), "résumé"),
        (np.array((1, 2.0), POINT), None, pa.struct({"id": pa.int32(), "x": pa.float64()}), {"id": 1, "x": 2.0}),
        (np.arange(3, dtype="i4"), h5py.vlen_dtype("i4"), pa.list_(pa.int32()), [0, 1, 2]),
        (h5py.Empty("f4"), None, pa.float32(), None),
        (h5py.Empty(TEXT), None, pa.string(), None),
    ],
)
@pytest.mark.parametrize("per_row", [False, True])
def test_scalars_and_null_dataspaces(
    path: Path, data: Any, dtype: Any, expected_type: pa.DataType, expected: Any, per_row: bool
) -> None:
    with h5py.File(path, "w") as file:
        if dtype is None:
            file["x"] = data
        else:
            file.create_dataset("x", (), dtype)[()] = data
    with open_hdf5(path) as file:
        field = cell_field("x", file["x"], per_row=per_row)
        assert field == pa.field("x", expected_type)
        assert read_cells(file["x"], field).to_pylist() == [expected]
        flat = flat_field("x", file["x"])
        assert flat == pa.field("x", pa.list_(expected_type))
        assert read_flat(file["x"], flat).to_pylist() == [None if expected is None else [expected]]


def test_wider_fields_hold_the_same_values(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(6, dtype="i2").reshape(2, 3)
        file["s"] = np.array([[b"a", b"b"]])
    with open_hdf5(path) as file:
        wider = pa.field("x", pa.list_(pa.float64()))
        assert read_cells(file["x"], wider, slice(1, 2)).to_pylist() == [[3.0, 4.0, 5.0]]
        assert read_cells(file["s"], pa.field("s", pa.list_(pa.list_(pa.binary())))).to_pylist() == [[[b"a", b"b"]]]


@pytest.mark.parametrize(
    "arrow",
    [pa.list_(pa.int16(), 2), pa.list_(pa.int8()), pa.int16(), pa.struct({"a": pa.int16()}), pa.list_(pa.date32())],
)
def test_field_that_cannot_hold_the_values(path: Path, arrow: pa.DataType) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.full((2, 3), 999, "i2")
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="/x: the values do not fit the column") as caught:
        read_cells(file["x"], pa.field("x", arrow), slice(0, 2))
    assert caught.value.expected == str(arrow)


def test_never_written_chunks_hold_the_fill_value(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (5,), "i4", chunks=(2,), fillvalue=-7)[1] = 3
    assert read(path)[1] == [-7, 3, -7, -7, -7]


# What is refused


@pytest.mark.parametrize("reader", [lambda d: cell_field("x", d, per_row=False), lambda d: flat_field("x", d)])
def test_cell_of_two_gigabytes_is_refused(path: Path, reader: Callable[[h5py.Dataset], object]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (3 << 29, 2), "u1", chunks=(1 << 20, 2))
    with open_hdf5(path) as file:
        with pytest.raises(SchemaError, match=r'/x: .*\(found 3.0 GiB, expected less than 2 GiB\).*layout="rows"'):
            reader(file["x"])
        for field in (pa.field("x", pa.list_(pa.list_(pa.uint8(), 2))), cell_field("x", file["x"], per_row=True)):
            with pytest.raises(SchemaError, match="too large for one cell"):
                read_cells(file["x"], field)
        with pytest.raises(SchemaError, match="too large for one cell"):
            read_flat(file["x"], pa.field("x", pa.list_(pa.uint8())))
        rows = read_cells(file["x"], cell_field("x", file["x"], per_row=True), slice(5, 7))
    assert rows.to_pylist() == [[0, 0], [0, 0]]


def test_filter_that_is_not_installed(path: Path) -> None:
    unknown = 32_700
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(unknown, h5z.FLAG_OPTIONAL)
    with h5py.File(path, "w") as file:
        dataset = h5d.create(file.id, b"x", h5t.NATIVE_INT32, h5s.create_simple((3,)), plist)
        dataset.write_direct_chunk((0,), bytes(12))
    with open_hdf5(path) as file, pytest.raises(FormatError, match=r"filter 32700.*`pip install hdf5plugin`") as caught:
        read_cells(file["x"], cell_field("x", file["x"], per_row=True), slice(0, 3))
    assert (caught.value.file, caught.value.where) == (str(path), "/x")


def test_damaged_chunk_is_located(path: Path) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (3,), "i4", chunks=(3,), compression="gzip")
        dataset.id.write_direct_chunk((0,), b"no deflate stream")
    with open_hdf5(path) as file, pytest.raises(FormatError, match="/x: the HDF5 library cannot read this"):
        read_flat(file["x"], flat_field("x", file["x"]))


def test_data_outside_the_file_are_refused_before_they_are_read(path: Path) -> None:
    (path.parent / "secret").write_bytes(bytes(8))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (8,), "S1", external=[(str(path.parent / "secret"), 0, 8)])
    with open_hdf5(path) as file:
        for reader in (lambda: cell_field("x", file["x"], per_row=True), lambda: flat_field("x", file["x"]),
                       lambda: read_flat(file["x"], pa.field("x", pa.list_(pa.string())))):  # fmt: skip
            with pytest.raises(UnsafeContentError, match=r"/x: .*external storage"):
                reader()


# Any type and shape

NUMBERS = st.sampled_from(["?", "i1", "<i2", ">i4", "i8", "u1", ">u2", "<u4", "u8", "f2", ">f4", "f8"])
COMPOUNDS = st.lists(st.tuples(NUMBERS, st.sampled_from([(), (2,), (1, 3)])), min_size=1, max_size=3).map(
    lambda members: np.dtype([(f"m{i}", dtype, shape) for i, (dtype, shape) in enumerate(members)])
)
SHAPE = st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple)


def plain(value: Any) -> Any:
    """What numpy gives, in the form that Arrow gives: records as dictionaries."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.void):
        return {name: plain(value[name]) for name in value.dtype.names}
    return value.item()


@settings(max_examples=80)
@given(st.data(), NUMBERS.map(np.dtype) | COMPOUNDS | st.integers(1, 4).map(lambda n: np.dtype(f"S{n}")))
def test_any_array_comes_back(data: st.DataObject, dtype: np.dtype[Any]) -> None:
    shape = data.draw(SHAPE)
    characters = st.characters(max_codepoint=127)
    ascii_bytes = st.text(characters, max_size=dtype.itemsize).map(lambda text: text.rstrip("\0").encode())
    values = data.draw(hnp.arrays(dtype, shape, elements=ascii_bytes if dtype.kind == "S" else None))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, shape[0]), st.integers(0, shape[0]))))
    expected = plain(np.char.decode(values, "ascii") if dtype.kind == "S" else values)
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder) / "any.h5", "w") as file:
            file.create_dataset("x", data=values, chunks=True if values.size else None)
        with open_hdf5(Path(folder) / "any.h5") as file:
            per_row, whole = (cell_field("x", file["x"], per_row=flag) for flag in (True, False))
            rows, one = read_cells(file["x"], per_row, slice(start, stop)), read_cells(file["x"], whole)
            flat = read_flat(file["x"], flat_field("x", file["x"]))
    for array in (rows, one, flat):
        array.validate(full=True)
    assert repr(rows.to_pylist()) == repr(expected[start:stop])
    assert repr(one.to_pylist()) == repr([expected])
    assert repr(flat.to_pylist()) == repr([plain_flat(values, expected)])


def plain_flat(values: np.ndarray[Any, Any], nested_values: list[Any]) -> list[Any]:
    for _ in values.shape[1:]:
        nested_values = [item for row in nested_values for item in row]
    return nested_values


# Files that are not on this machine


@pytest.fixture
def remote(hub: LoopbackHub, path: Path) -> RemoteFile:
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)
        file["s"] = np.array([b"a", b"\xff"])
    hub.add_repository("someone/values", {"folder/file.h5": path})
    found = locate("hf://datasets/someone/values/folder/file.h5")
    assert isinstance(found, RemoteFile)
    return found


def test_remote_file_is_read_in_place_and_named_by_its_url(remote: RemoteFile) -> None:
    with open_hdf5(remote) as file:
        assert read_flat(file["x"], flat_field("x", file["x"])).to_pylist() == [[0, 1, 2, 3, 4]]
        with pytest.raises(SchemaError) as caught:
            read_flat(file["s"], pa.field("s", pa.list_(pa.string())))
    assert caught.value.file == remote.url
    assert remote.url.startswith("hf://datasets/someone/values@")


def test_remote_file_that_is_no_hdf5(hub: LoopbackHub, path: Path) -> None:
    path.write_bytes(b"PK\3\4 something else")
    hub.add_repository("someone/values", {"file.h5": path})
    found = locate("hf://datasets/someone/values/file.h5")
    with pytest.raises(FormatError, match="it starts with") as caught, open_hdf5(found):
        pass
    assert caught.value.file == str(found)


def test_remote_file_still_open_in_a_thread_does_not_crash_at_the_end(path: Path) -> None:
    """The HDF5 library closes files when Python is gone, and would call their streams then."""
    with h5py.File(path, "w") as file:
        file["x"] = 1
    program = f"""
import threading
from pathlib import Path
from circuit_artifacts.formats.hdf5 import open_hdf5
from circuit_artifacts.remote import RemoteFile
class Local(RemoteFile):
    def open(self, mode="rb", **_): return Path({str(path)!r}).open(mode)
opened = threading.Event()
def read():
    with open_hdf5(Local(url="u", size=1, identity="1")) as file:
        print(file["x"][()], flush=True)
        opened.set()
        threading.Event().wait()
threading.Thread(target=read, daemon=True).start()
opened.wait(60)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
