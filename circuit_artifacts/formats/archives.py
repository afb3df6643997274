"""Zip archives, which ``.npz`` and ``.pt`` files are: a bounded directory, and what is doubtful about each member."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO

from circuit_artifacts.errors import CircuitArtifactsError, FormatError
from circuit_artifacts.formats.bounded import BoundedReader

__all__ = ["doubts", "duplicates", "is_readable", "leads_out", "open_archive", "open_member", "reading"]

_LARGEST_DIRECTORY = 16 << 20  # bytes; some 200,000 members
_LARGEST_PIECE = 128 << 20  # bytes; read_npz asks for 256 KiB, a pickle for as much as its longest text
_ENCRYPTED = 1  # flag bit
_EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""Methods that are read, and how far each can expand: deflate makes at most 258 bytes of two bits."""
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,  # encrypted
    NotImplementedError,  # of another zip version
    OverflowError,
    MemoryError,
)


@contextmanager
def reading(file: object, where: object = None) -> Iterator[None]:
    """Turn whatever broken bytes make the zip and zlib modules raise into a FormatError that says where."""
    try:
        yield
    except CircuitArtifactsError:
        raise
    except _BROKEN as error:
        problem = "the archive is truncated or damaged"
        remedy = "Download or make the file again."
        raise FormatError(problem, file=file, where=where, found=error, remedy=remedy) from error


@contextmanager
def open_archive(stream: IO[bytes], *, file: object) -> Iterator[zipfile.ZipFile]:
    """Read the directory of an archive, and nothing else.

    Args:
        stream: the archive; it stays open.
        file: its name, for messages.

    Yields:
        The archive; its members are opened with :func:`open_member`.

    Raises:
        FormatError: truncated or damaged, or a directory of more than 16 MiB.
    """
    bounded = BoundedReader(stream, file=file, largest=_LARGEST_DIRECTORY)
    try:
        with reading(file):
            archive = zipfile.ZipFile(bounded)
        bounded.largest = _LARGEST_PIECE
        with archive:
            yield archive
    finally:
        bounded.detach()  # or it would close the stream with itself


@contextmanager
def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, file: object) -> Iterator[IO[bytes]]:
    """Open a member for reading by pieces; it never gives more bytes than the directory declares.

    Raises:
        FormatError: the member is not readable, or found to be damaged, here or inside the block.
    """
    if not is_readable(member):
        problem = "the member cannot be read"
        raise FormatError(problem, file=file, where=member.filename, found=", ".join(doubts(member)))
    with reading(file, member.filename), archive.open(member) as stream:
        yield stream


def is_readable(member: zipfile.ZipInfo) -> bool:
    """Whether a member can be read safely: not encrypted, and compressed in no way that grows without bounds."""
    return not member.flag_bits & _ENCRYPTED and member.compress_type in _EXPANSION


def doubts(member: zipfile.ZipInfo) -> list[str]:
    """What is wrong with a member as far as the directory tells, in words; empty for an ordinary one."""
    most = member.compress_size * _EXPANSION.get(member.compress_type, 0)
    checks = {
        "its name leads out of the archive": leads_out(member.filename),
        "encrypted": bool(member.flag_bits & _ENCRYPTED),
        f"compressed by method {member.compress_type}, which is not read": member.compress_type not in _EXPANSION,
        f"declares {member.file_size:,} bytes, more than {member.compress_size:,} can expand to": (
            is_readable(member) and member.file_size > most
        ),
    }
    return [text for text, applies in checks.items() if applies]


def duplicates(archive: zipfile.ZipFile) -> set[str]:
    """Names that more than one member has."""
    return {name for name, times in Counter(archive.namelist()).items() if times > 1}


def leads_out(name: str) -> bool:
    """Whether a path would, joined to a folder, lead out of it, on this system or another."""
    return any(
        kind(name).is_absolute() or kind(name).drive or ".." in kind(name).parts
        for kind in (PurePosixPath, PureWindowsPath)
    )
