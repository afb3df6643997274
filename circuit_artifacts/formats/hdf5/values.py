"""The values of any HDF5 dataset as cells of an Arrow column, with nothing lost and nothing read outside the file.

A column has one cell per row of its dataset, or the whole dataset is one cell (:func:`cell_field`,
:func:`read_cells`); or all elements, in C order, are one list (:func:`flat_field`, :func:`read_flat`). What one element
becomes is decided in :mod:`circuit_artifacts.formats.hdf5.elements`:

=========================================  ==========================================================================
bool, integers, floats                     the same type, in native byte order; bfloat16: float32
long double                                float64, with a warning
bit field                                  unsigned integer
enum                                       its integer type, with ``labels`` in the metadata of the nearest field, if
                                           the codes are 0, 1, 2, ...; the label as string otherwise
string                                     string; binary if one of them is not UTF-8
complex                                    struct of ``real`` and ``imag``
compound                                   struct
array, variable-length                     fixed-size lists; list
opaque                                     binary; timestamp or duration if h5py has tagged it as such
object and region reference                path of the target as string; null if there is none
=========================================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from h5py import h5z
from numpy.typing import NDArray

from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SchemaError
from circuit_artifacts.formats.hdf5.elements import Element, element_of, empty_array, labelled_field, lossy_members
from circuit_artifacts.formats.hdf5.objects import located, path_in_file, refuse_foreign_storage
from circuit_artifacts.formats.hdf5.stored import refuse_short_chunks

__all__ = ["cell_field", "flat_field", "read_cells", "read_flat"]

_LARGEST_CELL = (2 << 30) - 1  # bytes; Arrow counts the elements of a list in 31 bits
_MOST_FIXED_AXES = 5  # what `datasets` has types for
_BLOCK_BYTES = 16 << 20
_VARIABLE_BYTES = 1 << 10  # taken for the size of an element that may have any


def cell_field(name: str, dataset: h5py.Dataset, *, per_row: bool) -> pa.Field:
    """Find the column that one dataset makes.

    Strings are read once, in blocks, because only their bytes tell whether they are text; nothing else is read.

    Args:
        name: of the column.
        dataset: of any type and shape.
        per_row: one cell per index of the first axis, with the other axes as nested lists: of fixed size, unless there
            are more than five or one has no length. Otherwise the whole dataset is one cell, whose first axis is a list
            of any length; a scalar dataset and a null dataspace give a cell of the element's type.

    Raises:
        SchemaError: a type that numpy or Arrow does not have, or a cell of 2 GiB or more.
        UnsafeContentError: the data are outside the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    shape = dataset.shape or ()
    with _reading(dataset):
        element = _element(dataset)
        _refuse_large_cells(dataset, shape[1:] if per_row else shape)
        arrow = _decided_type(dataset, element)
    for size in reversed(_list_sizes(shape[1:]) if per_row or not shape else [-1, *_list_sizes(shape[1:])]):
        arrow = pa.list_(arrow, size)
    _warn_of_lost_digits(dataset)
    return labelled_field(name, arrow, element.labels)


def read_cells(dataset: h5py.Dataset, field: pa.Field, rows: slice | None = None) -> pa.Array:
    """Read cells of a column.

    Args:
        dataset: of any type and shape.
        field: from :func:`cell_field` for this dataset; or one that also holds the values of others, for example with
            lists of any length instead of fixed ones, or wider numbers.
        rows: which of the first axis, one cell each; None reads the whole dataset as one cell.

    Returns:
        ``field.type`` (rows,) or (1,); null for a null dataspace.

    Raises:
        SchemaError: values that the field cannot hold, or codes of an enum without a label.
        UnsafeContentError: the data are outside the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    shape = dataset.shape
    if shape is None:
        return pa.nulls(1, field.type)
    cells = (1, *shape) if rows is None else (len(range(*rows.indices(shape[0]))), *shape[1:])
    return _read(dataset, cells, field.type, rows)


def flat_field(name: str, dataset: h5py.Dataset) -> pa.Field:
    """Find the column in which a dataset of any shape is one list of its elements.

    Raises:
        SchemaError: a type that numpy or Arrow does not have, or 2 GiB or more.
        UnsafeContentError: the data are outside the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    with _reading(dataset):
        element = _element(dataset)
        _refuse_large_cells(dataset, dataset.shape or ())
        arrow = _decided_type(dataset, element)
    _warn_of_lost_digits(dataset)
    return labelled_field(name, pa.list_(arrow), element.labels)


def read_flat(dataset: h5py.Dataset, field: pa.Field) -> pa.Array:
    """Read a dataset as one list of its elements in C order.

    Args:
        dataset: of any type and shape.
        field: from :func:`flat_field`, or a wider one.

    Returns:
        ``field.type`` (1,); null for a null dataspace.

    Raises:
        SchemaError: values that the field cannot hold, or codes of an enum without a label.
        UnsafeContentError: the data are outside the file.
        FormatError: damaged data, or a filter that is not installed.
    """
    if dataset.shape is None:
        return pa.nulls(1, field.type)
    return _read(dataset, (1, math.prod(dataset.shape)), field.type)


