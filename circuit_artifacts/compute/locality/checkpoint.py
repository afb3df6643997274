"""Arrays of half-done work on disk: they appear whole, and damage is noticed, so that it cannot end in the results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.errors import FormatError, MissingArtifactError
from circuit_artifacts.formats.npz import read_npz

__all__ = ["load_arrays", "save_arrays", "work_digest"]

Arrays = Mapping[str, npt.NDArray[Any]]


def work_digest(arrays: Arrays, *facts: object) -> str:
    """A name for a piece of work, for its checkpoint: equal only if everything that it depends on is equal.

    Args:
        arrays: what it reads.
        facts: everything else, as objects whose `repr` tells them apart.
    """
    state = hashlib.sha256(repr((facts, [(name, a.shape, str(a.dtype)) for name, a in arrays.items()])).encode())
    for array in arrays.values():
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:32]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays as an ``.npz`` file, whose members carry checksums."""
    named: dict[str, Any] = dict(arrays)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:  # given a name, numpy would add a suffix
        np.savez(stream, **named)


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Arrays that :func:`save_arrays` wrote; None if there are none, or they are damaged."""
    try:
        return read_npz(path)
    except (MissingArtifactError, FormatError):
        return None
