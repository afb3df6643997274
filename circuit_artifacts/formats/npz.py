"""Numpy's own files, ``.npy`` and ``.npz``: headers without data, and arrays without running a pickle.

An ``.npz`` is a zip archive of ``.npy`` members. Everything that a member will take in memory is known from its header,
so it is checked before anything is inflated.
"""

from __future__ import annotations

import ast
import math
import struct
import zipfile
from collections.abc import Collection
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from circuit_artifacts.errors import FormatError, SchemaError, UnsafeContentError
from circuit_artifacts.formats.archives import duplicates, leads_out, open_archive, open_member, reading
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.remote import Location

__all__ = ["LARGEST", "SUFFIX", "ArrayHeader", "read_header", "read_npz"]

LARGEST = 4 << 30
"""Bytes that the arrays of one file may take together, unless the caller says otherwise."""
SUFFIX = ".npy"
_LONGEST_HEADER = 10_000  # characters, as numpy itself allows: they are parsed as a Python literal
_LENGTH_FIELDS = {(1, 0): ("<H", "latin-1"), (2, 0): ("<I", "latin-1"), (3, 0): ("<I", "utf-8")}


class ArrayHeader(NamedTuple):
    """What the header of an ``.npy`` stream says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    n_bytes: int
    """Of the header itself."""

    @property
    def data_bytes(self) -> int:
        """What the array takes, in the file and in memory; means nothing if it is pickled."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_pickled(self) -> bool:
        """Whether it holds Python objects, which numpy stores as a pickle."""
        return bool(self.dtype.hasobject)


def read_header(stream: IO[bytes], *, file: object, where: object = None) -> ArrayHeader:
    """Read the header at the start of an ``.npy`` stream, and nothing behind it.

    Args:
        stream: at its start.
        file: name for messages.
        where: member for messages.

    Raises:
        FormatError: truncated, or not such a header.
    """
    try:
        return _parsed_header(stream)
    except (ValueError, TypeError, LookupError, SyntaxError, struct.error, MemoryError, RecursionError) as error:
        problem = "not a complete header of an .npy array"
        raise FormatError(problem, file=file, where=where, found=error) from error


def read_npz(
    file: Location, names: Collection[str] | None = None, *, largest: int = LARGEST
) -> dict[str, np.ndarray[Any, Any]]:
    """Read arrays of an ``.npz`` file.

    Args:
        file: the archive.
        names: of the arrays wanted, without ``.npy``; None reads all.
        largest: bytes that these arrays may take in memory together.

    Returns:
        Arrays by name, with the dtype and shape of their header, in the order of the archive.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: an array of Python objects, or a member whose name leads out of the archive.
        FormatError: truncated or damaged, members that are no ``.npy`` arrays or hold more or less than their header
            says, two members of one name, or more than ``largest`` bytes; nothing was inflated by then but headers.
        SchemaError: a name that the file does not have.
    """
    with open_bounded(file, largest=largest) as stream, open_archive(stream, file=file) as archive:
        members = _members(archive, file)
        if absent := set(names or ()) - members.keys():
            problem = "the file has no such array"
            raise SchemaError(problem, file=file, where=", ".join(sorted(absent)), expected=", ".join(members))
        chosen = {name: member for name, member in members.items() if names is None or name in names}
        headers = [_read_member_header(archive, member, file) for member in chosen.values()]
        total = sum(header.data_bytes for header in headers)
        if total > largest:
            problem = "the arrays are larger than allowed"
            expected = f"at most {largest:,}"
            remedy = "If you trust the file, name fewer arrays, or pass a higher largest="
            raise FormatError(problem, file=file, found=f"{total:,} bytes", expected=expected, remedy=remedy)
        return {name: _read_array(archive, member, file) for name, member in chosen.items()}


def _parsed_header(stream: IO[bytes]) -> ArrayHeader:
    length_field, encoding = _LENGTH_FIELDS[npy.read_magic(stream)]
    prefix = stream.read(struct.calcsize(length_field))
    (length,) = struct.unpack(length_field, prefix)
    text = stream.read(min(length, _LONGEST_HEADER))
    if len(text) != length:
        problem = f"it says that it is {length} bytes long, and {len(text)} were read"
        raise ValueError(problem)
    header = ast.literal_eval(text.decode(encoding))
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(type(axis) is int and axis >= 0 for axis in shape):
        problem = f"the shape is {shape!r:.80}"
        raise ValueError(problem)
    n_bytes = npy.MAGIC_LEN + len(prefix) + length
    return ArrayHeader(shape, npy.descr_to_dtype(header["descr"]), bool(header["fortran_order"]), n_bytes)


def _members(archive: zipfile.ZipFile, file: object) -> dict[str, zipfile.ZipInfo]:
    for name in duplicates(archive):
        problem = "two members have this name"
        raise FormatError(problem, file=file, where=name)
    for name in archive.namelist():
        if leads_out(name):
            problem = "the name of a member leads out of the archive"
            raise UnsafeContentError(problem, file=file, where=name)
        if not name.endswith(SUFFIX):
            problem = "a member is not an .npy array"
            raise FormatError(problem, file=file, where=name)
    return {member.filename.removesuffix(SUFFIX): member for member in archive.infolist()}


def _read_member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: object) -> ArrayHeader:
    with open_member(archive, member, file=file) as stream:
        header = read_header(stream, file=file, where=member.filename)
    if header.is_pickled:
        problem = "an array of Python objects is stored as a pickle, which is never executed"
        remedy = "Ask its author for plain arrays."
        raise UnsafeContentError(problem, file=file, where=member.filename, found=header.dtype, remedy=remedy)
    promised = header.n_bytes + header.data_bytes
    if member.file_size != promised:
        problem = "the member is not as long as its header says"
        raise FormatError(
            problem, file=file, where=member.filename, found=f"{member.file_size:,} bytes", expected=f"{promised:,}"
        )
    return header


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: object) -> np.ndarray[Any, Any]:
    with open_member(archive, member, file=file) as stream, reading(file, member.filename):
        array: np.ndarray[Any, Any] = npy.read_array(stream, allow_pickle=False)
        return array
