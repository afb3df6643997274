"""Torch's own file format (``.pt``): the one place of the package where ``torch.load`` is called.

Three looks at a file, each of which would do alone against code that it brings: its opcodes, before anything is made
(`torch_calls`); torch's own ``weights_only`` loading; and a walk through what came out (`loaded_values`). The first and
the last are also there for what torch does not look at: how much memory and time the file takes.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from circuit_artifacts.errors import FormatError, UnsafeContentError
from circuit_artifacts.formats.archives import doubts, leads_out, open_archive, open_member
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.formats.loaded_values import check_values
from circuit_artifacts.formats.pickle_opcodes import Pickle, read_pickle
from circuit_artifacts.formats.torch_calls import LEGACY_START, STORAGE_HEADER_BYTES, Storage, check_pickle

__all__ = ["LIMITS", "NUMPY_ARRAYS", "AllowedGlobal", "Limits", "load_torch"]

AllowedGlobal = Any
"""A class or function, or a pair of it and the dotted name that the file knows it by."""

_RECONSTRUCT, _SCALAR = np.empty(0).__reduce__()[0], np.float32().__reduce__()[0]
NUMPY_ARRAYS: tuple[AllowedGlobal, ...] = (
    np.ndarray,
    np.dtype,
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    np.dtypes.Int32DType,
    np.dtypes.BoolDType,
)
"""What arrays and scalars of numpy are made of, as numpy 1 and numpy 2 name it in a file (sae-locality spec 7.1).

Whichever of them is installed reads both. Types of objects and of text are not among them.
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a torch file may ask for. The published files stay far below; pass larger ones for a file you trust.

    Attributes:
        file_bytes: of the file. Tensors are mapped, not read, so this is only what a disk may be filled with; the
            largest published model weights take some 2 GB.
        pickle_bytes: of the pickle in it, which is held in memory: 26 MB in the largest file of arrays that is known.
        entries: values in it, and opcodes to make them. Each may take some hundred bytes. The longest sweep over
            context lengths has a few million numbers in plain lists.
        longest_array: numbers in one numpy array. The longest context length that was swept is 2,048.
    """

    file_bytes: int = 64 << 30
    pickle_bytes: int = 128 << 20
    entries: int = 16_000_000
    longest_array: int = 1 << 20


LIMITS = Limits()
_ZIP_START = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_LARGEST_NOTE = 4096
"""Bytes of a member that is neither the pickle nor numbers: a version, a byte order, an id."""
_ALLOWING = threading.RLock()
"""Torch keeps what is allowed in one place for all threads."""


def load_torch(path: Path, *, allowed: Sequence[AllowedGlobal] = (), limits: Limits = LIMITS) -> Any:
    """Load a torch file onto the CPU without running anything in it.

    Zip files are memory-mapped, so that tensors which are never used are never read. Which objects may occur beyond
    tensors and plain containers is the caller's decision; `NUMPY_ARRAYS` is the only further kind that can be made.

    Args:
        path: a file written by ``torch.save``, zip or legacy form.
        allowed: further globals that the file may name.
        limits: what it may take.

    Returns:
        Tensors, numpy arrays and scalars of native numbers, plain values, and containers of these, none of which
        contains itself.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be opened.
        UnsafeContentError: the file names globals that are not allowed (they are listed), calls one in a way that no
            writer does, refers to what is outside of it, or holds an array of objects.
        FormatError: the file is truncated, has bytes that belong to nothing, exceeds a limit, or is no torch file.
    """
    with open_bounded(path, largest=limits.file_bytes) as stream:
        _check_limit(_n_bytes(stream), limits.file_bytes, "file_bytes", path)
        is_zip = stream.read(len(_ZIP_START)) == _ZIP_START
        check = _check_archive if is_zip else _check_legacy
        check(stream, path, {_dotted_name(item) for item in allowed}, limits)
    value = _load(path, allowed, is_zip=is_zip)
    kinds = (torch.Tensor, torch.dtype, torch.device)
    check_values(value, others=kinds, most_entries=limits.entries, longest=limits.longest_array, file=path)
    return value


def _load(path: Path, allowed: Sequence[AllowedGlobal], *, is_zip: bool) -> Any:
    with _ALLOWING:
        before = torch.serialization.get_safe_globals()
        # What the program has allowed for itself is left out here, or it would be forbidden afterwards.
        with torch.serialization.safe_globals([item for item in allowed if item not in before]):
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)  # noqa: TID251 (the call site)
            except Exception as error:  # broken bytes make it raise anything
                problem = "torch refused the file"
                kind = UnsafeContentError if "weights_only" in str(error).lower() else FormatError
                raise kind(problem, file=path, found=_first_line(error)) from error


def _n_bytes(stream: IO[bytes]) -> int:
    """Of the whole stream, which is left at its start."""
    n_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return n_bytes


def _check_archive(stream: IO[bytes], path: Path, names: Collection[str], limits: Limits) -> None:
    """Refuse a zip archive that is not as torch writes them, before torch opens it with a reader of its own."""
    stream.seek(max(_n_bytes(stream) - _ZIP_END_BYTES, 0))
    end = stream.read(_ZIP_END_BYTES)
    with open_archive(stream, file=path) as archive:
        _check_end(end, archive, path)
        members = _members(archive, path)
        folder, member = _pickle_member(members, path)
        _check_limit(member.file_size, limits.pickle_bytes, "pickle_bytes", path, member.filename)
        with open_member(archive, member, file=path) as opened:
            data = b"".join(iter(lambda: opened.read(1 << 20), b""))
        storages = _check_pickle(io.BytesIO(data), names, limits, path)[1]
    _check_members(members, folder, storages, path)


def _check_end(end: bytes, archive: zipfile.ZipFile, path: Path) -> None:
    """Torch and Python search an archive's directory in different ways; they agree on one that ends the file."""
    directory = int.from_bytes(end[16:20], "little")
    if not end.startswith(_ZIP_END) or end[20:] != bytes(2) or directory not in (archive.start_dir, 0xFFFFFFFF):
        problem = "there are bytes before or behind the archive that do not belong to it"
        raise FormatError(problem, file=path)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """By name; all in one folder, and different also to torch, which does not tell upper from lower case."""
    members = {member.filename: member for member in archive.infolist()}
    for name, member in members.items():
        if leads_out(name):
            problem = "the name of a member leads out of the archive"
            raise UnsafeContentError(problem, file=path, where=name)
        if doubtful := doubts(member):
            problem = "a member cannot be read"
            raise FormatError(problem, file=path, where=name, found=", ".join(doubtful))
    if len({name.lower() for name in members}) < len(archive.infolist()):
        problem = "two members have the same name"
        raise FormatError(problem, file=path)
    if len({name.partition("/")[0] for name in members}) != 1:
        problem = "not a torch file: its members are not in one folder"
        raise FormatError(problem, file=path)
    return members