def _read(dataset: h5py.Dataset, cells: tuple[int, ...], arrow: pa.DataType, rows: slice | None = None) -> pa.Array:
    """Read, and nest the elements into ``cells``: how many, then the axes of each."""
    with _reading(dataset):
        _refuse_large_cells(dataset, cells[1:])
        element = _element(dataset)
        array = _elements(dataset, rows)
        try:
            return _nested(element.convert(array), cells, arrow)
        except (pa.ArrowException, TypeError) as error:
            problem = "the values do not fit the column"
            raise SchemaError(problem, found=f"{element.type} {cells[1:]}: {error}", expected=arrow) from error


def _nested(values: pa.Array, cells: tuple[int, ...], arrow: pa.DataType) -> pa.Array:
    if len(cells) == 1:
        return values if values.type == arrow else values.cast(arrow)
    count, size, *inner_axes = cells
    is_fixed = pa.types.is_fixed_size_list(arrow)
    if not (pa.types.is_list(arrow) or (is_fixed and arrow.list_size == size)):
        problem = f"lists of {size} are needed"
        raise TypeError(problem)
    inner = _nested(values, (count * size, *inner_axes), arrow.value_type)
    if is_fixed:
        return pa.FixedSizeListArray.from_arrays(inner, type=arrow)
    offsets = pa.array(np.arange(count + 1, dtype=np.int64) * size, pa.int32())
    return pa.ListArray.from_arrays(offsets, inner, type=arrow)


def _list_sizes(axes: tuple[int, ...]) -> list[int]:
    """How long the nested lists are; -1 for lists of any length, where fixed ones would not do."""
    return list(axes) if 0 not in axes and len(axes) <= _MOST_FIXED_AXES else [-1] * len(axes)


def _element(dataset: h5py.Dataset) -> Element:
    refuse_foreign_storage(dataset)
    try:
        dtype = dataset.dtype
    except TypeError as error:
        problem, remedy = "a type that numpy does not have", "Leave it out with select=, or store it as another type"
        raise SchemaError(problem, found=error, remedy=remedy) from error
    return element_of(dtype, dataset.file)


def _elements(dataset: h5py.Dataset, rows: slice | None = None) -> NDArray[Any]:
    """Read elements in C order: (n, *subarray shape)."""
    refuse_short_chunks(dataset, rows)
    array: NDArray[Any] = dataset[...] if rows is None else dataset[rows]
    return array.reshape(-1, *dataset.dtype.shape)


def _decided_type(dataset: h5py.Dataset, element: Element) -> pa.DataType:
    """The element's type, with binary for strings of which one is not text."""
    arrow = element.type
    if dataset.shape is None or element.convert(empty_array(dataset.dtype)).type == arrow:
        return arrow
    for rows in _blocks(dataset):
        arrow = _decodable(element.convert(_elements(dataset, rows)), arrow)
    return arrow


def _decodable(values: pa.Array, arrow: pa.DataType) -> pa.DataType:
    """The type, with binary for those strings of which one of the values is not text."""
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_decodable(values.field(i), field.type)) for i, field in enumerate(arrow)])
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(_decodable(values.flatten(), arrow.value_type), arrow.list_size)
    if pa.types.is_list(arrow):
        return pa.list_(_decodable(values.flatten(), arrow.value_type))
    if not pa.types.is_string(arrow):
        return arrow
    try:
        values.cast(arrow)
    except pa.ArrowInvalid:
        return pa.binary()
    return arrow


def _blocks(dataset: h5py.Dataset) -> Iterator[slice | None]:
    """Pieces of the first axis of about 16 MiB that cut no chunks, where chunks are not larger."""
    if not dataset.shape:
        yield None
        return
    n_rows, *axes = dataset.shape
    item = _VARIABLE_BYTES if dataset.dtype.hasobject else dataset.dtype.itemsize
    step = max(1, _BLOCK_BYTES // max(1, item * math.prod(axes)))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = max(step - step % chunk, 1) if chunk <= step else step
    yield from (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _refuse_large_cells(dataset: h5py.Dataset, axes: tuple[int, ...]) -> None:
    size = math.prod(axes) * dataset.id.get_type().get_size()
    if size > _LARGEST_CELL:
        problem = "too large for one cell"
        found, remedy = f"{size / 2**30:.1f} GiB", 'Load with layout="rows", or leave it out with select='
        raise SchemaError(problem, found=found, expected="less than 2 GiB", remedy=remedy)


def _warn_of_lost_digits(dataset: h5py.Dataset) -> None:
    if any(lossy_members(dataset.dtype)):
        where = f"{dataset.file.filename}:{path_in_file(dataset)}"
        warnings.warn(f"{where}: extended precision ({dataset.dtype}) is rounded to float64", stacklevel=3)


@contextlib.contextmanager
def _reading(dataset: h5py.Dataset) -> Iterator[None]:
    """Say where, in every error; and which filter is missing, if one is."""
    try:
        with located(dataset):
            yield
    except CircuitArtifactsError as error:
        missing = _missing_filters(dataset) if type(error) is FormatError else []
        if not missing:
            raise
        problem, found = "compressed with a filter that is not installed", ", ".join(missing)
        remedy = "Run `pip install hdf5plugin`, and `import hdf5plugin` before loading"
        raise FormatError(problem, file=error.file, where=error.where, found=found, remedy=remedy) from error


def _missing_filters(dataset: h5py.Dataset) -> list[str]:
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    missing = [(code, name.decode(errors="replace")) for code, _, _, name in filters if not h5z.filter_avail(code)]
    return [f"filter {code} {name}".strip() for code, name in missing]
