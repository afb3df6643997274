"""The last look at what was loaded from a file that may lie: what it is made of, and how much of it there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_artifacts.errors import FormatError, UnsafeContentError

__all__ = ["check_values"]

_DEEPEST = 64
_KINDS = "fiub"
_CONTAINERS = (dict, list, tuple, set, frozenset)
_PLAIN = (str, bytes, bytearray, int, float, complex, type(None))


@dataclass
class _Open:
    """A container that is being walked."""

    value: Any
    parts: Iterator[Any]
    entries: int = 1


def check_values(
    value: object, *, others: tuple[type, ...] = (), most_entries: int, longest: int, file: object
) -> None:
    """Walk nested containers, each once, and refuse what a reader of them cannot be handed.

    Args:
        value: containers, plain values, numpy arrays and scalars.
        others: further types that may occur.
        most_entries: values that may be met by following every path from the outermost container. A list that holds
            the same list twice, and so on forty times, is small in memory, and endless to whoever reads it.
        longest: numbers that one numpy array may hold.
        file: name for messages.

    Raises:
        UnsafeContentError: an array of Python objects, or an object that is none of these.
        FormatError: another byte order, too long, too many entries, containers that contain themselves or are more
            than 64 levels deep.
    """
    known: dict[int, int] = {}
    """Entries of the containers that were walked, by their identity."""
    path = [_Open(None, iter([value]), entries=0)]
    on_path: set[int] = set()
    while path:
        current = path[-1]
        for part in current.parts:
            if not isinstance(part, _CONTAINERS):
                _check_leaf(part, others, longest, file)
                current.entries += 1
            elif id(part) in known:
                current.entries += known[id(part)]
            else:
                _check_place(part, on_path, file)
                on_path.add(id(part))
                path.append(_Open(part, _parts(part)))
                break
        else:
            path.pop()
            on_path.discard(id(current.value))
            known[id(current.value)] = current.entries
            if path:
                path[-1].entries += current.entries
        if current.entries > most_entries:
            problem = "the file has more entries than allowed"
            remedy = "If you trust the file, pass limits= with more entries."
            raise FormatError(problem, file=file, expected=f"at most {most_entries:,}", remedy=remedy)


def _parts(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        yield from container.keys()
        yield from container.values()
        yield from getattr(container, "__dict__", {}).values()  # where a state dict notes its version
    else:
        yield from container


def _check_place(container: object, on_path: set[int], file: object) -> None:
    if id(container) in on_path:
        problem = f"a {type(container).__name__} contains itself"
        raise FormatError(problem, file=file)
    if len(on_path) == _DEEPEST:
        problem = f"containers are nested more than {_DEEPEST} levels deep"
        raise FormatError(problem, file=file)


def _check_leaf(value: object, others: tuple[type, ...], longest: int, file: object) -> None:
    if isinstance(value, np.ndarray | np.generic):
        _check_array(value, longest, file)
    elif not isinstance(value, (*_PLAIN, *others)):
        problem = "the file holds an object that is neither a number nor text nor an array"
        raise UnsafeContentError(problem, file=file, found=type(value).__qualname__)


def _check_array(array: np.ndarray[Any, Any] | np.generic, longest: int, file: object) -> None:
    if array.dtype.kind not in _KINDS:
        problem = "an array is not of numbers"
        expected = "floats, integers or booleans"
        raise UnsafeContentError(problem, file=file, found=array.dtype, expected=expected)
    if not array.dtype.isnative:
        problem = "an array has another byte order than this machine"
        raise FormatError(problem, file=file, found=array.dtype)
    if array.size > longest:
        problem = "an array holds more numbers than allowed"
        remedy = "If you trust the file, pass limits= with a larger longest_array."
        raise FormatError(problem, file=file, found=f"{array.size:,}", expected=f"at most {longest:,}", remedy=remedy)
