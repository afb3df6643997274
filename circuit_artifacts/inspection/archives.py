"""Numpy's ``.npy`` and ``.npz``, and zip archives in general: the directory, and the headers of arrays."""

from __future__ import annotations

import zipfile
from typing import Any

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.archives import doubts, duplicates, is_readable, open_archive, open_member
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.formats.npz import SUFFIX, ArrayHeader, read_header
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.inspection.torch_files import list_torch_archive, pickle_member
from circuit_artifacts.remote import Location

__all__ = ["list_npy", "list_zip"]

_ZIP64_EXTRA = b"\x01\x00"


def list_npy(file: Location, stream: BoundedReader) -> Listing:
    """List the one array of an ``.npy`` file.

    Raises:
        FormatError: truncated, or no such header.
    """
    header = read_header(stream, file=file)
    n_bytes = stream.seek(0, 2)
    if not header.is_pickled and n_bytes < header.n_bytes + header.data_bytes:
        problem = "the array is truncated"
        expected = f"{header.n_bytes + header.data_bytes:,}"
        raise FormatError(problem, file=file, found=f"{n_bytes:,} bytes", expected=expected)
    return Listing("npy", [_array_entry("/", header, n_bytes, _array_notes(header, n_bytes))], {})


def list_zip(file: Location, stream: BoundedReader) -> Listing:
    """List an archive: as torch's if it holds a ``data.pkl``, as npz if it holds an array or is called so, else as zip.

    Raises:
        FormatError: truncated or damaged.
    """
    with open_archive(stream, file=file) as archive:
        if (pickled := pickle_member(archive)) is not None:
            listing = list_torch_archive(archive, pickled, file)
        else:
            is_npz = file.suffix == ".npz" or any(name.endswith(SUFFIX) for name in archive.namelist())
            repeated = duplicates(archive)
            entries = [_member_entry(archive, member, file, repeated) for member in archive.infolist()]
            listing = Listing("npz" if is_npz else "zip", entries, {})
        return listing._replace(facts=_directory_facts(archive) | listing.facts)


def _directory_facts(archive: zipfile.ZipFile) -> dict[str, Any]:
    members = archive.infolist()
    return {
        "members": len(members),
        "declared_bytes": sum(member.file_size for member in members),
        "zip64": any(member.extra.startswith(_ZIP64_EXTRA) for member in members),
    }


def _member_entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Location, repeated: set[str]) -> Entry:
    notes = doubts(member)
    if member.filename in repeated:
        notes.append("one of several members of this name")
    if not member.filename.endswith(SUFFIX) or not is_readable(member):
        kind = "folder" if member.filename.endswith("/") else "member"
        return Entry(member.filename, kind, stored_bytes=member.compress_size, note="; ".join(notes))
    with open_member(archive, member, file=file) as stream:
        header = read_header(stream, file=file, where=member.filename)
    notes += _array_notes(header, member.file_size)
    return _array_entry(member.filename.removesuffix(SUFFIX), header, member.compress_size, notes)


def _array_entry(path: str, header: ArrayHeader, stored_bytes: int, notes: list[str]) -> Entry:
    return Entry(path, "array", str(header.dtype), header.shape, stored_bytes, note="; ".join(notes))


def _array_notes(header: ArrayHeader, n_bytes: int) -> list[str]:
    """What is notable about an array of which ``n_bytes``, header included, are there."""
    if header.is_pickled:
        return ["Python objects: pickled, never loaded"]
    notes = ["Fortran order"] if header.fortran_order else []
    promised = header.n_bytes + header.data_bytes
    return notes if n_bytes == promised else [*notes, f"{n_bytes:,} bytes where its header promises {promised:,}"]
