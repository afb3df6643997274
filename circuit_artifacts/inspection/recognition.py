"""Which format a file has, by its content; the name decides only between kinds of text."""

from __future__ import annotations

import json

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.inspection.archives import list_npy, list_zip
from circuit_artifacts.inspection.hdf5 import list_hdf5
from circuit_artifacts.inspection.json_text import list_json, list_json_lines
from circuit_artifacts.inspection.listing import Lister
from circuit_artifacts.inspection.parquet import list_parquet
from circuit_artifacts.inspection.safetensors import LARGEST_HEADER, list_safetensors
from circuit_artifacts.inspection.tables import list_table
from circuit_artifacts.inspection.torch_files import list_pickle
from circuit_artifacts.remote import Location

__all__ = ["recognise", "surprise"]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_USER_BLOCKS = [512 << power for power in range(12)]
_LISTERS: dict[bytes, Lister] = {
    _HDF5_SIGNATURE: list_hdf5,
    b"PAR1": list_parquet,
    b"PK\x03\x04": list_zip,
    b"PK\x05\x06": list_zip,  # without members
    b"\x93NUMPY": list_npy,
    **{bytes((0x80, protocol)): list_pickle for protocol in range(2, 6)},
}
_FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not downloaded",
    b"<!doctype html": "a web page, perhaps of a failed download",
    b"<html": "a web page, perhaps of a failed download",
    b"\x1f\x8b": "gzip; decompress it first",
    b"\x28\xb5\x2f\xfd": "zstd; decompress it first",
    b"pare": "an encrypted parquet file",
}
_SAMPLE_BYTES = 64 << 10
_BY_SUFFIX: dict[str, Lister] = {
    ".csv": list_table,
    ".tsv": list_table,
    ".json": list_json,
    ".jsonl": list_json_lines,
    ".ndjson": list_json_lines,
    ".safetensors": list_safetensors,
}
_EXPECTED = {
    "hdf5": {".h5", ".hdf5", ".hdf"},
    "parquet": {".parquet", ".pq"},
    "npz": {".npz"},
    "npy": {".npy"},
    "torch": {".pt", ".pth", ".bin", ".ckpt"},
    "pickle": {".pkl", ".pickle"},
    "safetensors": {".safetensors"},
    "csv": {".csv", ".tsv"},
    "json": {".json"},
    "jsonl": {".jsonl", ".ndjson"},
}


def recognise(file: Location, stream: BoundedReader) -> Lister:
    """What lists a file; the stream is at its start before and after.

    Raises:
        FormatError: empty, or of no format that is listed.
    """
    start = stream.read(_SAMPLE_BYTES)
    if not start:
        problem = "the file is empty"
        raise FormatError(problem, file=file)
    # First: the length that it begins with can look like the start of a pickle or of gzip.
    if _is_safetensors(start):
        return list_safetensors
    signed = next((lister for signature, lister in _LISTERS.items() if start.startswith(signature)), None)
    lister = signed or _hdf5_with_user_block(stream) or _by_name(file, start)
    stream.seek(0)
    return lister


def surprise(file: Location, format_: str) -> str:
    """What is to say where the name of a file promises another format; empty if it does not."""
    promised = [name for name, suffixes in _EXPECTED.items() if file.suffix.lower() in suffixes]
    if not promised or format_ in promised:
        return ""
    return f"the name says {promised[0]}, the content is {format_}"


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER


def _hdf5_with_user_block(stream: BoundedReader) -> Lister | None:
    for offset in _HDF5_USER_BLOCKS:
        stream.seek(offset)
        if stream.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
            return list_hdf5
    return None


def _by_name(file: Location, start: bytes) -> Lister:
    """What lists content without a signature: text, and broken safetensors."""
    for signature, name in _FOREIGN.items():
        if start[: len(signature)].lower() == signature:
            problem = "the content is not what is listed here"
            raise FormatError(problem, file=file, found=name)
    suffix = file.suffix.lower()
    if b"\0" not in start and (lister := _json_lister(suffix, start)) is not None:
        return lister
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    problem = "the content is of no format that is listed here"
    raise FormatError(problem, file=file, found=f"it starts with {start[:16]!r}", expected=", ".join(_EXPECTED))


def _json_lister(suffix: str, start: bytes) -> Lister | None:
    first, *others = start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")
    if not first.startswith((b"{", b"[")):
        return None
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return None if suffix in _BY_SUFFIX else list_json
    is_lines = any(line.strip() for line in others) or suffix in {".jsonl", ".ndjson"}
    return list_json_lines if is_lines else list_json
