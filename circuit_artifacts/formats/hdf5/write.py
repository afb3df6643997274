"""Writing HDF5 files: complete or not at all, the same bytes for the same content, and many small vectors fast.

What is written is, dataset for dataset, what h5py's ``create_dataset(name, data=row, compression="gzip")`` gives
(csp_atlas spec 1.3-1.6); only the way there is shorter, because all but name and data is shared.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t
from numpy.typing import ArrayLike, NDArray

from circuit_artifacts.atomic import atomic_path

__all__ = ["create_hdf5", "write_scalars", "write_strings", "write_vectors"]


@contextlib.contextmanager
def create_hdf5(path: str | os.PathLike[str], *, oldest_reader: str = "v110") -> Iterator[h5py.File]:
    """Create a file that gets its name only when it is complete.

    Args:
        path: the final path; an existing file is replaced when the block ends without an error.
        oldest_reader: the oldest HDF5 library that must be able to read the file, as h5py names them: "earliest",
            "v108", "v110", ... From "v110" (2016) on, a dataset of one chunk needs no index of its own: a mask file
            takes 5 MB instead of 29 MB, and plain h5py reads the same from it.

    Yields:
        The open file. The same calls give the same bytes, from the first h5py on whose ``create_group`` has
        ``track_times``; before, groups carry their time of creation unless ``oldest_reader`` is "earliest".

    Raises:
        OSError: the file could not be written; nothing is left behind.
    """
    # Built in memory: when a disk fills up under an open file, HDF5 crashes the interpreter at its end.
    versions = (oldest_reader, "latest")
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary.name, "x", libver=versions, driver="core", backing_store=False, block_size=2**20) as file,
    ):
        yield file
        file.flush()
        temporary.write_bytes(file.id.get_file_image())


def write_vectors(
    group: h5py.Group, names: Sequence[str], vectors: NDArray[Any], *, compression_level: int | None = 4
) -> None:
    """Write each row of an array as one dataset of one chunk.

    Args:
        group: where the datasets go.
        names: (n,), their names.
        vectors: (n, width), bool (stored as h5py's enum FALSE/TRUE) or numeric.
        compression_level: of gzip, 0-9; None stores the rows contiguous and plain.

    Raises:
        ValueError: the shapes do not fit, or a name is taken or is not one single name.
        OSError: the file could not be written.
    """
    if vectors.ndim != 2 or len(names) != len(vectors):
        msg = f"{len(names)} names for an array of shape {vectors.shape}; (len(names), width) is needed"
        raise ValueError(msg)
    width = vectors.shape[1]
    file_type = h5t.py_create(vectors.dtype, logical=True)
    space = h5s.create_simple((width,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    if compression_level is None or width == 0:  # a chunk holds at least one value
        for name, row in zip(_encode(names), np.ascontiguousarray(vectors), strict=True):
            h5d.create(group.id, name, file_type, space, plist).write(h5s.ALL, h5s.ALL, row)
        return
    plist.set_chunk((width,))
    plist.set_deflate(compression_level)
    for name, row in zip(_encode(names), np.ascontiguousarray(vectors), strict=True):
        dataset = h5d.create(group.id, name, file_type, space, plist)
        dataset.write_direct_chunk((0,), zlib.compress(row, compression_level))


def write_scalars(group: h5py.Group, names: Sequence[str], values: ArrayLike) -> None:
    """Write each value of a one-dimensional array as a scalar dataset of the array's type (csp_atlas spec 1.3).

    Raises:
        ValueError: the shapes do not fit, or a name is taken or is not one single name.
    """
    array = np.ascontiguousarray(values)
    if array.shape != (len(names),):
        msg = f"{len(names)} names for an array of shape {array.shape}; (len(names),) is needed"
        raise ValueError(msg)
    file_type = h5t.py_create(array.dtype, logical=True)
    space = h5s.create(h5s.SCALAR)
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    for name, value in zip(_encode(names), array.reshape(-1, 1), strict=True):
        h5d.create(group.id, name, file_type, space, plist).write(h5s.ALL, h5s.ALL, value.reshape(()))


def write_strings(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write a list of texts as one dataset of variable-length UTF-8 strings, (len(texts),).

    Raises:
        ValueError: the name is taken, or a text holds a null character, which HDF5 takes for its end.
    """
    if any("\0" in text for text in texts):
        msg = f"{name}: a text holds a null character"
        raise ValueError(msg)
    group.create_dataset(name, data=np.array(list(texts), dtype=object), dtype=h5py.string_dtype())


def _encode(names: Sequence[str]) -> list[bytes]:
    """Encode the names of datasets, which must stay inside their group."""
    for name in names:
        if not name or "/" in name or "\0" in name or name == ".":
            msg = f"{name!r} is not the name of a dataset"
            raise ValueError(msg)
    return [name.encode() for name in names]
