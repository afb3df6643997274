"""The attributes of HDF5 objects, as Python values and as JSON."""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import h5py
import numpy as np
from h5py import h5a, h5t

from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.formats.hdf5.elements import element_of
from circuit_artifacts.formats.hdf5.grouping import printable
from circuit_artifacts.formats.hdf5.objects import located, path_in_file
from circuit_artifacts.formats.hdf5.streams import largest_read

__all__ = ["LARGEST_ATTRIBUTE", "attributes_json", "read_attributes"]

LARGEST_ATTRIBUTE = 64 << 20
"""Bytes; the HDF5 library itself would take whatever memory a file asks for."""

_Owner: TypeAlias = h5py.Group | h5py.Dataset | h5py.Datatype


def read_attributes(owner: _Owner) -> dict[str, Any]:
    """Read the attributes of an object as plain Python values, in ASCII order of their names.

    Returns:
        Numbers, booleans, text (bytes are decoded as UTF-8), None for an empty dataspace, lists for arrays, and for an
        object reference the path of its target.

    Raises:
        FormatError: an attribute cannot be read, or is larger than `LARGEST_ATTRIBUTE` (checked in files from
            `open_hdf5`).
    """
    return _read_each(owner, lambda name: _python_value(owner.attrs[name], owner.file))


def attributes_json(owner: _Owner) -> str:
    """Read the attributes of an object as one JSON object, in ASCII order of their names.

    Returns:
        Numbers, booleans and text as they are, null for an empty dataspace, arrays as nested arrays, enums as their
        labels, compounds and complex numbers as objects, references as the paths of their targets, times as text;
        bytes that are not UTF-8 as ``{"base64": "..."}``. NaN and infinity are null: JSON has neither.

    Raises:
        FormatError: an attribute cannot be read, or is larger than `LARGEST_ATTRIBUTE` (checked in files from
            `open_hdf5`).
        SchemaError: an attribute's type has no Arrow form, or an enum's code no label.
    """
    found = {printable(name): value for name, value in _read_each(owner, partial(_json_value, owner)).items()}
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def _read_each(owner: _Owner, read: Callable[[bytes], Any]) -> dict[str, Any]:
    with located(owner):
        if not h5a.get_num_attrs(owner.id):
            return {}
    names: list[bytes] = []
    found = {}
    # An attribute is as large as the bytes that hold it, in the object's header or in a heap, and the library reads
    # either in one piece.
    with largest_read(LARGEST_ATTRIBUTE):
        with _named(owner, "@"):
            h5a.iterate(owner.id, names.append)
        for encoded in sorted(names):
            name = encoded.decode("utf-8", "surrogateescape")
            with _named(owner, f"@{name}"):
                found[name] = read(encoded)
    return found


@contextlib.contextmanager
def _named(owner: _Owner, attribute: str) -> Iterator[None]:
    try:
        with located(owner):
            yield
    except CircuitArtifactsError as error:
        error.file, error.where = owner.file.filename, f"{path_in_file(owner)}{attribute}"
        raise


def _python_value(value: Any, file: h5py.File) -> Any:
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, h5py.Reference):
        # Only the name of the target: nothing is opened. A null reference has none.
        name = h5py.h5r.get_name(value, file.id) if value else None
        return None if name is None else name.decode()
    if isinstance(value, np.ndarray | np.generic):
        # Extended precision has no Python type; tolist() would give back the same scalar for ever.
        plain = value.astype(np.float64) if value.dtype.char == "g" else value
        return _python_value(plain.tolist(), file)
    if isinstance(value, list | tuple):
        return [_python_value(item, file) for item in value]
    return value


def _json_value(owner: _Owner, name: bytes) -> Any:
    attribute = h5a.open(owner.id, name)
    if attribute.shape is None:
        return None
    dtype = attribute.dtype
    array = np.zeros((*attribute.shape, *dtype.shape), dtype.base)
    attribute.read(array, mtype=h5t.py_create(dtype))
    elements = element_of(dtype, owner.file, enums="labels").convert(array.reshape(-1, *dtype.shape)).to_pylist()
    values = np.fromiter((_plain(element) for element in elements), object, len(elements))
    return values.reshape(attribute.shape).tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | timedelta):
        return str(value)
    return _text(value) if isinstance(value, bytes) else value


def _text(content: bytes) -> str | dict[str, str]:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
