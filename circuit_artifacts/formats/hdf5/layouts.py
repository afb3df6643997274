"""Any HDF5 files as rows: which layout, which columns, and how each file is read.

============  ==========================================================================================
`rows`        all arrays have one length: one row per index; scalars are the same in all rows
`stack`       sibling groups with the same datasets: the rows of each, one below the other
`records`     sibling groups with the same datasets: one row each, every dataset one cell
`leaves`      one row per dataset: its path, type, shape, attributes and values
`auto`        the first of records (if every group holds a scalar), rows, stack that fits all files; else leaves
============  ==========================================================================================

Nothing is cut to fit, nothing is dropped without being said, and nothing outside the files is read.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import h5py
import pyarrow as pa

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.formats.hdf5.attributes import attributes_json, read_attributes
from circuit_artifacts.formats.hdf5.grouping import Group, left_out, printable, record_groups, row_groups, stack_groups
from circuit_artifacts.formats.hdf5.leaf_rows import LeavesPlan, leaf_rows, value_fields, with_value_columns
from circuit_artifacts.formats.hdf5.objects import open_hdf5, open_object
from circuit_artifacts.formats.hdf5.parts import Constant, PartsPlan, part_of, spans_of
from circuit_artifacts.formats.hdf5.selection import Selection, select_all
from circuit_artifacts.formats.hdf5.tree import Node, Tree, walk
from circuit_artifacts.formats.union import Columns, nested_schema, unite
from circuit_artifacts.remote import Location

__all__ = ["Attrs", "Layout", "Options", "Plan", "plan_files", "schema_of", "shards_of"]

logger = logging.getLogger(__name__)

Layout = Literal["auto", "rows", "stack", "records", "leaves"]
Attrs = Literal["none", "columns", "json"]

_MOST_SHARDS = 16  # of a split: enough for a machine's workers, few enough that none is only the opening of a file
_SHOWN = 8  # paths in a message
_GROUPS: dict[str, Callable[[Tree, Selection], list[Group]]] = {
    "records": record_groups,
    "rows": row_groups,
    "stack": stack_groups,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files become rows.

    Attributes:
        layout: see the module.
        select: a pattern of paths, as :mod:`circuit_artifacts.formats.hdf5.selection` explains; None selects all.
        attrs: "none", "columns" for one constant column per attribute, "json" for one column with all of them. In
            `leaves`, attributes of datasets are always there, and "json" makes rows of groups that have some, too.

    Raises:
        UnknownNameError: no such layout or way with attributes.
    """

    layout: Layout = "auto"
    select: str | None = None
    attrs: Attrs = "none"

    def __post_init__(self) -> None:
        for name, known in (("layout", get_args(Layout)), ("attrs", get_args(Attrs))):
            if (given := getattr(self, name)) not in known:
                problem = f"there is no {name}={given!r}"
                raise UnknownNameError(problem, expected=", ".join(known))

    @property
    def selection(self) -> Selection:
        """The compiled pattern."""
        return select_all() if self.select is None else Selection.of(self.select)


