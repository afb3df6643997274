"""Kinds 14 to 29, 35 to 41, 62, 67, 82, 83 and 87: what one element is."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s, h5t
from numpy.typing import NDArray

from hdf5_zoo.specimen import Specimen, kind, objects

_POINT = np.dtype([("id", "<i4"), ("x", "<f8")])
_TEXT = h5py.string_dtype()


@kind("14_compound", "rows")
def _compound(made: Specimen) -> None:
    made.put("t", _points(made, 5))


@kind("15_nested_compound", "rows")
def _nested_compound(made: Specimen) -> None:
    values = np.zeros(5, [("at", _POINT), ("vector", "<f4", (3,)), ("flag", "?")])
    values["at"], values["vector"] = _points(made, 5), made.random.random((5, 3))
    values["flag"][::2] = True
    made.put("t", values)


@kind("16_compound_2d", "rows")
def _compound_matrix(made: Specimen) -> None:
    made.put("t", _points(made, 12).reshape(4, 3))


@kind("17_compound_scalar", "rows")
def _compound_scalar(made: Specimen) -> None:
    made.put("t", _points(made, 1).reshape(()))


@kind("18_bool", "rows")
def _booleans(made: Specimen) -> None:
    made.put("one", made.random.random(6) < 0.5)
    made.put("two", made.random.random((6, 2)) < 0.5)


@kind("19_enum", "rows")
def _enumeration(made: Specimen) -> None:
    dtype = h5py.enum_dtype({"RED": 0, "GREEN": 1, "BLUE": 2}, "i1")
    made.put("color", np.array([0, 2, 1, 2], "i1"), dtype=dtype)


@kind("20_complex", "rows")
def _complex_numbers(made: Specimen) -> None:
    made.put("one", made.random.random(5) + 1j * made.random.random(5))
    made.put("two", (made.random.random((5, 2)) - 1j).astype(np.complex64))


@kind("21_vlen_int", "rows")
def _ragged_integers(made: Specimen) -> None:
    values = objects(*(np.arange(length, dtype="i4") for length in (3, 0, 1, 2)))
    made.put("x", values, dtype=h5py.vlen_dtype("i4"))


@kind("22_vlen_2d", "rows")
def _ragged_matrix(made: Specimen) -> None:
    values = objects(*(made.random.random(length) for length in (1, 2, 0, 4, 1, 1, 3, 2))).reshape(4, 2)
    made.put("x", values, dtype=h5py.vlen_dtype("f8"))


@kind("23_str_fixed", "rows")
def _fixed_strings(made: Specimen) -> None:
    made.put("s", np.array([b"for", b"while", b""], "S5"), seen=["for", "while", ""])


@kind("24_str_utf8_vlen", "rows")
def _strings(made: Specimen) -> None:
    made.put("s", objects("for", "naïve", "日本"), dtype=_TEXT)


@kind("25_str_vlen_2d", "rows")
def _string_matrix(made: Specimen) -> None:
    made.put("s", objects("a", "b", "", "ü").reshape(2, 2), dtype=_TEXT)


@kind("26_str_nonutf8", "rows")
def _fixed_strings_in_latin1(made: Specimen) -> None:
    made.put("s", np.array([b"caf\xe9", b"tea"], "S4"), seen=objects(b"caf\xe9", b"tea"))


@kind("27_str_vlen_bytes_bad", "rows")
def _strings_in_latin1(made: Specimen) -> None:
    made.put("s", objects(b"caf\xe9", b"tea"), dtype=_TEXT)


@kind("28_obj_ref", "rows")
def _object_references(made: Specimen) -> None:
    target = made.put("group/x", np.arange(3)).ref
    made.put("ref", objects(target, made.file["group"].ref, h5py.Reference()), dtype=h5py.ref_dtype,
             seen=objects("/group/x", "/group", None))  # fmt: skip


@kind("29_region_ref", "rows")
def _region_references(made: Specimen) -> None:
    x = made.put("x", np.arange(3))
    made.put("ref", objects(x.regionref[0:1], x.regionref[1:3], h5py.RegionReference()), dtype=h5py.regionref_dtype,
             seen=objects("/x", "/x", None))  # fmt: skip


@kind("35_float16", "rows")
def _half_precision(made: Specimen) -> None:
    made.put("one", np.array([1.5, -0.0, np.inf, np.nan, 65504], np.float16))
    made.put("two", made.random.random((5, 2)).astype(np.float16))


@kind("36_big_endian", "rows")
def _big_endian(made: Specimen) -> None:
    made.put("f", made.random.random(5).astype(">f8"))
    made.put("i", np.arange(-2, 3).astype(">i4"))


@kind("37_big_endian_2d", "rows")
def _big_endian_matrix(made: Specimen) -> None:
    made.put("x", made.random.integers(0, 2**15, (5, 3)).astype(">i2"))


@kind("38_datetime_int", "rows")
def _seconds_with_units(made: Specimen) -> None:
    made.put("time", np.arange(5) * 3600)
    made.note("time", {"units": "seconds since 1970-01-01"})


@kind("39_opaque_datetime64", "rows")
def _datetimes(made: Specimen) -> None:
    values = np.array(["2026-01-31", "1969-12-31"], "M8[D]")
    made.put("day", values.astype(h5py.opaque_dtype("M8[D]")), seen=values.astype("M8[s]"))


@kind("40_opaque_void", "rows")
def _opaque_bytes(made: Specimen) -> None:
    values = [made.random.bytes(4) for _ in range(3)]
    made.put("x", np.array(values, "V4"), seen=objects(*values))


@kind("41_longdouble", "rows")
def _extended_precision(made: Specimen) -> None:
    made.put("x", np.array([1.5, -2, 0, 1e300], np.longdouble), seen=[1.5, -2, 0, 1e300])


@kind("62_named_dtype", "rows")
def _committed_type(made: Specimen) -> None:
    made.file["point"] = _POINT
    made.put("t", _points(made, 3), dtype=made.file["point"])


@kind("67_null_string", "rows")
def _empty_strings(made: Specimen) -> None:
    made.file.create_dataset("s", (3,), _TEXT)[1] = "x"
    made.see("s", objects("", "x", ""))


@kind("82_bitfield", "rows")
def _bitfield(made: Specimen) -> None:
    values = np.array([0, 1, 128, 255], np.uint8)
    _write_as(made, "bits", h5t.STD_B8LE, values, h5t.STD_B8LE)


@kind("83_array_dtype", "rows")
def _array_elements(made: Specimen) -> None:
    values = made.random.integers(0, 99, (4, 3), np.int32)
    made.file.create_dataset("x", (4,), np.dtype(("<i4", (3,))))[...] = values
    made.see("x", values)


@kind("87_bfloat16", "rows")
def _brain_float(made: Specimen) -> None:
    stored = h5t.IEEE_F32LE.copy()
    stored.set_fields(15, 7, 8, 0, 7)
    stored.set_size(2)
    stored.set_ebias(127)
    _write_as(made, "x", stored, np.array([1.5, -2, 2**-8, np.nan], np.float32), h5t.NATIVE_FLOAT)


def _points(made: Specimen, count: int) -> NDArray[Any]:
    points = np.zeros(count, _POINT)
    points["id"], points["x"] = np.arange(count), made.random.random(count)
    return points


def _write_as(made: Specimen, name: str, stored: h5t.TypeID, values: NDArray[Any], given: h5t.TypeID) -> None:
    dataset = h5d.create(made.file.id, name.encode(), stored, h5s.create_simple(values.shape))
    dataset.write(h5s.ALL, h5s.ALL, values, given)
    made.see(name, values)
