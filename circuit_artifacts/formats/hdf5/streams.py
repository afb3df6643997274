"""Python streams under the HDF5 library: for files that are not on this machine, and to limit what is read at once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, BinaryIO

from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SourceError

__all__ = ["NamedStream", "largest_read"]

_largest: ContextVar[int | None] = ContextVar("largest", default=None)


@contextlib.contextmanager
def largest_read(n_bytes: int) -> Iterator[None]:
    """Inside the block, a :class:`NamedStream` refuses to read more than this in one piece."""
    token = _largest.set(n_bytes)
    try:
        yield
    finally:
        _largest.reset(token)


class NamedStream(io.RawIOBase):
    """A stream that is known to h5py, and so in messages, by the name of its file.

    Args:
        stream: seekable; closed together with this one.
        name: a path or URL.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def __repr__(self) -> str:
        return self._name  # h5py takes it for the name of the file

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As for any stream."""
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer.

        Raises:
            FormatError: it is larger than :func:`largest_read` allows.
            SourceError: the bytes cannot be had.
        """
        size, largest = len(buffer), _largest.get()
        if largest is not None and size > largest:
            problem = "too large to be read in one piece"
            raise FormatError(problem, file=self._name, found=f"{size} bytes", expected=f"at most {largest}")
        try:
            content = self._stream.read(size)
        except CircuitArtifactsError:
            raise
        except Exception as error:
            problem, found = "the file cannot be read", str(error) or type(error).__name__
            raise SourceError(problem, file=self._name, found=found, remedy="Try again") from error
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the stream beneath, too."""
        self._stream.close()
        super().close()
