"""What is in an HDF5 file: every path, in order, with its shape and type; no data is read.

A file is a graph, not a tree: two hard links may lead to one object, and a group may hold itself. So the graph is read
first, each object once by its address, and then unfolded into paths. Soft links are followed in the graph that was
read, which is why none can lead out of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.hdf5.objects import links_of, located, path_in_file

__all__ = ["Kind", "Node", "Tree", "natural_order", "type_text", "walk"]

Kind = Literal["group", "dataset", "type", "dangling link", "external link", "repeated"]

_MOST_PATHS = 1_000_000
_MOST_CHARACTERS = 512 << 20  # of all paths together
_DEEPEST = 256
_MAX_SOFT_LINKS = 16  # as many as the HDF5 library follows for one path


@dataclass(frozen=True, slots=True)
class Node:
    """What is at one path.

    Attributes:
        path: absolute; bytes that are not UTF-8 are kept as surrogates, as the file system functions of Python do.
        kind: "group", "dataset" or "type" (a named datatype), also where a soft link leads to one; "dangling link" for
            a soft link to nothing; "external link" for any that leads out of the file, and is never followed;
            "repeated" for a group inside itself, whose content is not listed again.
        target: what a link says, or the path of the group that is repeated; empty for an object at its own path.
        shape: of a dataset; None for a null dataspace, and for everything else.
        dtype: of a dataset or named type, as :func:`type_text` writes it; equal texts are equal types.
        n_attributes: attributes of the object.
        storage_bytes: what a dataset's data take in the file, compressed as they are.
        foreign: "external storage" or "a virtual dataset" if the data of a dataset are in other files.
        address: of the object header; paths that share it are one object. -1 for a link that is not followed.
    """

    path: str
    kind: Kind
    target: str = ""
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    n_attributes: int = 0
    storage_bytes: int = 0
    foreign: str = ""
    address: int = -1

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of the group it is in."""
        return self.path.rpartition("/")[0] or "/"


@dataclass(frozen=True)
class Tree:
    """Every path of one file.

    Attributes:
        file: name of the file, for messages.
        nodes: the root, then everything below; a group before its content, names in natural order.
    """

    file: str
    nodes: tuple[Node, ...]

    def of_kind(self, *kinds: Kind) -> list[Node]:
        """The nodes of these kinds, in order."""
        return [node for node in self.nodes if node.kind in kinds]


def walk(file: h5py.File) -> Tree:
    """List every path of a file. Each object is opened once; no data and no attribute is read.

    Raises:
        FormatError: the file is damaged, or holds names that no program could have written.
        SchemaError: more than a million paths, half a billion characters of them, or groups nested more than 256 deep:
            made to fill the memory.
    """
    with located(file):
        root = h5o.get_info(file["/"].id).addr
    objects: dict[int, _Object] = {}
    texts: dict[bytes, str] = {}
    groups = [(root, file["/"].id)]
    seen = {root}
    while groups:
        address, group = groups.pop()
        with located(h5py.Group(group)):
            objects[address] = _read_object(group, texts)
            for name, (kind, target) in objects[address].links.items():
                if kind != h5l.TYPE_HARD or target in seen:
                    continue
                seen.add(target)
                found = h5o.open(group, _encoded(name))
                if isinstance(found, h5g.GroupID):
                    groups.append((target, found))
                else:
                    objects[target] = _read_object(found, texts)
    return Tree(file.filename, tuple(_unfold(file, objects, root)))


def natural_order(name: str) -> tuple[Any, ...]:
    """A sort key: numbers inside names by their value, so that layer_10 comes after layer_9."""
    parts = re.split("([0-9]+)", name)
    # Numbers are compared as text of equal length: they may be longer than int() takes.
    numbers = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    return (*(value for pair in zip(parts[::2], [*numbers, (0, "")], strict=True) for value in pair), name)