class Plan(Protocol):
    """How one file becomes rows. Its rows lie in ``len(plan)`` pieces, each read at once."""

    @property
    def file(self) -> Location:
        """Where it is."""

    @property
    def columns(self) -> Columns:
        """What it has."""

    def __len__(self) -> int: ...

    def tables(self, start: int, stop: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows of pieces ``start:stop``, under a schema that may have more and wider columns."""


def plan_files(files: Sequence[Location], options: Options) -> list[Plan]:
    """Look at every file, choose one layout for all, and plan the reading of each.

    Raises:
        SchemaError: the layout does not fit a file, or nothing is selected.
        UnsafeContentError: selected data are outside a file, in a layout that would have to read them.
        FormatError: a file is no HDF5, or damaged.
    """
    trees = []
    for path in files:
        with open_hdf5(path) as file:
            trees.append(walk(file))
    selection = options.selection
    if options.select is not None and not any(
        selection.match(node.path) is not None for tree in trees for node in tree.nodes[1:]
    ):
        _refuse_selection(trees[0], options.select)
    layout = _choose(trees, selection) if options.layout == "auto" else options.layout
    logger.info("layout %r for %d file%s", layout, len(files), "s" if len(files) > 1 else "")
    if layout == "leaves":
        return list(_plan_leaves(files, trees, selection, options.attrs))
    return [_plan_parts(*each, layout, selection, options.attrs) for each in zip(files, trees, strict=True)]


def schema_of(plans: Sequence[Plan]) -> pa.Schema:
    """The columns of all files together, each with a type that holds the values of every file.

    Raises:
        SchemaError: types that do not go together; names both files. Or there is no column at all.
    """
    schema = nested_schema(unite((plan.file, plan.columns) for plan in plans))
    if not schema.names:
        problem = "there is no dataset to make rows of"
        raise SchemaError(problem, file=plans[0].file if plans else None, remedy="`inspect` shows what is there")
    return schema


def shards_of(plans: Sequence[Plan]) -> list[tuple[int, int, int]]:
    """Cut the rows of several files into parts for workers: (number of the plan, first piece, end)."""
    n_parts = -(-_MOST_SHARDS // max(len(plans), 1))
    return [
        (number, start, min(start + step, len(plan)))
        for number, plan in enumerate(plans)
        for step in [max(1, -(-len(plan) // n_parts))]
        for start in range(0, len(plan), step)
    ]


def _choose(trees: Sequence[Tree], selection: Selection) -> Layout:
    """The first layout that fits all files."""
    misfits: dict[str, SchemaError] = {}
    for layout, groups_of in _GROUPS.items():
        try:
            groups = [groups_of(tree, selection) for tree in trees]
        except SchemaError as error:
            misfits[layout] = error
            continue
        if any(groups) and (layout != "records" or _are_records(groups)):
            return layout  # type: ignore[return-value]
    if any(tree.of_kind("dataset") for tree in trees) and "rows" in misfits:
        misfit = misfits["rows"]
        warnings.warn(
            f"{misfit.file}: layout 'leaves', one row per dataset: {misfit.problem}{misfit.contrast}. "
            f"layout='leaves' says that this is wanted",
            stacklevel=2,
        )
    return "leaves"


def _are_records(files: Sequence[Sequence[Group]]) -> bool:
    """Whether groups are one sample each: several of them, each with a scalar."""
    several = any(len(groups) > 1 for groups in files)
    return several and all(any(leaf.shape == () for leaf in group.leaves) for groups in files for group in groups)


def _refuse_selection(tree: Tree, pattern: str) -> None:
    problem = "no path is selected"
    paths = [printable(node.path).lstrip("/") for node in tree.of_kind("dataset")]
    shown = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    raise SchemaError(problem, file=tree.file, where=f"select={pattern!r}", found=f"paths such as {shown}")


def _plan_leaves(
    files: Sequence[Location], trees: Sequence[Tree], selection: Selection, attrs: Attrs
) -> list[LeavesPlan]:
    groups = attrs != "none" or not any(tree.of_kind("dataset") for tree in trees)
    plans = []
    for path, tree in zip(files, trees, strict=True):
        leaves = leaf_rows(tree, selection, groups=groups)
        if not groups:
            owners = [node for node in tree.of_kind("group", "type") if selection.match(node.path) is not None]
            _say_attributes_left_out(tree, owners)
        with open_hdf5(path) as file:
            plans.append(LeavesPlan(path, tuple(value_fields(leaves, file)), selection))
    return with_value_columns(plans)


def _plan_parts(path: Location, tree: Tree, layout: str, selection: Selection, attrs: Attrs) -> PartsPlan:
    groups = _GROUPS[layout](tree, selection)
    owners = _owners(tree, groups, selection)
    if attrs == "none":
        _say_attributes_left_out(tree, owners)
    _say_left_out(tree, left_out(tree, selection))
    owners_of = _by_group(groups, owners)
    known: dict[Any, pa.Field] = {}
    parts, spans = [], []
    with open_hdf5(path) as file:
        for number, group in enumerate(groups):
            constants = [] if layout == "rows" else [_constant("group", printable(group.path.rpartition("/")[2]))]
            constants += _attribute_columns(file, group, owners_of[group.path], attrs)
            taken = {group.keys(leaf)[0] for leaf in group.leaves}
            parts.append(part_of(group, [_free(constant, taken) for constant in constants], file, known))
            spans += spans_of(number, group, file, _MOST_SHARDS)
    return PartsPlan(path, tuple(parts), tuple(spans))


def _owners(tree: Tree, groups: Sequence[Group], selection: Selection) -> list[Node]:
    """Objects with attributes that concern the rows: selected datasets, and the groups around and between them."""
    if selection.pattern == "**":
        return [node for node in tree.nodes if node.n_attributes]
    paths = {leaf.path for group in groups for leaf in group.leaves} | {"/"}
    for path in list(paths):
        while (path := path.rpartition("/")[0]) and path not in paths:
            paths.add(path)
    return [node for node in tree.nodes if node.n_attributes and node.path in paths]


def _by_group(groups: Sequence[Group], owners: Sequence[Node]) -> dict[str, list[Node]]:
    """What is in each group, itself included, and before that what is around it."""
    inside: dict[str, list[Node]] = {group.path: [] for group in groups}
    around = []
    for node in owners:
        path = node.path
        while path not in inside and path != "/":
            path = path.rpartition("/")[0] or "/"
        if path in inside:
            inside[path].append(node)
        elif groups and groups[0].path.startswith(f"{node.path.rstrip('/')}/"):
            around.append(node)
    return {path: around + nodes for path, nodes in inside.items()}


def _say_left_out(tree: Tree, nodes: Sequence[Node]) -> None:
    if nodes:
        shown = ", ".join(f"{printable(node.path)} ({node.kind})" for node in nodes[:_SHOWN])
        more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
        logger.warning("%s: not in the rows: %s%s; layout='leaves' lists them", tree.file, shown, more)


def _say_attributes_left_out(tree: Tree, owners: Sequence[Node]) -> None:
    n_attributes = sum({node.address: node.n_attributes for node in owners}.values())
    if n_attributes:
        message = "%s: %d attributes are not in the rows; attrs='json' or 'columns' adds them"
        logger.warning(message, tree.file, n_attributes)


def _attribute_columns(file: h5py.File, group: Group, owners: Sequence[Node], attrs: Attrs) -> list[Constant]:
    """The attributes of these objects: those of a group, of what is in it, and of the groups around it."""
    if attrs == "none":
        return []
    if attrs == "json":
        objects = ((printable(node.path), open_object(file, node.path)) for node in owners)
        return [_constant("attrs", "{" + ", ".join(f"{json.dumps(p)}: {attributes_json(o)}" for p, o in objects) + "}")]
    return [
        _constant(f"{_relative(node.path, group.path)}@{printable(key)}", value, file=file)
        for node in owners
        for key, value in read_attributes(open_object(file, node.path)).items()
    ]


def _relative(path: str, group: str) -> str:
    """A path as seen from a group: nothing for the group itself, absolute for those around it."""
    return "" if path == group else printable(path.removeprefix(f"{group.rstrip('/')}/"))


def _constant(name: str, value: Any, *, file: h5py.File | None = None) -> Constant:
    try:
        array = pa.array([value])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        problem = "an attribute has no type that a column could have"
        filename = None if file is None else file.filename
        raise SchemaError(problem, file=filename, where=name, found=error, remedy="Use attrs='json'") from error
    return Constant((name,), pa.field(name, array.type), value)


def _free(constant: Constant, taken: set[str]) -> Constant:
    """The column under a name that no dataset has: with a ``_`` behind it, if need be."""
    name = constant.keys[0]
    while name in taken:
        name += "_"
    return constant._replace(keys=(name,), field=constant.field.with_name(name))
