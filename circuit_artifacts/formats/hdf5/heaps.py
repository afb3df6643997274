"""Global heaps, in which HDF5 keeps values of variable length: whether the library would get to the end of one.

A heap is a chain of objects, each of which says how far away the next one is. HDF5 (2.0 at least) follows a chain for
ever in which an object leads to itself. Byte layout: HDF5 file format specification 3.0, section III.E.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

__all__ = ["START", "is_endless"]

START = b"GCOL\x01"
"""What every heap begins with: its signature and version."""

_HEADER = 16  # bytes of the header of a heap, and of each object in it
_OBJECT = struct.Struct("<H6xQ")  # number (0: free space), what is of no interest here, size
_WORD = (1 << 64) - 1  # the library computes with 64 bits, and lets them overflow
_BLOCK = 64 << 10


def is_endless(stream: BinaryIO, start: int, length_bytes: int) -> bool:
    """Whether an object of a heap leads to itself.

    Args:
        stream: of the whole file; read at other positions afterwards.
        start: where the heap begins.
        length_bytes: how many bytes of a length the file uses, as its superblock says: 2, 4 or 8.
    """
    used = (1 << 8 * length_bytes) - 1
    stream.seek(start + 8)
    end = start + (int.from_bytes(stream.read(8), "little") & used)
    position = start + _HEADER
    while end - position >= _HEADER:
        stream.seek(position)
        block = stream.read(min(_BLOCK, end - position))
        if len(block) < _HEADER:
            return False  # the file ends here, which the library notices
        first = position
        while position - first <= len(block) - _HEADER:
            number, size = _OBJECT.unpack_from(block, position - first)
            size &= used
            step = _HEADER + (size + 7 & -8) & _WORD if number else size
            if not step:
                return True
            position += step
    return False
