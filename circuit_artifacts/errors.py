"""Every error the package raises on purpose, as one tree.

::

    CircuitArtifactsError
    ├── UnknownNameError      (LookupError)        no such mirror, config, split, site
    ├── SourceError           (OSError)            a file could not be obtained
    │   └── MissingArtifactError (FileNotFoundError)
    ├── FormatError           (ValueError)         bytes that are not what their format promises
    │   └── UnsafeContentError                     content that would run code or leave the file
    ├── SchemaError           (ValueError)         readable, but not what the schema declares
    ├── ModelError            (ValueError)         a model or tokenizer that cannot be used as asked
    └── MissingExtraError     (ImportError)        an optional dependency is not installed

Each inherits a built-in, so that ``except FileNotFoundError`` keeps working in code that never heard of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "CircuitArtifactsError",
    "FormatError",
    "MissingArtifactError",
    "MissingExtraError",
    "ModelError",
    "SchemaError",
    "SourceError",
    "UnknownNameError",
    "UnsafeContentError",
    "located",
]


class CircuitArtifactsError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: one sentence that says what is wrong.
        file: the file it is in.
        where: the place inside the file (an HDF5 path, a column, a row).
        found: what is there.
        expected: what should be there.
        remedy: what to do next, as an imperative sentence or a command.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        where: object = None,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else str(file)
        self.where = None if where is None else str(where)
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.remedy = remedy

    def __str__(self) -> str:
        place = ":".join(part for part in (self.file, self.where) if part)
        text = f"{place}: {self.problem}" if place else self.problem
        text += self.contrast
        return f"{text}. {self.remedy}" if self.remedy else text

    @property
    def contrast(self) -> str:
        """What was found and what was expected, in brackets; empty if neither is known."""
        parts = [f"{label} {value}" for label in ("found", "expected") if (value := getattr(self, label))]
        return f" ({', '.join(parts)})" if parts else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (DataLoader workers, num_proc); keyword arguments must survive the trip.
        return _rebuild, (type(self), self.problem, self.__dict__)


def _rebuild(cls: type[CircuitArtifactsError], problem: str, state: dict[str, Any]) -> CircuitArtifactsError:
    error = cls(problem)
    error.__dict__.update(state)
    return error


class UnknownNameError(CircuitArtifactsError, LookupError):
    """A mirror, config, split, layer or site that does not exist."""


class SourceError(CircuitArtifactsError, OSError):
    """A file could not be obtained from any source."""


class MissingArtifactError(SourceError, FileNotFoundError):
    """A file is at none of the places where it could be."""


class FormatError(CircuitArtifactsError, ValueError):
    """Bytes that are not what their format promises: truncated, corrupt, of another format."""


class UnsafeContentError(FormatError):
    """Content that would run code, or reach outside its file, when read."""


class SchemaError(CircuitArtifactsError, ValueError):
    """Readable content that is not what the schema declares."""


class ModelError(CircuitArtifactsError, ValueError):
    """A model, tokenizer or autoencoder that cannot be used as asked."""


class MissingExtraError(CircuitArtifactsError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


@contextmanager
def located(file: object) -> Iterator[None]:
    """Name the file in errors from code that works on arrays and does not know where they came from."""
    try:
        yield
    except CircuitArtifactsError as error:
        error.file = error.file or str(file)
        raise
