"""The streams under the HDF5 library: names of files in messages, ends of files, limits, and one open file for all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from circuit_artifacts.errors import FormatError, SourceError
from circuit_artifacts.formats.hdf5 import attributes, open_hdf5
from circuit_artifacts.formats.hdf5.attributes import attributes_json
from circuit_artifacts.formats.hdf5.chunks import map_file
from circuit_artifacts.formats.hdf5.streams import NamedStream, largest_read, stream_of


@pytest.mark.parametrize("name", ["é.h5", "資料.h5", os.fsdecode(b"x\xff.h5")])
def test_names_that_are_not_ascii(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with open_hdf5(path) as file:
        assert file.filename == str(path)
        assert file["x"][()] == 1


def test_bytes_after_the_end_are_zero() -> None:
    """As the library's own reading has it; what was in the buffer before belongs to somebody else."""
    buffer = bytearray(b"secret")
    assert NamedStream(io.BytesIO(b"abcd"), "x").readinto(memoryview(buffer)) == 4
    assert buffer == b"abcd\0\0"


def test_reads_above_the_limit_are_refused() -> None:
    stream = NamedStream(io.BytesIO(bytes(100)), "x.h5")
    with largest_read(10):
        assert stream.read(10) == bytes(10)
        with pytest.raises(FormatError, match=r"x.h5: too large to be read in one piece \(found 11 bytes"):
            stream.read(11)
    assert stream.read(11) == bytes(11)


def test_failing_stream_is_named() -> None:
    class Failing(io.BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            problem = f"no {len(buffer)} bytes"
            raise ConnectionError(problem)

    with pytest.raises(SourceError, match=r"x.h5: the file cannot be read \(found no 3 bytes\). Try again"):
        NamedStream(Failing(), "x.h5").read(3)


def test_stream_belongs_to_the_open_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["g/x"] = np.arange(3)
        assert stream_of(file) is None
        assert map_file(file) is None  # what is written may not be on disk yet
    with open_hdf5(path) as one, open_hdf5(path) as other:
        stream = stream_of(one)
        assert stream is stream_of(one["g/x"].file)
        assert stream is not stream_of(other)
        content = map_file(one)
        assert content is not None
        assert content.tobytes() == path.read_bytes()
    with path.open("rb") as raw, h5py.File(raw, "r") as file:
        assert map_file(file) is None


def test_attributes_of_a_large_file_do_not_open_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for number in range(20):
            file.create_group(str(number)).attrs["number"] = number
    monkeypatch.setattr(attributes, "LARGEST_ATTRIBUTE", 10_000)
    assert path.stat().st_size > attributes.LARGEST_ATTRIBUTE
    opened: list[Path] = []
    open_path = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *how, **more: opened.append(self) or open_path(self, *how, **more))
    with open_hdf5(path) as file:
        assert [attributes_json(file[str(number)]) for number in range(20)] == [
            f'{{"number": {number}}}' for number in range(20)
        ]
    assert opened == [path]
