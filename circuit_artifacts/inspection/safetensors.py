"""Safetensors files: eight bytes of length, a JSON header, then the numbers, which are not read."""

from __future__ import annotations

import json
import math
from typing import Any

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.remote import Location

__all__ = ["LARGEST_HEADER", "list_safetensors"]

LARGEST_HEADER = 100_000_000
"""Bytes, by the definition of the format."""
_DTYPES = {
    "BOOL": ("bool", 8),
    "F4": ("float4_e2m1fn_x2", 4),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "BF16": ("bfloat16", 16),
    "C64": ("complex64", 64),
    **{f"F{bits}": (f"float{bits}", bits) for bits in (16, 32, 64)},
    **{f"I{bits}": (f"int{bits}", bits) for bits in (8, 16, 32, 64)},
    **{f"U{bits}": (f"uint{bits}", bits) for bits in (8, 16, 32, 64)},
}
"""Name and bits of an element."""


def list_safetensors(file: Location, stream: BoundedReader) -> Listing:
    """List the tensors of a safetensors file, and check that each has its own bytes of the right number.

    Raises:
        FormatError: truncated, a header that is no header, or tensors that overlap, lie outside the file, or have more
            or fewer bytes than their shape needs.
    """
    end = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if length > min(LARGEST_HEADER, end - 8):
        problem = "the header is longer than it may be, or than the file"
        expected = f"at most {min(LARGEST_HEADER, max(end - 8, 0)):,}"
        raise FormatError(problem, file=file, found=f"{length:,} bytes", expected=expected)
    try:
        header = json.loads(stream.read(length))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _tensor(**declared) for name, declared in header.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = "not a header of safetensors"
        raise FormatError(problem, file=file, found=error) from error
    _check_places(tensors, end - 8 - length, file)
    entries = [
        Entry(
            name,
            "tensor",
            _DTYPES.get(dtype, (dtype, 0))[0],
            shape,
            stop - start,
            note="" if dtype in _DTYPES else "of a type that this version does not know",
        )
        for name, (dtype, shape, start, stop) in tensors.items()
    ]
    facts: dict[str, Any] = {"header_bytes": length, "tensors": len(entries), "metadata": metadata}
    return Listing("safetensors", entries, facts)


def _tensor(*, dtype: str, shape: list[int], data_offsets: list[int]) -> tuple[str, tuple[int, ...], int, int]:
    start, stop = data_offsets
    numbers = (*shape, start, stop)
    if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in numbers):
        problem = f"dtype {dtype!r:.20}, shape {shape!r:.60}, data_offsets {data_offsets!r:.60}"
        raise ValueError(problem)
    return dtype, tuple(shape), start, stop


def _check_places(tensors: dict[str, tuple[str, tuple[int, ...], int, int]], data_bytes: int, file: Location) -> None:
    reached = 0
    for name, (dtype, shape, start, stop) in sorted(tensors.items(), key=lambda item: item[1][2:]):
        needed = math.prod(shape) * _DTYPES[dtype][1] // 8 if dtype in _DTYPES else stop - start
        problem, expected = "", ""
        if start < reached:
            problem, expected = "the tensor overlaps with another", f"from {reached:,}"
        elif stop > data_bytes:
            problem, expected = "the tensor ends outside the file; it is truncated or damaged", f"up to {data_bytes:,}"
        elif stop - start != needed:
            problem, expected = "the tensor has not as many bytes as its shape needs", f"{needed:,} bytes"
        if problem:
            raise FormatError(problem, file=file, where=name, found=f"bytes {start:,} to {stop:,}", expected=expected)
        reached = stop
