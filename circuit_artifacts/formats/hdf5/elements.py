"""One element of an HDF5 dataset as Arrow: its type, and how numpy arrays of it become Arrow arrays.

numpy holds what h5py reads, with h5py's notes on enums, strings, lists and references in the types' metadata. All
conversions work on whole buffers, except for references and what h5py itself gives as Python objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
import pyarrow as pa
from h5py import h5o, h5r
from numpy.typing import NDArray

from circuit_artifacts.errors import CircuitArtifactsError, SchemaError
from circuit_artifacts.formats.hdf5.grouping import printable
from circuit_artifacts.formats.hdf5.streams import file_number
from circuit_artifacts.formats.hdf5.tree import walk

__all__ = ["Element", "element_of", "empty_array", "labelled_field", "lossy_members"]

Array = NDArray[Any]

_LIBRARY_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError)
_TIME_UNITS = {"W": "s", "D": "s", "h": "s", "m": "s", "s": "s", "ms": "ms", "us": "us", "ns": "ns"}


class Element(NamedTuple):
    """How the elements of one numpy type become Arrow.

    Attributes:
        type: of one element. Text is `string` here; only its bytes can tell whether it is.
        convert: from an array (n, *subarray shape) to n Arrow values, in which text is still `binary`.
        labels: what the codes 0, 1, 2, ... of an enum mean; empty for everything else.
    """

    type: pa.DataType
    convert: Callable[[Array], pa.Array]
    labels: tuple[str, ...] = ()


def element_of(dtype: np.dtype[Any], file: h5py.File, *, enums: Literal["codes", "labels"] = "codes") -> Element:
    """Find the Arrow form of a type.

    Args:
        dtype: as h5py gives it.
        file: in which references are looked up.
        enums: "codes" keeps those of enums that count 0, 1, 2, ..., and their labels aside; "labels" never does.

    Raises:
        SchemaError: Arrow has no such type. It does not say where; `convert` raises the same for values.
    """
    inner = partial(element_of, file=file, enums=enums)
    if dtype.subdtype is not None:
        return _subarray(inner(dtype.base), dtype.shape)
    if codes := h5py.check_enum_dtype(dtype):
        return _enum(np.dtype(dtype.str), codes, as_codes=enums == "codes")
    if dtype.names is not None:
        return _compound({name: inner(dtype[name]) for name in dtype.names})
    if h5py.check_ref_dtype(dtype) is not None:
        return Element(pa.string(), partial(_target_paths, file=file))
    if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:
        item = np.dtype(h5py.check_vlen_dtype(dtype))
        return _list(item, inner(item))
    return _plain(dtype)


def empty_array(dtype: np.dtype[Any]) -> Array:
    """No elements of a type: (0, *subarray shape)."""
    return np.empty((0, *dtype.shape), dtype.base)


def labelled_field(name: str, type_: pa.DataType, labels: tuple[str, ...]) -> pa.Field:
    """A field that says in its metadata what the codes of an enum mean, under ``labels``, as a JSON list."""
    return pa.field(name, type_, metadata={b"labels": json.dumps(labels).encode()} if labels else None)


def lossy_members(dtype: np.dtype[Any]) -> Iterator[np.dtype[Any]]:
    """The types inside a type, itself included, that have more digits than any Arrow type."""
    if dtype.kind in "fc":
        yield from [dtype] if dtype.itemsize > (8 if dtype.kind == "f" else 16) else []
    elif dtype.subdtype is not None:
        yield from lossy_members(dtype.base)
    elif dtype.names is not None:
        yield from (found for name in dtype.names for found in lossy_members(dtype[name]))
    elif (item := h5py.check_vlen_dtype(dtype)) is not None:
        yield from lossy_members(np.dtype(item))


def _plain(dtype: np.dtype[Any]) -> Element:
    kind, size = dtype.kind, dtype.itemsize
    if kind == "b":
        return Element(pa.bool_(), _booleans)
    if kind in "iuf":
        native = np.dtype(np.float64) if kind == "f" and size > 8 else dtype.newbyteorder("=")
        return Element(pa.from_numpy_dtype(native), partial(_numbers, dtype=native))
    if kind == "c":
        half = _plain(np.dtype(f"f{size // 2}"))
        return Element(pa.struct({"real": half.type, "imag": half.type}), partial(_complex, half=half))
    if kind in "mM" and (unit := _TIME_UNITS.get(np.datetime_data(dtype)[0])):
        arrow = pa.timestamp(unit) if kind == "M" else pa.duration(unit)
        return Element(arrow, partial(_times, dtype=np.dtype(f"{kind}8[{unit}]"), arrow=arrow))
    if kind in "SO":
        return Element(pa.string(), _fixed_text if kind == "S" else _variable_text)
    if kind == "V":
        return Element(pa.binary(), _opaque)
    problem = "a type that Arrow does not have"
    raise SchemaError(problem, found=dtype, remedy="Leave it out with select=, or store it as another type")


def _numbers(array: Array, dtype: np.dtype[Any]) -> pa.Array:
    with np.errstate(over="ignore"):  # extended precision beyond float64 becomes infinite
        return pa.array(np.ascontiguousarray(array, dtype))


def _booleans(array: Array) -> pa.Array:
    codes = np.ascontiguousarray(array).view(np.uint8)
    if codes.max(initial=0) > 1:
        problem = "not booleans"
        raise SchemaError(problem, found=f"the value {codes.max()}", expected="0 and 1")
    return pa.array(codes.view(np.bool_))


def _complex(array: Array, half: Element) -> pa.Array:
    return pa.StructArray.from_arrays([half.convert(array.real), half.convert(array.imag)], ["real", "imag"])


def _times(array: Array, dtype: np.dtype[Any], arrow: pa.DataType) -> pa.Array:
    values = np.ascontiguousarray(array, dtype)
    return pa.array(values.view(np.int64), mask=np.isnat(values)).cast(arrow)


def _opaque(array: Array) -> pa.Array:
    plain = np.ascontiguousarray(array)
    return _binary(plain.view(np.uint8), np.full(len(plain), plain.itemsize))


def _fixed_text(array: Array) -> pa.Array:
    # pyarrow would end a text at its first null character; HDF5 pads with them, and they may also stand inside.
    plain = np.ascontiguousarray(array)
    lengths = np.char.str_len(plain)
    characters = plain.view(np.uint8).reshape(len(plain), plain.itemsize)
    return _binary(characters[np.arange(plain.itemsize) < lengths[:, None]], lengths)


def _variable_text(array: Array) -> pa.Array:
    return pa.array(array, pa.binary())


def _binary(content: Array, lengths: Array) -> pa.Array:
    buffers = [None, _offsets(lengths).buffers()[1], pa.py_buffer(np.ascontiguousarray(content))]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)


def _offsets(lengths: Array | list[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int32())


def _subarray(inner: Element, shape: tuple[int, ...]) -> Element:
    arrow = inner.type
    for size in reversed(shape):
        arrow = pa.list_(arrow, size)

    def convert(array: Array) -> pa.Array:
        values = inner.convert(array.reshape(-1))
        for size in reversed(shape):
            values = pa.FixedSizeListArray.from_arrays(values, size)
        return values

    return Element(arrow, convert, inner.labels)


def _list(item: np.dtype[Any], inner: Element) -> Element:
    def convert(array: Array) -> pa.Array:
        # h5py (up to 3.16 at least) gives big-endian items as they are in the file, but calls them native.
        lists = [values.view(item.base) if item.base.kind in "iufc" else values for values in array]
        values = inner.convert(np.concatenate([empty_array(item), *lists]))
        return pa.ListArray.from_arrays(_offsets([len(values) for values in lists]), values)

    return Element(pa.list_(inner.type), convert, inner.labels)


def _compound(members: Mapping[str, Element]) -> Element:
    def convert(array: Array) -> pa.Array:
        arrays = [member.convert(array[name]) for name, member in members.items()]
        return pa.StructArray.from_arrays(arrays, list(members))

    fields = [labelled_field(name, member.type, member.labels) for name, member in members.items()]
    return Element(pa.struct(fields), convert)


def _enum(dtype: np.dtype[Any], codes: Mapping[str, int], *, as_codes: bool) -> Element:
    integers = _plain(dtype)
    names, known = zip(*sorted(codes.items(), key=lambda member: member[1]), strict=True)
    # A name that is not UTF-8 comes as bytes.
    labels = tuple(name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name for name in names)
    known_codes = np.array(known, dtype.newbyteorder("="))

    def positions(array: Array) -> Array:
        found = np.searchsorted(known_codes, array).clip(max=len(known_codes) - 1)
        strange = known_codes[found] != array
        if strange.any():
            problem = "a code without a label"
            expected = ", ".join(f"{code} ({label})" for label, code in zip(labels, known, strict=True))
            raise SchemaError(problem, found=array[strange][0], expected=expected)
        return found

    if as_codes and known == tuple(range(len(known))):
        return Element(integers.type, lambda array: integers.convert(positions(array)), labels)
    return Element(pa.string(), lambda array: pa.array(labels, pa.string()).take(pa.array(positions(array))))


def _target_paths(array: Array, file: h5py.File) -> pa.Array:
    addresses = [_target_address(reference, file) for reference in array]
    paths = _paths_by_address(file) if any(addresses) else {}
    return pa.array([None if address is None else paths.get(address) for address in addresses], pa.string())


def _target_address(reference: h5py.Reference, file: h5py.File) -> int | None:
    """Where the header of the target is; None for a null reference, and for one whose target was deleted."""
    try:
        return int(h5o.get_info(h5r.dereference(reference, file.id)).addr) if reference else None
    except CircuitArtifactsError:
        raise
    except _LIBRARY_ERRORS:
        return None


_paths_of_file: dict[int, dict[int, str]] = {}
"""Of the file asked about last, by its number."""


def _paths_by_address(file: h5py.File) -> dict[int, str]:
    """Every object's own path. HDF5 can name a target, too, but looks through the whole file for each."""
    number = file_number(file)
    paths = _paths_of_file.get(number)
    if paths is None:
        # Of several paths the first counts, which is why it is entered last; links and repeats have a target.
        paths = {node.address: printable(node.path) for node in reversed(walk(file).nodes) if not node.target}
        _paths_of_file.clear()
        if file.mode == "r":
            _paths_of_file[number] = paths
    return paths
