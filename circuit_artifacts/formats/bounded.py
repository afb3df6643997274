"""Streams that hand out bounded pieces, for formats in which a file says how much to read at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from circuit_artifacts.errors import FormatError, MissingArtifactError, SourceError
from circuit_artifacts.remote import Location

__all__ = ["BoundedReader", "open_bounded"]


class BoundedReader(io.BufferedReader):
    """A stream over another that allocates no more than a limit per read, whatever a length field says.

    Args:
        stream: the bytes.
        file: what they are from, for the message.
        largest: bytes of one read; may be changed.
    """

    def __init__(self, stream: IO[bytes], *, file: object, largest: int) -> None:
        raw: Any = stream  # a buffered reader will do, although the annotation of io asks for a raw one
        super().__init__(raw)
        self._file = file
        self.largest = largest

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``size`` bytes; everything if negative; FormatError if that is more than the limit."""
        return self._checked(super().read(self._allowed(size)))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line as :meth:`read` does."""
        return self._checked(super().readline(self._allowed(size)))

    def _allowed(self, size: int | None) -> int:
        # One byte more than the limit tells a file that is too large from one that is shorter than it says.
        return self.largest + 1 if size is None or not 0 <= size <= self.largest else size

    def _checked(self, data: bytes) -> bytes:
        if len(data) > self.largest:
            problem = "one piece of the file is too large to be read at once"
            raise FormatError(problem, file=self._file, expected=f"at most {self.largest:,} bytes")
        return data


@contextmanager
def open_bounded(file: Location, *, largest: int) -> Iterator[BoundedReader]:
    """Open a file for reads of at most ``largest`` bytes each.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be opened, for example for lack of permission.
    """
    try:
        stream = file.open("rb")
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=file) from error
    except OSError as error:
        problem = "the file cannot be opened"
        raise SourceError(problem, file=file, found=error.strerror or error) from error
    with BoundedReader(stream, file=file, largest=largest) as bounded:
        yield bounded
