"""The layout `leaves`: one row per dataset, whatever the file holds; what cannot be read is listed, not left out."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import h5py
import numpy as np
import pyarrow as pa

from circuit_artifacts.errors import SchemaError, located
from circuit_artifacts.formats.hdf5.attributes import attributes_json
from circuit_artifacts.formats.hdf5.grouping import printable
from circuit_artifacts.formats.hdf5.objects import open_group, open_hdf5, open_object
from circuit_artifacts.formats.hdf5.parts import opener, packed
from circuit_artifacts.formats.hdf5.selection import Selection
from circuit_artifacts.formats.hdf5.tree import Node, Tree
from circuit_artifacts.formats.hdf5.values import flat_field, read_flat
from circuit_artifacts.formats.hdf5.vectors import read_vectors
from circuit_artifacts.formats.union import Columns, Keys, build
from circuit_artifacts.remote import Location

__all__ = ["Leaf", "LeavesPlan", "leaf_rows", "value_fields", "with_value_columns"]

_ELEMENT_OF_ANY_LENGTH = 4096  # bytes, a guess
_LARGE = 1 << 30
_VECTORS = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64"}


class Leaf(NamedTuple):
    """One row.

    Attributes:
        path: in the file, as the tree has it.
        captured: columns from the path.
        note: why there is no value; None for a dataset with values.
        dtype, shape: as the tree tells.
        has_attributes: whether there are any to read.
        field: of its values, flattened; None without values.
        column: the name of the column that they go to.
        n_bytes: about how large the row is.
    """

    path: str
    captured: dict[str, str | int]
    note: str | None
    dtype: str | None
    shape: tuple[int, ...] | None
    has_attributes: bool
    field: pa.Field | None = None
    column: str = ""
    n_bytes: int = 0


@dataclass(frozen=True)
class LeavesPlan:
    """How one file becomes one row per dataset; picklable.

    Attributes:
        file: where it is.
        leaves: the rows.
        selection: whose captures are columns.
    """

    file: Location
    leaves: tuple[Leaf, ...]
    selection: Selection

    @property
    def columns(self) -> Columns:
        """`path`, the captured columns, `dtype`, `shape`, `attrs`, `note`, and the values, by element type."""
        names = {
            "path": pa.string(),
            **self.selection.columns,
            "dtype": pa.string(),
            "shape": pa.list_(pa.int64()),
            "attrs": pa.string(),
            "note": pa.string(),
        }
        fields: dict[Keys, pa.Field] = {(name,): pa.field(name, type_) for name, type_ in names.items()}
        for leaf in self.leaves:
            if leaf.field is not None:
                fields[leaf.column,] = leaf.field.with_name(leaf.column)
        return fields

    def __len__(self) -> int:
        return len(self.leaves)

    def tables(self, start: int, stop: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows ``start:stop``, in tables of about 16 MiB.

        Raises:
            FormatError: damaged data or attributes, or a filter that is not installed.
        """
        columns = self.columns
        with located(self.file), open_hdf5(self.file) as file:
            for leaves in packed(self.leaves[start:stop]):
                yield self._read(file, leaves, columns, schema)

    def _read(self, file: h5py.File, leaves: list[Leaf], columns: Columns, schema: pa.Schema) -> pa.Table:
        rows: dict[str, list[Any]] = {
            "path": [printable(leaf.path).strip("/") or "/" for leaf in leaves],
            "dtype": [leaf.dtype for leaf in leaves],
            "shape": [leaf.shape for leaf in leaves],
            "attrs": [_attributes(file, leaf) for leaf in leaves],
            "note": [leaf.note for leaf in leaves],
            **{name: [leaf.captured[name] for leaf in leaves] for name in self.selection.columns},
        }
        arrays: dict[Keys, pa.Array] = {(name,): pa.array(cells, columns[name,].type) for name, cells in rows.items()}
        names = {leaf.column for leaf in leaves if leaf.field is not None}
        values: dict[str, list[pa.Array]] = {name: [] for name in names}
        dataset = opener(file)
        for column, alike in itertools.groupby(leaves, key=_likeness):
            cells = _read_alike(file, dataset, list(alike))
            for name in names:
                values[name].append(cells if name == column[0] else pa.nulls(len(cells), columns[name,].type))
        arrays |= {(name,): pa.concat_arrays(cells) for name, cells in values.items()}
        return build(arrays, schema, len(leaves))


