"""Reading HDF5 files: located errors, nothing outside the file, and many small vectors at once.

The files of this field hold ten to twenty thousand tiny datasets (csp_atlas spec 1.3-1.7), one per vector. The functions
here read *declared* names into one array, and refuse with a located error whatever is not what was declared::

    with open_hdf5("13_object_masks_eps0.5_cons0.8.h5") as file:
        for layer, group in layer_groups(open_group(file, "pair_masks")).items():
            names = child_names(group)
            masks = read_vectors(group, names, dtype=np.bool_, width=2048)  # bool (len(names), 2048)

Nothing is followed out of the file: external links, external storage and virtual datasets raise
:class:`~circuit_artifacts.errors.UnsafeContentError`. Soft links are resolved inside the file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5l, h5s, h5t
from numpy.typing import DTypeLike, NDArray

from circuit_artifacts.errors import (
    CircuitArtifactsError,
    FormatError,
    MissingArtifactError,
    SchemaError,
    SourceError,
    UnsafeContentError,
)
from circuit_artifacts.formats.hdf5_chunks import map_file, read_alike

__all__ = [
    "child_names",
    "layer_groups",
    "open_dataset",
    "open_group",
    "open_hdf5",
    "open_object",
    "read_attributes",
    "read_scalars",
    "read_strings",
    "read_vectors",
    "refuse_foreign_storage",
]

ErrorCallback = Callable[[CircuitArtifactsError], None]
"""Gets each problem instead of having it raised, so that a validator lists them all."""


def read_vectors(
    group: h5py.Group,
    names: Sequence[str],
    *,
    dtype: DTypeLike,
    width: int | None = None,
    on_error: ErrorCallback | None = None,
) -> NDArray[Any]:
    """Read one-dimensional datasets of one type and width into the rows of an array.

    Any legal storage is read: any chunks, filters and byte order. Booleans may be stored as h5py's enum FALSE/TRUE or
    as 8-bit integers that are 0 or 1 (csp_atlas spec 1.4); other types must be the declared ones.

    Args:
        group: the group that holds the datasets.
        names: their names, one row each.
        dtype: bool, or the numeric type that the datasets must have.
        width: the length that each must have; None takes that of the first readable one.
        on_error: called with each problem, whose row is then left zero; None raises the first.

    Returns:
        ``dtype`` (len(names), width), in native byte order.

    Raises:
        SchemaError: a dataset that is missing, or of another type, rank or width, or a boolean other than 0 and 1.
        UnsafeContentError: a link or data that lead out of the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    wanted = np.dtype(dtype)
    stored = np.dtype(np.uint8) if wanted == np.bool_ else wanted.newbyteorder("=")
    report = on_error or _raise
    links = links_of(group)
    rows = None if width is None else np.zeros((len(names), width), stored)
    done = np.zeros(len(names), bool)
    tried_alike = False
    for row, name in enumerate(names):
        if done[row]:
            continue
        try:
            dataset, vector = _read_vector(group, name, wanted, stored, width if rows is None else rows.shape[1])
        except CircuitArtifactsError as error:
            report(error)
            continue
        rows = np.zeros((len(names), len(vector)), stored) if rows is None else rows
        rows[row] = vector
        done[row] = True
        if not tried_alike and (link := links.get(name)) and link.kind == h5l.TYPE_HARD:
            tried_alike = True
            _read_rows_alike(group, dataset, [row, *range(row + 1, len(names))], names, links, rows, done)
    if rows is None:
        rows = np.zeros((len(names), 0), stored)
    if wanted != np.bool_:
        return rows
    for row in np.flatnonzero((rows > 1).any(axis=1)):
        found = f"the value {rows[row].max()}"
        rows[row] = 0
        report(schema_error(group, names[row], "not booleans", found=found, expected="0 and 1"))
    return rows.view(np.bool_)


def read_scalars(group: h5py.Group, names: Sequence[str], dtype: DTypeLike) -> NDArray[Any]:
    """Read scalar datasets, of shape () or (1,), into one array.

    Args:
        group: the group that holds them.
        names: their names.
        dtype: a numeric type that holds every value of the stored type, such as int64 for stored int32.

    Returns:
        ``dtype`` (len(names),).

    Raises:
        SchemaError: a dataset that is missing, not scalar, or of a type that does not fit.
        UnsafeContentError: a link or data that lead out of the file.
        FormatError: damaged data.
    """
    wanted = np.dtype(dtype)
    values = np.zeros(len(names), wanted)
    for row, name in enumerate(names):
        dataset = open_dataset(group, name)
        with located(group, dataset.name):
            shape, found = dataset.shape, dataset.dtype
            fits = shape in {(), (1,)} and found.kind in "biuf" and np.can_cast(found, wanted, "safe")
            if fits:
                values[row] = dataset[()].item()
        if not fits:
            raise schema_error(
                group, name, "not the declared scalar", found=f"{found} {shape}", expected=f"{wanted} ()"
            )
    return values