def _pickle_member(members: dict[str, zipfile.ZipInfo], path: Path) -> tuple[str, zipfile.ZipInfo]:
    """The folder, and the pickle in it."""
    folder = next(iter(members)).partition("/")[0]
    if member := members.get(f"{folder}/data.pkl"):
        return folder, member
    problem = "not a torch file: the archive has no pickle"
    raise FormatError(problem, file=path, expected=f"{folder}/data.pkl")


def _check_members(members: dict[str, zipfile.ZipInfo], folder: str, storages: dict[str, Storage], path: Path) -> None:
    """Refuse storages that are not there as they are in memory, and whatever else torch might read at once."""
    n_bytes = {f"{folder}/data/{key}": storage.n_bytes for key, storage in storages.items()}
    if absent := sorted(n_bytes.keys() - members.keys()):
        problem = "the numbers of a tensor are not in the file"
        raise FormatError(problem, file=path, where=absent[0])
    for name, member in members.items():
        if name == f"{folder}/data.pkl":
            continue
        expected = n_bytes.get(name, min(member.file_size, _LARGEST_NOTE))
        if member.compress_type != zipfile.ZIP_STORED or not member.compress_size == member.file_size == expected:
            problem = "a member is compressed, or not as long as what it is for"
            raise FormatError(
                problem, file=path, where=name, found=f"{member.file_size:,} bytes", expected=f"{expected:,}, stored"
            )


def _check_legacy(stream: IO[bytes], path: Path, names: Collection[str], limits: Limits) -> None:
    """Refuse a file of the form before torch 1.6 that is not five pickles, and behind them the numbers of tensors."""
    n_bytes = _n_bytes(stream)
    pickles = io.BytesIO(stream.read(min(n_bytes, limits.pickle_bytes)))
    if pickles.read(len(LEGACY_START)) != LEGACY_START:
        problem = "truncated, or not a torch file"
        raise FormatError(problem, file=path, found=f"{n_bytes:,} bytes")
    for _ in range(2):  # the protocol, and facts about the system
        _check_pickle(pickles, names, limits, path)
    storages = _check_pickle(pickles, names, limits, path)[1]
    keys = _check_pickle(pickles, names, limits, path)[0].value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        problem = "the numbers in the file are not those of its tensors"
        raise FormatError(problem, file=path)
    expected = pickles.tell() + sum(STORAGE_HEADER_BYTES + storage.n_bytes for storage in storages.values())
    if n_bytes != expected:
        problem = "the file is truncated, or has bytes at its end that belong to nothing"
        raise FormatError(problem, file=path, found=f"{n_bytes:,} bytes", expected=f"{expected:,}")


def _check_pickle(
    stream: IO[bytes], names: Collection[str], limits: Limits, path: Path
) -> tuple[Pickle, dict[str, Storage]]:
    """The next pickle of a stream, and the storages that it names."""
    pickle = read_pickle(stream, most_opcodes=limits.entries, file=path)
    if not pickle.complete:
        _check_limit(limits.entries + 1, limits.entries, "entries", path)
    return pickle, check_pickle(pickle, allowed=names, longest=limits.longest_array, file=path)


def _check_limit(found: int, most: int, limit: str, path: Path, where: str | None = None) -> None:
    if found > most:
        problem = "the file asks for more than is allowed"
        remedy = f"If you trust the file, pass limits=Limits({limit}=...)."
        expected = f"at most {most:,}"
        raise FormatError(problem, file=path, where=where, found=f"{found:,} {limit}", expected=expected, remedy=remedy)


def _dotted_name(item: AllowedGlobal) -> str:
    return str(item[1]) if isinstance(item, tuple) else f"{item.__module__}.{item.__qualname__}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
