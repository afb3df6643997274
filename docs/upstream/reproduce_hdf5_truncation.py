"""What the `hdf5` builder of `datasets` does with small, valid files. Needs only `datasets` and `h5py`.

Run it as ``python reproduce_hdf5_truncation.py``. For each file it prints the rows that are in it, and what came back.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np


def groups(file: h5py.File) -> None:
    """Two groups of unequal length, as two episodes of a recording; the shorter one first."""
    file["a/x"] = np.arange(6)
    file["b/x"] = np.arange(9)


def reversed_groups(file: h5py.File) -> None:
    """The same two groups, the longer one first."""
    file["a/x"] = np.arange(9)
    file["b/x"] = np.arange(6)


def scalar(file: h5py.File) -> None:
    """A number beside an array."""
    file["x"] = np.arange(5)
    file["scale"] = 0.5


def big_endian(file: h5py.File) -> None:
    """Floats in the other byte order."""
    file["x"] = np.arange(5.0).astype(">f8")


def no_rows(file: h5py.File) -> None:
    """An array of length zero."""
    file["x"] = np.zeros(0)


def one_column(file: h5py.File) -> None:
    """The first of two files."""
    file["x"] = np.arange(3)


def two_columns(file: h5py.File) -> None:
    """The second, with a column that the first lacks."""
    file["x"] = np.arange(3)
    file["y"] = np.arange(3) / 2


CASES: list[tuple[str, str, list[Callable[[h5py.File], None]]]] = [
    ("groups of 6 and 9 rows", "15 rows, or an error", [groups]),
    ("groups of 9 and 6 rows", "15 rows, or an error", [reversed_groups]),
    ("an array of 5 and a scalar", "5 rows, the scalar in each", [scalar]),
    ("big-endian floats", "5 rows", [big_endian]),
    ("zero rows", "0 rows", [no_rows]),
    ("two files, the second has one more column", "6 rows with columns x and y", [one_column, two_columns]),
]


def outcome(paths: list[str], folder: Path, *, streaming: bool) -> str:
    """Load the files with stock `datasets`; say how many rows of which columns, or which error."""
    try:
        found: Any = datasets.load_dataset(
            "hdf5", data_files=paths, split="train", streaming=streaming, cache_dir=str(folder / "cache")
        )
        rows = list(found)
    except Exception as error:  # noqa: BLE001 - whatever happens is what is to be shown
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {str(cause).splitlines()[0]}"
    return f"{len(rows)} rows, columns {sorted(rows[0]) if rows else []}, last row {rows[-1] if rows else None}"


def main() -> None:
    """Write each file, load it in both ways, print what happened."""
    logging.disable(logging.ERROR)
    datasets.disable_progress_bars()
    print(f"datasets {datasets.__version__}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
    for title, expected, writers in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = [str(folder / f"{number}.h5") for number in range(len(writers))]
            for path, write in zip(paths, writers, strict=True):
                with h5py.File(path, "w") as file:
                    write(file)
            print(f"\n{title}\n  expected   {expected}")
            for streaming in (False, True):
                label = "streaming" if streaming else "map-style"
                print(f"  {label}  {outcome(paths, folder, streaming=streaming)}")


if __name__ == "__main__":
    main()
