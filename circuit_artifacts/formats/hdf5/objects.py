"""Opening HDF5 files, groups and datasets with located errors, and never leaving the file.

External links, external storage and virtual datasets raise :class:`~circuit_artifacts.errors.UnsafeContentError`. Soft
links are resolved inside the file. The public names are also importable from :mod:`circuit_artifacts.formats.hdf5`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from h5py import h5d, h5l

from circuit_artifacts.errors import (
    CircuitArtifactsError,
    FormatError,
    MissingArtifactError,
    SchemaError,
    SourceError,
    UnsafeContentError,
)
from circuit_artifacts.formats.hdf5.streams import NamedStream
from circuit_artifacts.remote import Location, RemoteFile

__all__ = [
    "Link",
    "child_names",
    "layer_groups",
    "links_of",
    "located",
    "open_dataset",
    "open_group",
    "open_hdf5",
    "open_object",
    "path_in_file",
    "refuse_foreign_storage",
    "schema_error",
]

_MAX_SOFT_LINKS = 16  # as many as the HDF5 library follows for one path
_LIBRARY_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)


class Link(NamedTuple):
    """One entry of a group."""

    kind: int
    """h5py.h5l.TYPE_HARD, TYPE_SOFT, TYPE_EXTERNAL, or the number of a user-defined kind."""
    address: int
    """Of the object header, counted from the superblock; means nothing but for a hard link."""

    @property
    def is_hard(self) -> bool:
        """Whether the link leads straight to an object of the same file."""
        return bool(self.kind == h5l.TYPE_HARD)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str] | RemoteFile) -> Iterator[h5py.File]:
    """Open a file for reading, without a file lock (network file systems often have none).

    The library reads through a Python stream, which costs about 10 microseconds per read, because only that can refuse
    reads from which the library would not come back.

    Args:
        path: the file; one that is not on this machine is read in place, and named by its URL.

    Yields:
        The open file, valid inside the ``with`` block.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not an HDF5 file, or truncated, or damaged where the library looks first.
        SourceError: the file exists but cannot be opened, for example for lack of permission.
    """
    location = path if isinstance(path, RemoteFile) else Path(path)
    with _open_stream(location) as stream:
        start = stream.read(24)
        try:
            file = stream.open_with_library()
        except CircuitArtifactsError:
            raise
        except _LIBRARY_ERRORS as error:
            problem = "not a complete HDF5 file"
            found = f"it starts with {start!r}" if b"HDF" not in start else error
            remedy = "Delete it, and download or make it again"
            raise FormatError(problem, file=location, found=found, remedy=remedy) from error
        # The library would close what is still open when Python is gone already, and with it the stream.
        atexit.register(file.close)
        try:
            with file:
                yield file
        finally:
            atexit.unregister(file.close)


def open_object(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | h5py.Datatype:
    """Open what a path leads to, link by link, so that none leads out of the file.

    Args:
        group: where a relative path starts.
        path: names joined by ``/``; a leading ``/`` starts at the root.

    Raises:
        SchemaError: nothing there, a dangling soft link, or soft links in a circle.
        UnsafeContentError: a link on the way leads out of the file.
        FormatError: the file is damaged there.
    """
    here: Any = group.file["/"] if path.startswith("/") else group
    pending = deque(path.split("/"))
    soft_links = 0
    while pending:
        name = pending.popleft()
        if name in {"", "."}:
            continue
        link = _get_link(here, name) if isinstance(here, h5py.Group) else None
        if link is None:
            found = "a soft link that leads nowhere" if soft_links else "nothing"
            raise schema_error(group, path, "a declared object is missing", found=found)
        if isinstance(link, h5py.SoftLink):
            soft_links += 1
            if soft_links > _MAX_SOFT_LINKS:
                raise schema_error(group, path, "soft links run in a circle")
            pending.extendleft(reversed(link.path.split("/")))
            here = here.file["/"] if link.path.startswith("/") else here
        else:
            with located(group, path):
                here = here[_encoded(name)]
    return here


def open_group(group: h5py.Group, path: str) -> h5py.Group:
    """Open a group as :func:`open_object` does; SchemaError if something else is there."""
    found = open_object(group, path)
    if not isinstance(found, h5py.Group):
        raise schema_error(group, path, "not a group", found=type(found).__name__, expected="Group")
    return found


def open_dataset(group: h5py.Group, path: str) -> h5py.Dataset:
    """Open a dataset as :func:`open_object` does, and refuse data kept outside the file.

    Raises:
        SchemaError: something else is there.
        UnsafeContentError: external storage or a virtual dataset.
    """
    found = open_object(group, path)
    if not isinstance(found, h5py.Dataset):
        raise schema_error(group, path, "not a dataset", found=type(found).__name__, expected="Dataset")
    refuse_foreign_storage(found)
    return found


def refuse_foreign_storage(dataset: h5py.Dataset) -> None:
    """Raise UnsafeContentError if the data of a dataset are in other files (external storage, virtual datasets)."""
    with located(dataset):
        plist = dataset.id.get_create_plist()
        virtual = plist.get_layout() == h5d.VIRTUAL
        if not virtual and not plist.get_external_count():
            return
    problem, found = "the data are outside this file", "a virtual dataset" if virtual else "external storage"
    raise UnsafeContentError(problem, file=dataset.file.filename, where=path_in_file(dataset), found=found)


def child_names(group: h5py.Group) -> list[str]:
    """List what is in a group, in ASCII order.

    Raises:
        UnsafeContentError: one of the links leads out of the file.
        SchemaError: one of the soft links is dangling.
        FormatError: the file is damaged there.
    """
    links = links_of(group)
    for name, link in links.items():
        if not link.is_hard:
            open_object(group, name)
    return sorted(links)


def layer_groups(group: h5py.Group, prefix: str = "layer_") -> dict[int, h5py.Group]:
    """Open the groups ``<prefix>0``, ``<prefix>1``, ... in numeric order: layer 10 after layer 9.

    Raises:
        SchemaError: a child of another name (``layer_01`` included), or one that is no group.
        UnsafeContentError: a link that leads out of the file.
    """
    groups = {}
    for name in child_names(group):
        match = re.fullmatch(re.escape(prefix) + "(0|[1-9][0-9]*)", name)
        if match is None:
            raise schema_error(group, name, "not the name of a layer", found=name, expected=f"{prefix}<number>")
        groups[int(match[1])] = open_group(group, name)
    return dict(sorted(groups.items()))


def links_of(group: h5py.Group) -> dict[str, Link]:
    """List the links of a group by name, without opening what they lead to."""
    links: dict[str, Link] = {}

    def visit(name: bytes, info: h5l.LinkInfo) -> None:
        links[name.decode("utf-8", "surrogateescape")] = Link(info.type, info.u)

    with located(group):
        group.id.links.iterate(visit, info=True)
    return links


@contextlib.contextmanager
def located(owner: h5py.Group | h5py.Dataset, path: str = "") -> Iterator[None]:
    """Turn what the HDF5 library raises into a FormatError, and let every error say where: ``path`` below ``owner``."""
    try:
        yield
    except CircuitArtifactsError as error:
        error.file, error.where = error.file or owner.file.filename, error.where or path_in_file(owner, path)
        raise
    except _LIBRARY_ERRORS as error:
        problem = "the HDF5 library cannot read this"
        where = path_in_file(owner, path)
        remedy = "Download or make the file again; if a compression filter is missing, import hdf5plugin first"
        raise FormatError(problem, file=owner.file.filename, where=where, found=error, remedy=remedy) from error


def path_in_file(owner: h5py.Group | h5py.Dataset | h5py.Datatype, path: str = "") -> str:
    r"""Give the absolute path of what is ``path`` below ``owner``, with bytes that are not UTF-8 as ``\xff``."""
    if not path.startswith("/"):
        # An identifier that the library lost while failing has no name; one that is not UTF-8 comes as bytes.
        name = owner.name or "?"
        parent = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        path = f"{parent.rstrip('/')}/{path}".rstrip("/") or "/"
    return _encoded(path).decode("utf-8", "backslashreplace")


def schema_error(
    owner: h5py.Group | h5py.Dataset, path: str, problem: str, *, found: object = None, expected: object = None
) -> SchemaError:
    """Make a SchemaError about what is ``path`` below ``owner``."""
    where = path_in_file(owner, path)
    return SchemaError(problem, file=owner.file.filename, where=where, found=found, expected=expected)


def _get_link(group: h5py.Group, name: str) -> h5py.HardLink | h5py.SoftLink | None:
    """Give the link of that name, None if there is none; UnsafeContentError if it leads out of the file."""
    links, encoded = group.id.links, _encoded(name)
    with located(group, name):
        if not links.exists(encoded):
            return None
        kind = links.get_info(encoded).type
        if kind == h5l.TYPE_HARD:
            return h5py.HardLink()
        if kind == h5l.TYPE_SOFT:
            return h5py.SoftLink(links.get_val(encoded).decode("utf-8", "surrogateescape"))
        found = "a user-defined link"
        if kind == h5l.TYPE_EXTERNAL:
            found = f"an external link to {os.fsdecode(links.get_val(encoded)[0])!r}"
    problem = "a link leads out of this file"
    raise UnsafeContentError(problem, file=group.file.filename, where=path_in_file(group, name), found=found)


def _encoded(name: str) -> bytes:
    """Give a name as the file has it, also where that is not UTF-8 and :func:`links_of` has put surrogates."""
    return name.encode("utf-8", "surrogateescape")


def _open_stream(location: Location) -> NamedStream:
    try:
        return NamedStream(location.open("rb"), str(location))
    except CircuitArtifactsError:
        raise
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=location) from error
    except OSError as error:
        problem = "the file cannot be opened"
        raise SourceError(problem, file=location, found=error.strerror or error) from error
