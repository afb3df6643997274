"""HDF5 files with one small dataset per key and layer: each leaf becomes a row, each layer a shard.

A split declares path patterns, such as ``pair_masks/layer_{layer}/{ast_node}__{builtin_obj}``. Exactly the declared
paths are opened; the braces of the last part capture columns from the key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.hdf5 import (
    child_names,
    layer_groups,
    open_group,
    open_hdf5,
    read_attributes,
    read_scalars,
    read_vectors,
)
from circuit_artifacts.formats.hdf5.objects import Link, links_of
from circuit_artifacts.formats.reader import Request, Shape
from circuit_artifacts.schemas.common import arrow_schema
from circuit_artifacts.schemas.declaration import Config

__all__ = [
    "LeafReader",
    "active_dimensions",
    "check_setting",
    "layered_groups",
    "read_layers",
    "split_key",
    "true_positions",
]

_LAYER = "layer_{layer}"
_LARGEST_WIDTH = 1 << 16
_TABLE_BYTES = 16 << 20  # of values
_TABLE_ROWS = 2_048  # each may touch pages of the file far from those of the others
_NUMPY_TYPES = {"active": np.bool_, "activation_sum": np.float32, "firing_count": np.int32}


class LeafReader:
    """Reads one split of an HDF5 family."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def schema(self, path: Path | None) -> pa.Schema:
        """Columns of the row model; with ``mask_format="dense"``, `mask` in place of `active`."""
        return self._schema(Shape.of(path, self.request.mirror))

    def _schema(self, shape: Shape) -> pa.Schema:
        schema = arrow_schema(self.request.split.row, width=shape.width)
        if self.request.mask_format == "dense" and "active" in schema.names:
            mask = pa.field("mask", pa.list_(pa.bool_(), shape.width), nullable=False)
            schema = schema.set(schema.get_field_index("active"), mask)
        return schema

    def shards(self, path: Path) -> list[int]:
        """The layers, in numeric order."""
        with open_hdf5(path) as file:
            return list(range(_declared_layers(file, Shape.of(path, self.request.mirror))))

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows of one layer, keys in ASCII order; one table, unless the layer is too large to be held.

        Raises:
            FormatError: truncated, or not HDF5.
            SchemaError: an attribute that contradicts the file name, a missing layer, a key or vector of another form.
        """
        split, shape = self.request.split, Shape.of(path, self.request.mirror)
        schema = self._schema(shape)
        with open_hdf5(path) as file:
            check_setting(file, self.request.config)
            n_layers = _declared_layers(file, shape)
            names: list[str] = []
            vectors: dict[str, tuple[h5py.Group, dict[str, Link]]] = {}
            scalars: dict[str, npt.NDArray[Any]] = {}
            for column, pattern in split.leaves.items():
                group_path, _, _ = pattern.rpartition("/")
                if group_path.endswith(_LAYER):
                    groups = layered_groups(file, group_path.removesuffix(f"/{_LAYER}"), n_layers)
                    group = groups[shard]
                    names = names or child_names(groups[0])
                    _same_keys(group, child_names(group), names)
                    vectors[column] = group, links_of(group)
                else:
                    group = open_group(file, group_path)
                    scalars[column] = read_scalars(group, names, dtype=np.int64)
            row_bytes = shape.width * sum(np.dtype(_NUMPY_TYPES[column]).itemsize for column in vectors)
            for rows in _slices(len(names), row_bytes):
                values = {column: array[rows] for column, array in scalars.items()}
                for column, (owner, links) in vectors.items():
                    dtype = _NUMPY_TYPES[column]
                    values[column] = read_vectors(owner, names[rows], dtype=dtype, width=shape.width, links=links)
                keys = {name: split_key(pattern, name, group) for name in names[rows]}
                yield pa.Table.from_arrays([_column(f, shard, split.key, keys, values) for f in schema], schema=schema)


def _slices(n_rows: int, row_bytes: int) -> list[slice]:
    """Rows that are read at once; one empty slice if there are none."""
    step = max(1, min(_TABLE_ROWS, _TABLE_BYTES // row_bytes))
    return [slice(start, start + step) for start in range(0, max(n_rows, 1), step)]


def active_dimensions(masks: npt.NDArray[np.bool_]) -> pa.ListArray:
    """Sorted indices of the true entries of each row of masks (n, width): list<uint16> of length n.

    Raises:
        SchemaError: the masks are wider than 16 bits can count.
    """
    if masks.shape[1] > _LARGEST_WIDTH:
        problem = "the dimensions do not fit into uint16"
        remedy = 'Use mask_format="dense".'
        raise SchemaError(problem, found=masks.shape[1], expected=f"at most {_LARGEST_WIDTH}", remedy=remedy)
    offsets, dimensions = true_positions(masks)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(dimensions.astype(np.uint16)))


def true_positions(masks: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where masks (n, width) are true: row i is true at ``dimensions[offsets[i]:offsets[i + 1]]``, ascending."""
    n_masks, width = masks.shape
    sizes = np.count_nonzero(masks, axis=1)
    # One search over the flat array is five times as fast as numpy's search for rows and columns.
    dimensions = np.flatnonzero(masks) - np.repeat(np.arange(n_masks) * width, sizes)
    return np.concatenate([[0], np.cumsum(sizes)]), dimensions


