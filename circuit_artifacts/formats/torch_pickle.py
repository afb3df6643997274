"""Torch's own file format (``.pt``): the one place of the package where ``torch.load`` is called.

Only plain containers, tensors and the globals that a caller allows by name are ever built; nothing in a file is run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from circuit_artifacts.errors import FormatError, MissingArtifactError, UnsafeContentError
from circuit_artifacts.formats.pickle_opcodes import read_pickle

__all__ = ["AllowedGlobal", "load_torch"]

AllowedGlobal = Any
"""A class or function, or a pair of it and the dotted name that the file knows it by."""


def load_torch(path: Path, *, allowed: Sequence[AllowedGlobal] = ()) -> Any:
    """Load a torch file onto the CPU without running anything in it.

    Zip files are memory-mapped, so that tensors which are never used are never read. Which objects may occur beyond
    torch's own list of tensors and plain containers is the caller's decision (sae-locality spec 7.1, for example).

    Args:
        path: a file written by ``torch.save``, zip or legacy form.
        allowed: further globals that the file may name.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: the file names globals that are not allowed; they are listed.
        FormatError: the file is truncated, or no torch file.
    """
    if not path.is_file():
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=path)
    is_zip = zipfile.is_zipfile(path)
    with torch.serialization.safe_globals(list(allowed)):
        try:
            unsafe = _unsafe_globals(path, is_zip=is_zip)
        except Exception as error:  # the scanners raise whatever broken bytes lead them to
            problem = "the file is truncated or not a torch file"
            raise FormatError(problem, file=path, found=_first_line(error)) from error
        if unsafe:
            problem = "the file names objects that reading it would have to build or call"
            raise UnsafeContentError(
                problem,
                file=path,
                found=", ".join(sorted(unsafe)),
                expected="tensors and plain containers",
                remedy="Ask its author for safetensors; nothing in it was run.",
            )
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)  # noqa: TID251 (the call site)
        except Exception as error:
            problem = "torch refused the file"
            kind = UnsafeContentError if "weights_only" in str(error).lower() else FormatError
            raise kind(problem, file=path, found=_first_line(error)) from error


def _unsafe_globals(path: Path, *, is_zip: bool) -> set[str]:
    if is_zip:
        return set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    # Torch's own scan reads zip files only. A legacy file is a row of pickles; their opcodes are listed, never run.
    allowed = {_dotted_name(item) for item in torch.serialization.get_safe_globals()}
    with path.open("rb") as file:
        named = _legacy_globals(file)
    # What torch's unpickler itself lets through is left to it; this scan is for the message.
    return {name for name in named if name.split(".")[0] not in {"torch", "collections", "_codecs"}} - allowed


def _dotted_name(item: AllowedGlobal) -> str:
    return str(item[1]) if isinstance(item, tuple) else f"{item.__module__}.{item.__qualname__}"


def _legacy_globals(file: BinaryIO) -> set[str]:
    names: set[str] = set()
    for _ in range(5):  # magic number, protocol, system facts, the object, the storage keys
        pickle = read_pickle(file)
        names.update(pickle.globals)
        if not pickle.complete:
            break
    return names


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
