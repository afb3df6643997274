"""Torch files of the repository: plain containers, numpy arrays and tensors, and nothing that would be run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.sae_locality.files import RepositoryFile

__all__ = ["integer_keys", "load_dictionary", "load_tensor", "number", "number_or_vector", "optional_number", "vector"]

Floats = npt.NDArray[np.float32]
_TRUTH_AND_NUMBERS = "biuf"


def load_dictionary(file: RepositoryFile) -> dict[str, Any]:
    """Load a file that holds one dictionary.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it names anything but numpy arrays, tensors and plain containers (spec 7.1).
        FormatError: truncated, or no torch file.
        SchemaError: it holds something else.
    """
    value = _load(file)
    if not isinstance(value, dict):
        problem = "the file does not hold a dictionary"
        raise SchemaError(problem, file=file.path, found=type(value).__name__, expected="dict")
    return value


def load_tensor(file: RepositoryFile, *, n_dims: int) -> npt.NDArray[Any]:
    """Load a file that holds one tensor (spec 4.3).

    Returns:
        The tensor as an array of the same dtype; float32 for kinds of float that numpy does not have.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it names more than tensors.
        FormatError: truncated, or no torch file.
        SchemaError: it holds something else.
    """
    value = _load(file)
    if not hasattr(value, "detach") or value.dim() != n_dims:
        problem = "the file does not hold such a tensor"
        found = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise SchemaError(problem, file=file.path, found=found, expected=f"a tensor of {n_dims} axes")
    value = value.detach()
    array: npt.NDArray[Any] = (value.float() if value.is_floating_point() else value).numpy()
    return array


def vector(value: Any, *, file: RepositoryFile, where: str) -> Floats:
    """A list or array of numbers as a float32 vector.

    Raises:
        SchemaError: anything else.
    """
    array = _array(value)
    if array is None or array.ndim != 1:
        problem = "not a vector of numbers"
        raise SchemaError(problem, file=file.path, where=where, found=_named(value), expected="one axis of numbers")
    return array.astype(np.float32, copy=False)


def number_or_vector(value: Any, *, file: RepositoryFile, where: str) -> Floats:
    """A number as a float32 array without axes, or numbers as a vector that is not empty.

    Raises:
        SchemaError: anything else.
    """
    array = _array(value)
    if array is None or array.ndim > 1 or not array.size:
        problem = "neither a number nor a vector of numbers"
        raise SchemaError(problem, file=file.path, where=where, found=_named(value), expected="at most one axis")
    return array.astype(np.float32, copy=False)


def number(value: Any, *, file: RepositoryFile, where: str) -> float:
    """A number, be it of Python, of numpy, or an array or tensor without axes.

    Raises:
        SchemaError: anything else.
    """
    array = _array(value)
    if array is None or array.ndim:
        problem = "not a number"
        raise SchemaError(problem, file=file.path, where=where, found=_named(value), expected="one number")
    return float(array)


def optional_number(value: Any, *, file: RepositoryFile, where: str) -> float | None:
    """As :func:`number`; None for None.

    Raises:
        SchemaError: anything else.
    """
    return None if value is None else number(value, file=file, where=where)


def integer_keys(value: Any, *, file: RepositoryFile, where: str) -> dict[int, Any]:
    """A dictionary by integers in ascending order; the JSON twins of these files write them as text.

    Raises:
        SchemaError: not a dictionary, or a key that is no integer.
    """
    try:
        by_number = {int(key): item for key, item in value.items()}
    except (AttributeError, TypeError, ValueError) as error:
        problem = "not a dictionary whose keys are integers"
        raise SchemaError(
            problem, file=file.path, where=where, found=_named(value), expected="dict[int, ...]"
        ) from error
    return {key: by_number[key] for key in sorted(by_number)}


def _load(file: RepositoryFile) -> Any:
    with extras_named():
        from circuit_artifacts.formats import torch_pickle  # imports torch, which listing and converting do without

    return torch_pickle.load_torch(file.path, allowed=torch_pickle.NUMPY_ARRAYS)


def _array(value: Any) -> npt.NDArray[Any] | None:
    """As an array of numbers, if it is one."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor that numpy cannot hold
        return None
    return array if array.dtype.kind in _TRUTH_AND_NUMBERS else None


def _named(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"