def split_key(pattern: str, key: str, group: h5py.Group) -> dict[str, str]:
    """The columns that the last part of a pattern captures from a key, split at the first separator.

    Raises:
        SchemaError: the key is not of this form.
    """
    last = pattern.rpartition("/")[2]
    match = _key_expression(last).fullmatch(key)
    if match is None:
        problem = "the key is not of its form"
        raise SchemaError(
            problem, file=group.file.filename, where=f"{group.name}/{key}", found=repr(key), expected=last
        )
    return match.groupdict()


@functools.cache
def _key_expression(form: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(form)), flags=re.DOTALL)


def check_setting(file: h5py.File, config: Config) -> None:
    """Compare the setting on ``/metadata`` with the one in the file's name; an absent attribute says nothing.

    Raises:
        SchemaError: they contradict each other.
    """
    if not config.family.attributes or "metadata" not in file:
        return
    attributes = read_attributes(open_group(file, "metadata"))
    for axis, names in config.family.attributes.items():
        for name in names:
            found, expected = attributes.get(name), config.setting[axis]
            agrees = isinstance(found, int | float) and np.isclose(found, expected, rtol=1e-6, atol=0)
            if found is not None and not agrees:
                problem = "the attribute contradicts the file name"
                raise SchemaError(
                    problem,
                    file=file.filename,
                    where=f"/metadata@{name}",
                    found=found,
                    expected=expected,
                    remedy="The file was renamed or written with another setting; get it again.",
                )


def layered_groups(file: h5py.File, path: str, n_layers: int) -> dict[int, h5py.Group]:
    """The groups ``<path>/layer_0`` ... in numeric order.

    Raises:
        SchemaError: a layer is missing, or there are more than declared.
    """
    groups: dict[int, h5py.Group] = layer_groups(open_group(file, path))
    if list(groups) != list(range(n_layers)):
        absent = sorted(set(range(n_layers)) - set(groups))
        problem = f"layer {absent[0]} is missing" if absent else "there are more layers than declared"
        raise SchemaError(
            problem, file=file.filename, where=f"/{path}", found=f"layers {list(groups)}", expected=f"{n_layers} layers"
        )
    return groups


def read_layers(
    path: Path, group: str, *, dtype: npt.DTypeLike, shape: Shape, config: Config | None = None
) -> tuple[list[str], npt.NDArray[Any]]:
    """All vectors below ``group/layer_*``, fast: keys in ASCII order, and an array (key, layer, width).

    Raises:
        FormatError: truncated, or not HDF5.
        SchemaError: a missing layer, layers with different keys, a vector of another form.
    """
    with open_hdf5(path) as file:
        if config is not None:
            check_setting(file, config)
        groups = layered_groups(file, group, _declared_layers(file, shape))
        names: list[str] = child_names(groups[0])
        stack = np.empty((len(names), len(groups), shape.width), dtype)
        for layer, layer_group in groups.items():
            _same_keys(layer_group, child_names(layer_group), names)
            stack[:, layer] = read_vectors(layer_group, names, dtype=dtype, width=shape.width)
    return names, stack


def _declared_layers(file: h5py.File, shape: Shape) -> int:
    """The file's own `n_layers`, where it has one (checker files do not)."""
    declared = read_attributes(open_group(file, "metadata")).get("n_layers") if "metadata" in file else None
    if declared is None:
        return shape.n_layers
    if not isinstance(declared, int) or declared < 1:
        problem = "the number of layers is not a positive integer"
        raise SchemaError(problem, file=file.filename, where="/metadata@n_layers", found=repr(declared))
    return declared


def _same_keys(group: h5py.Group, found: list[str], expected: list[str]) -> None:
    if found == expected:
        return
    absent, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    problem = "this layer holds other keys than layer 0"
    raise SchemaError(
        problem,
        file=group.file.filename,
        where=group.name,
        found=f"{len(found)} keys, without {absent[:3]}" if absent else f"{len(found)} keys, also {surplus[:3]}",
        expected=f"the {len(expected)} keys of layer 0",
    )


def _column(
    field: pa.Field,
    layer: int,
    key_column: str | None,
    keys: Mapping[str, Mapping[str, str]],
    values: Mapping[str, npt.NDArray[Any]],
) -> pa.Array:
    """One column of a layer's table: the layer, a part of the key, or the values."""
    special: dict[str, Callable[[], Any]] = {
        "layer": lambda: pa.array(np.full(len(keys), layer), field.type),
        "size": lambda: pa.array(np.count_nonzero(values["active"], axis=1), field.type),
        "active": lambda: active_dimensions(values["active"]),
        "mask": lambda: pa.FixedSizeListArray.from_arrays(pa.array(values["active"].ravel()), type=field.type),
    }
    if field.name in special:
        return special[field.name]()
    if field.name in values:
        flat = pa.array(values[field.name].ravel())
        return pa.FixedSizeListArray.from_arrays(flat, type=field.type) if values[field.name].ndim > 1 else flat
    if field.name == key_column:
        return pa.array(list(keys), field.type)
    return pa.array([captured[field.name] for captured in keys.values()], field.type)
