"""Whatever tree of groups, arrays and links a file holds, the rows hold it too. Oracle: what was written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hdf5_zoo import Row, Specimen, as_recorded, objects, text
from hdf5_zoo.damage import read
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

Tree = Mapping[str, Any]

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=3).filter(
    lambda name: name != "."
)
DTYPES = st.one_of(
    st.sampled_from([np.dtype(bool), np.dtype("S3")]),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays_of.complex_number_dtypes(),
)
ATTRIBUTES = st.dictionaries(
    NAMES, st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False), max_size=2
)


def array(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Numbers, fixed strings, or strings of any length."""
    size = int(np.prod(shape))
    texts = st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=size, max_size=size
    )
    return arrays_of.arrays(DTYPES, shape) | texts.map(lambda values: objects(*values).reshape(shape))


def trees(leaf: st.SearchStrategy[Any], depth: int = 3) -> st.SearchStrategy[Tree]:
    """Nested groups, with leaves at every level."""
    below = st.one_of(leaf, trees(leaf, depth - 1)) if depth else leaf
    return st.dictionaries(NAMES, below, max_size=3)


SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
ANY = trees(SHAPES.flatmap(array))
EQUAL_LENGTHS = st.integers(0, 3).flatmap(
    lambda length: trees(st.one_of(st.just(()), SHAPES.map(lambda shape: (length, *shape))).flatmap(array))
)


def write(tree: Tree, made: Specimen, prefix: str = "") -> None:
    """Write a tree of arrays, with a record of it."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            made.file.create_group(f"{prefix}{name}")
            write(value, made, f"{prefix}{name}/")
        elif value.dtype.kind == "O":
            made.put(f"{prefix}{name}", value, dtype=h5py.string_dtype())
        else:
            made.put(f"{prefix}{name}", value, seen=decoded(value) if value.dtype.kind == "S" else None)


def decoded(values: Any) -> Any:
    """Fixed strings as text if all of them are."""
    try:
        cells = [value.decode() for value in values.flat]
    except UnicodeDecodeError:
        cells = list(values.flat)
    return objects(*cells).reshape(values.shape)


def specimen_of(tree: Tree, path: Path, data: st.DataObject | None = None) -> Specimen:
    with h5py.File(path, "w") as file:
        made = Specimen(file, np.random.default_rng(0), path.parent)
        write(tree, made)
        if data is not None and made.arrays:
            decorate(made, data)
    return made


def decorate(made: Specimen, data: st.DataObject) -> None:
    """Attributes, links to datasets, and a group inside itself."""
    paths = st.sampled_from(sorted(made.arrays))
    for path in data.draw(st.sets(paths, max_size=2)):
        made.note(path, data.draw(ATTRIBUTES))
    links = made.file.create_group("links and more")
    links["again"] = links
    for number, target in enumerate(data.draw(st.lists(paths, max_size=2))):
        link = f"links and more/{number}"
        made.file[link] = h5py.SoftLink(f"/{target}") if data.draw(st.booleans()) else made.file[target]
        made.see(link, made.arrays[target])
        made.attributes[link] = made.attributes.get(target, {})


def read_leaves(path: Path) -> list[Row]:
    rows = [as_recorded(row) for row in read(path, layout="leaves") if not row["note"]]
    return sorted(rows, key=lambda row: row["path"])


@settings(max_examples=60)
@given(tree=ANY.filter(bool), data=st.data())
def test_leaves_hold_every_dataset(tree: Tree, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        made = specimen_of(tree, path, data)
        if made.arrays:
            assert text(read_leaves(path)) == text(made.leaves())


@settings(max_examples=60)
@given(tree=EQUAL_LENGTHS)
def test_rows_hold_every_index(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        made = specimen_of(tree, path)
        if made.arrays:
            assert text(read(path, layout="rows")) == text(made.rows())
