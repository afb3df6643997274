"""Bounded streams: the same bytes, and no allocation that only a file asks for."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path

import pytest

from circuit_artifacts.errors import FormatError, MissingArtifactError, SourceError
from circuit_artifacts.formats.bounded import BoundedReader, open_bounded


def reader(content: bytes, largest: int = 10) -> BoundedReader:
    return BoundedReader(io.BytesIO(content), file="a", largest=largest)


def test_what_fits_is_read() -> None:
    assert reader(b"0123456789").read(10) == b"0123456789"
    assert reader(b"0123456789").read() == b"0123456789"
    assert reader(b"01\n34").readline() == b"01\n"


def test_a_read_beyond_the_limit_is_refused() -> None:
    for attempt in (lambda: reader(bytes(11)).read(11), lambda: reader(bytes(11)).read(), reader(b"x" * 11).readline):
        with pytest.raises(FormatError, match=r"a: .*at most 10 bytes"):
            attempt()


def test_asking_for_more_than_there_is_allocates_nothing() -> None:
    """A length field of 2**40 in a file of five bytes."""
    tracemalloc.start()
    assert reader(b"01234").read(1 << 40) == b"01234"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError), open_bounded(tmp_path / "absent", largest=1):
        pass
    with pytest.raises(SourceError, match="cannot be opened"), open_bounded(tmp_path, largest=1):
        pass
    (tmp_path / "a").write_bytes(b"x")
    with open_bounded(tmp_path / "a", largest=1) as stream:
        descriptor = stream.fileno()
        assert stream.read(1) == b"x"
    with pytest.raises(OSError):
        os.fstat(descriptor)
