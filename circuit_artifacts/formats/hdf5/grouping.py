"""Which groups of a file are parts of one table, and how many rows each makes; told from the tree alone.

`rows` has one part, the whole file. `stack` and `records` have one per sibling group: the groups below the deepest
group that holds every selected dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from circuit_artifacts.errors import SchemaError, UnsafeContentError
from circuit_artifacts.formats.hdf5.selection import Selection
from circuit_artifacts.formats.hdf5.tree import Node, Tree
from circuit_artifacts.formats.union import Keys

__all__ = ["Group", "left_out", "printable", "record_groups", "row_groups", "stack_groups"]

_DEEPEST_COLUMN = 32  # Arrow files nest 64 levels deep, values included
_MATLAB_INTERNALS = ("/#refs#/", "/#subsystem#/")
_SHOWN = 8


class Group(NamedTuple):
    """One part, as far as the tree tells.

    Attributes:
        path: the group; its datasets are named relative to it.
        leaves: its datasets, at any depth.
        n_rows: rows that they make.
        whole: whether each dataset, whatever its shape, is one cell.
    """

    path: str
    leaves: tuple[Node, ...]
    n_rows: int
    whole: bool = False

    def keys(self, leaf: Node) -> Keys:
        """The names of a leaf's column."""
        return tuple(printable(leaf.path[len(self.path.rstrip("/")) + 1 :]).split("/"))


def row_groups(tree: Tree, selection: Selection) -> list[Group]:
    """The whole file as one part.

    Raises:
        SchemaError: arrays of different lengths, or nested deeper than Arrow nests.
        UnsafeContentError: selected data are outside the file.
    """
    leaves = _selected(tree, selection)
    return [Group("/", tuple(leaves), _common_length(tree, leaves))] if leaves else []


def stack_groups(tree: Tree, selection: Selection) -> list[Group]:
    """The sibling groups, each with arrays of one length.

    Raises:
        SchemaError: no siblings, siblings with different datasets, or lengths that differ inside one.
        UnsafeContentError: selected data are outside the file.
    """
    return [group._replace(n_rows=_common_length(tree, group.leaves)) for group in _siblings(tree, selection)]


def record_groups(tree: Tree, selection: Selection) -> list[Group]:
    """The sibling groups, each one row.

    Raises:
        SchemaError: no siblings, or siblings with different datasets.
        UnsafeContentError: selected data are outside the file.
    """
    return [group._replace(n_rows=1, whole=True) for group in _siblings(tree, selection)]


def printable(name: str) -> str:
    r"""A name as text, with bytes that are not UTF-8 as ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def left_out(tree: Tree, selection: Selection) -> list[Node]:
    """Selected paths that make no column: links to nowhere, groups inside themselves, what MATLAB keeps for itself."""
    kinds = {"dangling link", "repeated"}
    return [
        node
        for node in tree.nodes
        if (node.kind in kinds or (node.kind == "dataset" and node.path.startswith(_MATLAB_INTERNALS)))
        and selection.match(node.path) is not None
    ]


def _selected(tree: Tree, selection: Selection) -> list[Node]:
    """The datasets that become columns."""
    nodes = [
        node
        for node in tree.of_kind("dataset", "external link")
        if selection.match(node.path) is not None and not node.path.startswith(_MATLAB_INTERNALS)
    ]
    for node in nodes:
        outside = node.foreign or (f"an external link to {node.target!r}" if node.kind == "external link" else "")
        if outside:
            problem = "the data are outside this file, and are never read"
            remedy = "layout='leaves' lists them without reading; select= leaves them out"
            raise UnsafeContentError(problem, file=tree.file, where=printable(node.path), found=outside, remedy=remedy)
    return nodes


def _common_length(tree: Tree, leaves: Sequence[Node]) -> int:
    deepest = max(leaves, key=lambda leaf: leaf.path.count("/"))
    if deepest.path.count("/") > _DEEPEST_COLUMN:
        problem = f"columns nested more than {_DEEPEST_COLUMN} deep"
        raise SchemaError(problem, file=tree.file, where=deepest.path[:80], remedy="Use layout='leaves'")
    lengths = {leaf.path: leaf.shape[0] for leaf in leaves if leaf.shape}
    if len(set(lengths.values())) <= 1:
        return next(iter(lengths.values()), 1)
    # One example of every length, so that the odd one is among those shown.
    examples = {length: path for path, length in reversed(lengths.items())}
    found = ", ".join(f"{printable(path)}: {length}" for length, path in sorted(examples.items())[:_SHOWN])
    more = f" and {len(examples) - _SHOWN} more lengths" if len(examples) > _SHOWN else ""
    problem = "arrays of different lengths are no rows of one table"
    remedy = 'layout="leaves" gives one row per dataset; select= leaves some out'
    raise SchemaError(problem, file=tree.file, found=found + more, expected="one length", remedy=remedy)


def _siblings(tree: Tree, selection: Selection) -> list[Group]:
    """The groups below the deepest group that holds every selected dataset; that group alone if it is but one."""
    leaves = _selected(tree, selection)
    if not leaves:
        return []
    parents = [tuple(leaf.path.split("/")[:-1]) for leaf in leaves]
    first, last = min(parents), max(parents)
    n_common = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    base = "/".join(first[:n_common])
    if len(first) == n_common:  # a dataset lies in the common group itself
        if not base:
            problem = "there are no sibling groups: a dataset is in no group"
            at_root = next(leaf.path for leaf in leaves if leaf.parent == "/")
            raise SchemaError(problem, file=tree.file, where=printable(at_root))
        return [Group(base, tuple(leaves), 1)]
    members: dict[str, list[Node]] = {}
    for leaf in leaves:
        members.setdefault("/".join(leaf.path.split("/")[: n_common + 1]), []).append(leaf)
    groups = [Group(path, tuple(inside), 1) for path, inside in members.items()]
    if selection.pattern == "**":
        below = [node.path for node in tree.of_kind("group")[1:] if node.parent == (base or "/")]
        empty = [path for path in below if path not in members]
        if empty:
            problem = "a sibling group holds no dataset"
            raise SchemaError(problem, file=tree.file, where=printable(empty[0]), remedy="select= leaves it out")
    wanted = _signature(groups[0])
    for group in groups[1:]:
        if (other := _signature(group)) != wanted:
            differing = min(set(wanted.items()) ^ set(other.items()))[0]
            problem = f"sibling groups hold different datasets: {'/'.join(differing)}"
            found, expected = (str(signature.get(differing, "none")) for signature in (other, wanted))
            expected = f"{expected} as in {printable(groups[0].path)}"
            raise SchemaError(problem, file=tree.file, where=printable(group.path), found=found, expected=expected)
    return groups


def _signature(group: Group) -> dict[Keys, str]:
    """Name, rank and sort of every dataset: what siblings share."""
    return {group.keys(leaf): f"{_sort(leaf.dtype)}, rank {len(leaf.shape or ())}" for leaf in group.leaves}


def _sort(dtype: str) -> str:
    """The type without the width of numbers and strings, which groups may differ in."""
    if dtype.startswith("string"):
        return "string"
    return "number" if dtype.lstrip("<>|=").rstrip("0123456789") in {"int", "uint", "float", "i", "u", "f"} else dtype