def type_text(dtype: np.dtype[Any]) -> str:
    """The name of a type as h5py gives it: ``float32``, ``>f4``, ``string[5]``, ``list<int8>``, ``{x: int64[2]}``.

    It is complete: datasets with equal texts hold values of the same type.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return f"{type_text(base)}[{', '.join(map(str, shape))}]"
    if (text := h5py.check_string_dtype(dtype)) is not None:
        return "string" if text.length is None else f"string[{text.length}]"
    if (labels := h5py.check_enum_dtype(dtype)) is not None:
        members = sorted(labels.items(), key=lambda item: (item[1], item[0]))
        return f"enum<{dtype}>{{{', '.join(f'{label}={code}' for label, code in members)}}}"
    if (item := h5py.check_vlen_dtype(dtype)) is not None:
        return f"list<{type_text(np.dtype(item))}>"
    if (reference := h5py.check_ref_dtype(dtype)) is not None:
        return "reference" if reference is h5py.Reference else "region reference"
    return _plain_text(dtype)


def _plain_text(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"{{{', '.join(f'{name}: {type_text(dtype[name])}' for name in dtype.names)}}}"
    return f"opaque[{dtype.itemsize}]" if dtype.kind == "V" else str(dtype)


class _Object(NamedTuple):
    kind: Kind
    n_attributes: int
    links: Mapping[str, tuple[int, Any]] = {}
    """Of a group: kind of link, and the address or the text it leads to."""
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    storage_bytes: int = 0
    foreign: str = ""


def _read_object(identifier: Any, texts: dict[bytes, str]) -> _Object:
    n_attributes = h5a.get_num_attrs(identifier)
    if isinstance(identifier, h5g.GroupID):
        return _Object("group", n_attributes, _read_links(identifier))
    if not isinstance(identifier, h5d.DatasetID):
        return _Object("type", n_attributes, dtype=_stored_type(identifier, texts))
    plist = identifier.get_create_plist()
    virtual = plist.get_layout() == h5d.VIRTUAL
    is_null = identifier.get_space().get_simple_extent_type() == h5s.NULL
    return _Object(
        "dataset",
        n_attributes,
        shape=None if is_null else identifier.shape,
        dtype=_stored_type(identifier.get_type(), texts),
        storage_bytes=0 if virtual else identifier.get_storage_size(),
        foreign="a virtual dataset" if virtual else "external storage" if plist.get_external_count() else "",
    )


def _read_links(identifier: h5g.GroupID) -> dict[str, tuple[int, Any]]:
    links: dict[str, tuple[int, Any]] = {}
    found = links_of(h5py.Group(identifier))
    for name in sorted(found, key=natural_order):
        if name in {"", "."} or "/" in name:  # would be resolved as a path, by way of who knows what
            problem = f"a link is called {name!r}"
            raise FormatError(problem, file=h5py.Group(identifier).file.filename, where=_name(identifier))
        link = found[name]
        target: Any = link.address
        if link.kind == h5l.TYPE_SOFT:
            target = identifier.links.get_val(_encoded(name)).decode("utf-8", "surrogateescape")
        elif link.kind == h5l.TYPE_EXTERNAL:
            target = ":".join(_decoded(part) for part in identifier.links.get_val(_encoded(name)))
        elif not link.is_hard:
            target = f"a user-defined link of class {link.kind}"
        links[name] = (link.kind, target)
    return links


def _stored_type(stored: h5t.TypeID, texts: dict[bytes, str]) -> str:
    """The text of a type; finding h5py's idea of it takes long, and files repeat theirs."""
    key = stored.encode()
    if key not in texts:
        try:
            texts[key] = type_text(stored.dtype)
        except TypeError as error:  # no such thing in numpy, as times of H5T_TIME
            texts[key] = f"unknown ({error})"
    return texts[key]


class _Place(NamedTuple):
    path: str
    kind: int
    target: Any
    groups: tuple[int, ...]
    """Addresses of the groups on the way, the root first."""


def _unfold(file: h5py.File, objects: Mapping[int, _Object], root: int) -> Iterator[Node]:
    pending = [_Place("/", h5l.TYPE_HARD, root, ())]
    n_paths, n_characters = 1, 1
    while pending:
        place = pending.pop()
        path, groups = place.path, place.groups
        if place.kind not in {h5l.TYPE_HARD, h5l.TYPE_SOFT}:
            yield Node(path, "external link", place.target)
            continue
        is_soft = place.kind == h5l.TYPE_SOFT
        address = _follow(objects, groups, place.target) if is_soft else place.target
        if not isinstance(address, int):
            yield Node(path, address[0], address[1])
            continue
        found = objects[address]
        if address in groups:
            yield Node(path, "repeated", _ancestor(path, groups.index(address)), address=address)
            continue
        yield Node(
            path,
            found.kind,
            place.target if is_soft else "",
            found.shape,
            found.dtype,
            found.n_attributes,
            found.storage_bytes,
            found.foreign,
            address,
        )
        if not found.links:
            continue
        prefix = path.rstrip("/")
        inside = (*groups, address)
        n_paths += len(found.links)
        n_characters += sum(len(prefix) + 1 + len(name) for name in found.links)
        if n_paths > _MOST_PATHS or n_characters > _MOST_CHARACTERS or len(inside) > _DEEPEST:
            problem = "too many, too long or too deeply nested paths"
            expected = f"at most {_MOST_PATHS} paths, {_MOST_CHARACTERS} characters, {_DEEPEST} levels deep"
            raise SchemaError(problem, file=file.filename, where=path[:80], expected=expected)
        links = list(found.links.items())[::-1]
        pending += [_Place(f"{prefix}/{name}", kind, target, inside) for name, (kind, target) in links]


def _follow(objects: Mapping[int, _Object], groups: tuple[int, ...], target: str) -> int | tuple[Kind, str]:
    """The address that a soft link inside the last of ``groups`` leads to, or what kind of dead end it is."""
    here = groups[0] if target.startswith("/") else groups[-1]
    names = target.split("/")[::-1]
    soft_links = 0
    while names:
        name = names.pop()
        if name in {"", "."}:
            continue
        if name not in objects[here].links:
            return "dangling link", target
        kind, next_target = objects[here].links[name]
        if kind == h5l.TYPE_HARD:
            here = next_target
            continue
        soft_links += 1
        if kind != h5l.TYPE_SOFT:
            return "external link", f"{target} -> {next_target}"
        if soft_links > _MAX_SOFT_LINKS:
            return "dangling link", target
        names += next_target.split("/")[::-1]
        here = groups[0] if next_target.startswith("/") else here
    return here


def _ancestor(path: str, depth: int) -> str:
    return "/".join(path.split("/")[: depth + 1]) or "/"


def _name(identifier: Any) -> str:
    return path_in_file(h5py.Group(identifier)) if isinstance(identifier, h5g.GroupID) else "?"


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