def read_strings(dataset: h5py.Dataset) -> list[str]:
    """Read a one-dimensional dataset of strings, of variable or fixed length.

    Returns:
        The strings, as text; none for an empty dataspace.

    Raises:
        SchemaError: another type or rank.
        FormatError: bytes that are not UTF-8, or damaged data.
        UnsafeContentError: data outside the file.
    """
    refuse_foreign_storage(dataset)
    with located(dataset, dataset.name):
        shape, is_string = dataset.shape, h5py.check_string_dtype(dataset.dtype) is not None
        if is_string and (shape is None or len(shape) == 1):
            return [] if shape is None else [value.decode() for value in dataset[...]]
        found = f"{dataset.dtype} {shape}"
    raise SchemaError(
        "not a list of strings", file=dataset.file.filename, where=dataset.name, found=found, expected="strings (n,)"
    )


def read_attributes(owner: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Read the attributes of a group or dataset as plain Python values, in ASCII order of their names.

    Returns:
        Numbers, booleans, text (bytes are decoded as UTF-8), None for an empty dataspace, lists for arrays, and for an
        object reference the path of its target.

    Raises:
        FormatError: an attribute cannot be read.
    """
    with located(owner, owner.name):
        return {name: _python_value(owner.attrs[name], owner.file) for name in sorted(owner.attrs)}


def _python_value(value: Any, file: h5py.File) -> Any:
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, h5py.Reference):
        # The name of the target only: nothing is opened. None is the null reference.
        name = h5py.h5r.get_name(value, file.id) if value else None
        return None if name is None else name.decode()
    if isinstance(value, np.ndarray | np.generic):
        return _python_value(value.tolist(), file)
    if isinstance(value, list | tuple):
        return [_python_value(item, file) for item in value]
    return value


def _read_vector(
    group: h5py.Group, name: str, wanted: np.dtype[Any], stored: np.dtype[Any], width: int | None
) -> tuple[h5d.DatasetID, NDArray[Any]]:
    """Read one dataset with the library, checking everything that was declared."""
    dataset = open_dataset(group, name)
    with located(group, dataset.name):
        shape, found = dataset.shape, dataset.dtype
        if wanted == np.bool_:
            fits = found == np.bool_ or (found.kind in "iu" and found.itemsize == 1)
        else:
            fits = found.kind == wanted.kind and found.itemsize == wanted.itemsize
        fits = fits and shape is not None and len(shape) == 1 and width in {None, shape[0]}
        if fits:
            vector = np.zeros(shape, stored)
            # Reading 8-bit values with their own type keeps the stored bytes: an enum may hold other than 0 and 1.
            memory_type = dataset.id.get_type() if wanted == np.bool_ else h5t.py_create(stored)
            if len(vector):
                dataset.id.read(h5s.ALL, h5s.ALL, vector, memory_type)
            return dataset.id, vector
    expected = f"{wanted} ({'n' if width is None else width},)"
    raise schema_error(group, name, "not the declared vector", found=f"{found} {shape}", expected=expected)


def _read_rows_alike(
    group: h5py.Group,
    template: h5d.DatasetID,
    candidates: Sequence[int],
    names: Sequence[str],
    links: dict[str, Link],
    rows: NDArray[Any],
    done: NDArray[np.bool_],
) -> None:
    """Fill the rows whose datasets are stored exactly as the template; the first candidate is the template itself."""
    content = map_file(group.file)
    if content is None or not rows.shape[1] or template.dtype.newbyteorder("=") != template.dtype:
        return
    alike = [row for row in candidates if (link := links.get(names[row])) and link.kind == h5l.TYPE_HARD]
    addresses = np.array([links[names[row]].address for row in alike], np.int64)
    for position, data in read_alike(content, template, addresses, rows.shape[1] * rows.itemsize):
        rows[alike[position]] = np.frombuffer(data, rows.dtype)
        done[alike[position]] = True


def _raise(error: CircuitArtifactsError) -> None:
    raise error
