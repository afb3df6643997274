"""The Python streams through which the HDF5 library reads: files of any place, and never what would fill the memory.

A stream sees every read of the library, and so can refuse what the library itself would not survive.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import h5py
from h5py import h5o

from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SourceError
from circuit_artifacts.formats.hdf5.heaps import START, is_endless

__all__ = ["NamedStream", "file_number", "largest_read", "stream_of"]

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
    """A stream that says in its errors which file it is of.

    Args:
        stream: seekable; closed together with this one.
        name: a path or URL.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._length_bytes = 8  # unless `open_with_library` finds another number

    def open_with_library(self) -> h5py.File:
        """Open the file with the HDF5 library, which then reads through this stream."""
        file = h5py.File(self._name, "r", driver="fileobj", fileobj=self)
        _, self._length_bytes = file.id.get_create_plist().get_sizes()
        _streams[file_number(file)] = self
        return file

    def fileno(self) -> int:
        """The number of the open file, if it is on this machine; OSError if not."""
        return self._stream.fileno()

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
            FormatError: it is larger than :func:`largest_read` allows, or begins with a heap that has no end.
            SourceError: the bytes cannot be had.
        """
        size, largest = len(buffer), _largest.get()
        if largest is not None and size > largest:
            problem = "too large to be read in one piece"
            raise FormatError(problem, file=self._name, found=f"{size} bytes", expected=f"at most {largest}")
        try:
            n_read = self._stream.readinto(buffer)  # type: ignore[attr-defined]  # missing in the declared BinaryIO
            buffer[n_read:] = bytes(size - n_read)  # the library does not ask how much was read
            # The library reads each heap by itself. What only looks like one inside other data is none of its business.
            if bytes(buffer[: len(START)]) == START:
                self._check_heap(self._stream.tell() - n_read)
        except CircuitArtifactsError:
            raise
        except Exception as error:
            problem, found = "the file cannot be read", str(error) or type(error).__name__
            raise SourceError(problem, file=self._name, found=found, remedy="Try again") from error
        return int(n_read)

    def _check_heap(self, start: int) -> None:
        if is_endless(self._stream, start, self._length_bytes):
            problem, found = "damaged values of variable length", f"a heap without an end at byte {start}"
            raise FormatError(problem, file=self._name, found=found, remedy="Download or make the file again")

    def close(self) -> None:
        """Close the stream beneath, too."""
        self._stream.close()
        super().close()


_streams: WeakValueDictionary[int, NamedStream] = WeakValueDictionary()


def stream_of(file: h5py.File) -> NamedStream | None:
    """The stream through which an open file is read; None if it was not opened by this package."""
    return _streams.get(file_number(file))


def file_number(file: h5py.File) -> int:
    """The number that the HDF5 library gave to an open file; it uses none twice."""
    return int(h5o.get_info(file.id).fileno)