def leaf_rows(tree: Tree, selection: Selection, *, groups: bool) -> list[Leaf]:
    """The rows of one file, without their values' types.

    Args:
        tree: of the file.
        selection: which paths.
        groups: whether groups that have attributes are rows, too.
    """
    leaves = []
    for node in tree.nodes:
        if node.kind in {"group", "type"} and not (groups and node.n_attributes):
            continue
        captured = selection.match(node.path)
        if captured is not None:
            captured = {name: printable(value) if isinstance(value, str) else value for name, value in captured.items()}
            is_data = node.kind in {"dataset", "type"}
            leaves.append(
                Leaf(
                    node.path,
                    captured,
                    _note(node),
                    node.dtype if is_data else None,
                    node.shape,
                    bool(node.n_attributes),
                )
            )
    return leaves


def value_fields(leaves: Iterable[Leaf], file: h5py.File) -> Iterator[Leaf]:
    """The rows with the types of their values."""
    dataset = opener(file)
    known: dict[str, tuple[pa.Field, int]] = {}
    for leaf in leaves:
        if leaf.note is not None:
            yield leaf
            continue
        dtype, size = str(leaf.dtype), math.prod(leaf.shape or ())
        # The type of strings depends on whether they are all text, and a large dataset may be too large for a cell.
        if dtype not in known or "string" in dtype or size * known[dtype][1] > _LARGE:
            opened = dataset(leaf.path)
            field = flat_field("value", opened)  # refuses types that have no numpy form
            known[dtype] = field, _ELEMENT_OF_ANY_LENGTH if opened.dtype.hasobject else opened.dtype.itemsize
        field, element = known[dtype]
        yield leaf._replace(field=field, n_bytes=size * element)


def with_value_columns(plans: list[LeavesPlan]) -> list[LeavesPlan]:
    """Name the columns of values, alike in all files.

    Returns:
        The plans, with the one column `value` if all elements are of one type, else with one column per type, such as
        `value_float32`; the second of two types of one name is `value_struct_2`.
    """
    names: dict[bytes, str] = {}
    for field in (leaf.field for plan in plans for leaf in plan.leaves if leaf.field is not None):
        key = _element(field)
        if key not in names:
            base = f"value_{_short(field.type.value_type)}"
            n_alike = sum(1 for name in names.values() if name == base or name.startswith(f"{base}_"))
            names[key] = f"{base}_{n_alike + 1}" if n_alike else base
    if len(names) == 1:
        names = dict.fromkeys(names, "value")

    def named(leaf: Leaf) -> Leaf:
        return leaf if leaf.field is None else leaf._replace(column=names[_element(leaf.field)])

    return [replace(plan, leaves=tuple(named(leaf) for leaf in plan.leaves)) for plan in plans]


def _attributes(file: h5py.File, leaf: Leaf) -> str:
    return attributes_json(open_object(file, leaf.path)) if leaf.has_attributes else "{}"


def _likeness(leaf: Leaf) -> tuple[Any, ...]:
    """What vectors share that can be read together; begins with the column."""
    return leaf.column, leaf.field is None, leaf.path.rpartition("/")[0], leaf.dtype, leaf.shape


def _read_alike(file: h5py.File, dataset: Callable[[str], h5py.Dataset], leaves: list[Leaf]) -> pa.Array:
    """The values of neighbours with the same likeness; nulls if they have none."""
    first = leaves[0]
    if first.field is None:
        return pa.nulls(len(leaves))
    if len(leaves) > 1 and first.dtype in _VECTORS and first.shape is not None and len(first.shape) == 1:
        group, *names = first.path.rpartition("/")[0] or "/", *(leaf.path.rpartition("/")[2] for leaf in leaves)
        width = first.shape[0]
        # Thousands of alike little datasets are read ten times as fast together.
        with contextlib.suppress(SchemaError):  # booleans of more than a byte
            vectors = read_vectors(open_group(file, group), names, dtype=first.dtype, width=width)
            offsets = pa.array(np.arange(len(leaves) + 1) * width, pa.int32())
            return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1), first.field.type.value_type))
    return pa.concat_arrays([read_flat(dataset(leaf.path), leaf.field) for leaf in leaves])


def _note(node: Node) -> str | None:
    """Why a row has no value."""
    if node.foreign:
        return f"{node.foreign}, not read"
    if node.kind == "dataset":
        return None if node.shape is not None else "empty"
    if node.kind == "repeated":
        return f"the group {printable(node.target)} again"
    return node.kind if node.kind in {"group", "type"} else f"{node.kind} to {printable(node.target)}, not read"


def _element(field: pa.Field) -> bytes:
    """What tells types apart, labels included, which comparing does not."""
    return bytes(pa.schema([field]).serialize())


def _short(element: pa.DataType) -> str:
    if pa.types.is_floating(element):
        return f"float{element.bit_width}"  # Arrow calls it halffloat, float or double
    return str(element).partition("<")[0].partition("[")[0]
