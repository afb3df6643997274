"""Reading HDF5 files: located errors, nothing outside the file, and many small vectors at once.

The files of this field hold ten to twenty thousand tiny datasets, one per vector (csp_atlas spec 1.3-1.7). The
functions here read *declared* names into one array, and refuse with a located error what is not as declared::

    with open_hdf5("13_object_masks_eps0.5_cons0.8.h5") as file:
        for layer, group in layer_groups(open_group(file, "pair_masks")).items():
            names = child_names(group)
            masks = read_vectors(group, names, dtype=np.bool_, width=2048)  # bool (len(names), 2048)

Opening is in :mod:`circuit_artifacts.formats.hdf5.objects`, the fast path in
:mod:`circuit_artifacts.formats.hdf5.chunks`, writing in :mod:`circuit_artifacts.formats.hdf5.write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o, h5s, h5t
from numpy.typing import DTypeLike, NDArray

from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.formats.hdf5.chunks import map_file, read_alike
from circuit_artifacts.formats.hdf5.objects import (
    Link,
    links_of,
    located,
    open_dataset,
    refuse_foreign_storage,
    schema_error,
)
from circuit_artifacts.formats.hdf5.stored import refuse_short_chunks

__all__ = ["ErrorCallback", "read_scalars", "read_strings", "read_vectors"]

ErrorCallback = Callable[[CircuitArtifactsError], None]
"""Gets each problem instead of having it raised, so that a validator lists them all."""


def read_vectors(
    group: h5py.Group,
    names: Sequence[str],
    *,
    dtype: DTypeLike,
    width: int | None = None,
    links: Mapping[str, Link] | None = None,
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
        links: what :func:`links_of` gives for the group, from a caller who reads it in several calls; None lists them.
        on_error: called with each problem, whose row is then left zero; None raises the first.

    Returns:
        ``dtype`` (len(names), width), in native byte order.

    Raises:
        SchemaError: a dataset that is missing, or of another type, rank or width, or a boolean other than 0 and 1.
        UnsafeContentError: a link or data that lead out of the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    wanted = np.dtype(dtype).newbyteorder("=")
    stored = np.dtype(np.uint8) if wanted == np.bool_ else wanted
    report = on_error or _raise
    links = links_of(group) if links is None else links
    rows = np.zeros((len(names), width or 0), stored)
    done = np.zeros(len(names), bool)
    read_singly = 0
    for row, name in enumerate(names):
        if done[row]:
            continue
        try:
            dataset = _open_vector(group, name, links.get(name), wanted=wanted, width=width)
            vector = _read_vector(group, name, dataset, stored)
        except CircuitArtifactsError as error:
            report(error)
            continue
        if width is None:
            width = len(vector)
            rows = np.zeros((len(names), width), stored)
        rows[row] = vector
        read_singly += 1
        # Looking for more like this one passes over all rows: done after 1, 2, 4, 8, ... that were unlike the others.
        if read_singly & (read_singly - 1) == 0:
            candidates = {other: links[names[other]] for other in range(row, len(names)) if names[other] in links}
            addresses = {other: link.address for other, link in candidates.items() if link.is_hard and not done[other]}
            alike = dict(_read_alike(group, dataset, wanted, addresses)) if row in addresses else {}
            if alike:
                others = list(alike)
                rows[others] = np.frombuffer(b"".join(alike.values()), stored).reshape(len(others), -1)
                done[others] = True
    if wanted != np.bool_:
        return rows
    if rows.max(initial=0) <= 1:
        return rows.view(np.bool_)
    for row in np.flatnonzero((rows > 1).any(axis=1)).tolist():
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
    memory_type = h5t.py_create(wanted, logical=True)
    links = links_of(group)
    values = np.zeros(len(names), wanted)
    for row, name in enumerate(names):
        dataset = _open_declared(group, name, links.get(name))
        with located(group, name):
            shape, found = dataset.shape, dataset.dtype
            fits = shape in {(), (1,)} and found.kind in "biuf" and np.can_cast(found, wanted, "safe")
            fits = fits and (found.kind == "b") == (wanted.kind == "b") and h5py.check_enum_dtype(found) is None
            if fits:
                dataset.id.read(h5s.ALL, h5s.ALL, values[row : row + 1], memory_type)
        if not fits:
            described = f"{found} {shape}"
            raise schema_error(group, name, "not the declared scalar", found=described, expected=f"{wanted} ()")
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
    with located(dataset):
        shape, dtype = dataset.shape, dataset.dtype
        is_text = h5py.check_string_dtype(dtype) is not None
        if is_text and shape is None:
            return []
        if is_text and len(shape) == 1:
            refuse_short_chunks(dataset)
            return [value.decode() for value in dataset[...]]
    raise schema_error(dataset, "", "not a list of strings", found=f"{dtype} {shape}", expected="strings (n,)")


def _open_declared(group: h5py.Group, name: str, link: Link | None) -> h5py.Dataset:
    """Open a dataset whose link is known: as :func:`open_dataset` does, at a fraction of its cost."""
    if link is None or not link.is_hard:
        return open_dataset(group, name)
    with located(group, name):
        identifier = h5o.open(group.id, name.encode("utf-8", "surrogateescape"))
    if not isinstance(identifier, h5d.DatasetID):
        raise schema_error(group, name, "not a dataset", found=type(identifier).__name__, expected="Dataset")
    dataset = h5py.Dataset(identifier)
    refuse_foreign_storage(dataset)
    return dataset


def _open_vector(
    group: h5py.Group, name: str, link: Link | None, *, wanted: np.dtype[Any], width: int | None
) -> h5py.Dataset:
    """Open one dataset, and check everything that was declared."""
    dataset = _open_declared(group, name, link)
    with located(group, name):
        shape, found, size = dataset.shape, dataset.dtype, dataset.id.get_type().get_size()
    if wanted == np.bool_:
        # h5py gives an enum FALSE/TRUE of any size as bool.
        fits = found.kind in "biu" and size == 1
    else:
        # h5py gives an enum as the integer type of its codes.
        fits = found.newbyteorder("=") == wanted and h5py.check_enum_dtype(found) is None
    if fits and shape is not None and len(shape) == 1 and width in {None, shape[0]}:
        return dataset
    expected = f"{wanted} ({'n' if width is None else width},)"
    raise schema_error(group, name, "not the declared vector", found=f"{found} {shape}", expected=expected)


def _read_vector(group: h5py.Group, name: str, dataset: h5py.Dataset, stored: np.dtype[Any]) -> NDArray[Any]:
    """Read a dataset of rank 1 with the library, into native byte order."""
    with located(group, name):
        vector = np.zeros(dataset.shape, stored)
        # 8-bit values are read with their own type, which keeps them as they are: an enum may hold other than 0 and 1.
        memory_type = dataset.id.get_type() if stored.itemsize == 1 else h5t.py_create(stored)
        if vector.size:
            refuse_short_chunks(dataset)
            dataset.id.read(h5s.ALL, h5s.ALL, vector, memory_type)
    return vector


def _read_alike(
    group: h5py.Group, template: h5py.Dataset, wanted: np.dtype[Any], addresses: Mapping[int, int]
) -> Iterator[tuple[int, bytes]]:
    """Give row and bytes of the datasets that are stored exactly as the template, the first of ``addresses`` by row."""
    with located(group):
        content = map_file(group.file)
        stored_type = template.id.get_type()
        # The bytes are taken as they are, which must be what _read_vector makes of them.
        if content is None or not (stored_type.get_size() == 1 or stored_type.equal(h5t.py_create(wanted))):
            return
        row_bytes = template.size * stored_type.get_size()
    rows = list(addresses)
    # A damaged address may exceed int64; it becomes negative, which is outside the file just as well.
    headers = np.array(list(addresses.values()), np.uint64).astype(np.int64)
    for position, data in read_alike(content, template.id, headers, row_bytes):
        yield rows[position], data


def _raise(error: CircuitArtifactsError) -> None:
    raise error
