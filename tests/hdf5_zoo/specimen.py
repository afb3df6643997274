"""One odd HDF5 file while it is written, and the rows that a reader of it has to give.

Whoever writes a dataset also records what is to be seen in it. Expected rows come from that record, never from reading
the file back.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuit_artifacts.errors import CircuitArtifactsError

__all__ = ["TABLE", "Kind", "Layout", "Refusal", "Row", "Specimen", "as_recorded", "cell", "kind", "objects", "text"]

Layout = Literal["rows", "stack", "records", "leaves"]
Row = dict[str, Any]


class Refusal(NamedTuple):
    """How a file is refused: the class of the error, and what its message has to contain."""

    error: type[CircuitArtifactsError]
    says: tuple[str, ...]


class Kind(NamedTuple):
    """One kind of file of the survey.

    Attributes:
        expected: the layout that ``auto`` chooses, or the refusal.
        fill: writes the file's content.
        options: arguments of `h5py.File`.
        damage: what happens to the finished file.
    """

    expected: Layout | Refusal
    fill: Callable[[Specimen], None]
    options: dict[str, Any]
    damage: Callable[[Path], None] | None

    def write(self, path: Path, seed: int = 0) -> Specimen:
        """Write the file; the same seed gives the same content."""
        with h5py.File(path, "w", **self.options) as file:
            specimen = Specimen(file, np.random.default_rng(seed), path.parent)
            self.fill(specimen)
        if self.damage:
            self.damage(path)
        return specimen


TABLE: dict[str, Kind] = {}


def kind(
    name: str, expected: Layout | Refusal, damage: Callable[[Path], None] | None = None, **options: Any
) -> Callable[[Callable[[Specimen], None]], Callable[[Specimen], None]]:
    """Enter a function that fills a file into the table."""

    def enter(fill: Callable[[Specimen], None]) -> Callable[[Specimen], None]:
        TABLE[name] = Kind(expected, fill, options, damage)
        return fill

    return enter


@dataclass
class Specimen:
    """A file that is being written, with a record of what a reader has to see.

    Attributes:
        file: open for writing.
        random: seeded, the only source of values.
        folder: where other files may be put.
        arrays: by path, as a reader sees them; None for a null dataspace.
        attributes: by path of the object, as a reader sees them.
    """

    file: h5py.File
    random: np.random.Generator
    folder: Path
    arrays: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    attributes: dict[str, Row] = field(default_factory=dict)

    def put(self, path: str, values: ArrayLike, *, seen: ArrayLike | None = None, **storage: Any) -> h5py.Dataset:
        """Write a dataset; what is seen is what was written, unless told otherwise."""
        self.see(path, values if seen is None else seen)
        return self.file.create_dataset(path, data=values, **storage)

    def see(self, path: str, values: ArrayLike | None) -> None:
        """Record what has to be seen in a dataset that was written otherwise."""
        self.arrays[path] = None if values is None else np.asarray(values)

    def note(self, path: str, attributes: Row) -> None:
        """Write attributes of an object that exists."""
        self.file[path].attrs.update(attributes)
        seen = {name: cell(np.asarray(value)) for name, value in attributes.items()}
        seen = {name: value.decode() if isinstance(value, bytes) else value for name, value in seen.items()}
        self.attributes.setdefault(path.strip("/"), {}).update(seen)

    # Expected rows, in the order of the paths.

    def rows(self, below: str = "") -> list[Row]:
        """One row per index of the first axis; scalars and null dataspaces are the same in all."""
        arrays = {path.removeprefix(below): array for path, array in self._sorted() if path.startswith(below)}
        lengths = {len(array) for array in arrays.values() if array is not None and array.ndim}
        (length,) = lengths or {1}
        return [
            _nested({p: cell(a[i] if a is not None and a.ndim else a) for p, a in arrays.items()})
            for i in range(length)
        ]

    def stack(self) -> list[Row]:
        """The rows of each sibling group, one group after the other."""
        return [{"group": group} | row for parent, group in self._siblings() for row in self.rows(f"{parent}{group}/")]

    def records(self) -> list[Row]:
        """One row per sibling group, each dataset of it one cell."""
        return [
            {"group": group}
            | _nested({p.removeprefix(start): cell(a) for p, a in self._sorted() if p.startswith(start)})
            for parent, group in self._siblings()
            for start in [f"{parent}{group}/"]
        ]

    def leaves(self) -> list[Row]:
        """One row per dataset; in a file without any, one per group that has attributes."""
        if not self.arrays:
            return [
                {"path": path or "/", "shape": None, "value": None, "attrs": attributes}
                for path, attributes in sorted(self.attributes.items())
            ]
        return [
            {
                "path": path,
                "shape": None if array is None else list(array.shape),
                "value": None if array is None else [cell(value) for value in array.reshape(-1)],
                "attrs": self.attributes.get(path, {}),
            }
            for path, array in self._sorted()
        ]

    def _sorted(self) -> list[tuple[str, NDArray[Any] | None]]:
        return sorted(self.arrays.items())

    def _siblings(self) -> Iterator[tuple[str, str]]:
        """The groups below the deepest group that holds everything: (path of the parent, name)."""
        parent = posixpath.commonpath([posixpath.dirname(path) for path in self.arrays])
        parent += "/" if parent else ""
        names = {path.removeprefix(parent).split("/")[0] for path in self.arrays}
        return ((parent, name) for name in sorted(names))


def _nested(cells: Row) -> Row:
    row: Row = {}
    for path, value in cells.items():
        *groups, name = path.split("/")
        here = row
        for group in groups:
            here = here.setdefault(group, {})
        here[name] = value
    return row


def cell(value: Any) -> Any:
    """A numpy value as the plain Python value of a row."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufM":
            return value.tolist()
        return [cell(item) for item in value] if value.ndim else cell(value[()])
    if isinstance(value, np.void) and value.dtype.names:
        return {name: cell(value[name]) for name in value.dtype.names}
    if isinstance(value, complex | np.complexfloating):
        return {"real": cell(value.real), "imag": cell(value.imag)}
    if isinstance(value, np.longdouble):
        return float(value)
    return value.item() if isinstance(value, np.generic) else value


def objects(*values: Any) -> NDArray[np.object_]:
    """A one-dimensional array of Python values, whatever they are."""
    return np.fromiter(values, dtype=object, count=len(values))


def text(rows: Any) -> str:
    """Rows so that NaN equals NaN, and 1, 1.0 and true are three things."""
    return json.dumps(rows, sort_keys=True, default=repr)


def as_recorded(row: Row) -> Row:
    """A row of the layout `leaves` in the form of :meth:`Specimen.leaves`."""
    values = [value for name, value in row.items() if name.startswith("value") and value is not None]
    assert len(values) <= 1
    recorded = {"path": row["path"], "shape": row["shape"], "value": next(iter(values), None)}
    return recorded | {"attrs": json.loads(row["attrs"])}
