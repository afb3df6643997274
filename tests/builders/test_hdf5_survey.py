"""Every kind of file of the survey through `load_dataset`: its rows as they were written, or an error that says where.

The stock builder cuts two of these files short without a word, and fails on 43.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pytest
from hdf5_zoo import CANARY, KINDS, Refusal, Row, Specimen, as_recorded, text

from circuit_artifacts import load_dataset
from circuit_artifacts.errors import SchemaError

REFUSED = sorted(name for name, kind in KINDS.items() if isinstance(kind.expected, Refusal))
READ = sorted(set(KINDS) - set(REFUSED))
MAP_STYLE = [
    "07_empty_dataspace",
    "09_groups_mismatched",
    "13_group_per_sample",
    "15_nested_compound",
    "20_complex",
    "22_vlen_2d",
    "26_str_nonutf8",
    "30_zero_rows",
    "32_zero_dim_3d",
    "33_6d",
    "34_7d",
    "39_opaque_datetime64",
    "67_null_string",
    "70_matlab73",
    "74_anndata",
    "77_lerobot_like",
]
HAS_STOCK_BUILDER = "hdf5" in datasets.packaged_modules._PACKAGED_DATASETS_MODULES


def load(*paths: Path, **options: Any) -> Any:
    return load_dataset("circuit-hdf5", data_files=[str(path) for path in paths], split="train", **options)


def write(name: str, folder: Path) -> tuple[Path, Specimen]:
    path = folder / f"{name}.h5"
    return path, KINDS[name].write(path)


def check(rows: Sequence[Row], expected: list[Row], *, leaves: bool) -> None:
    found = sorted((as_recorded(row) for row in rows), key=lambda row: row["path"]) if leaves else list(rows)
    assert text(found) == text(expected)


# One file


@pytest.mark.parametrize("name", READ)
def test_streamed_rows_are_what_was_written(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, specimen = write(name, tmp_path)
    layout = KINDS[name].expected
    assert isinstance(layout, str)
    with caplog.at_level(logging.INFO, "circuit_artifacts"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        rows = list(load(path, streaming=True))
    check(rows, getattr(specimen, layout)(), leaves=layout == "leaves")
    assert f"layout {layout!r}" in caplog.text
    if layout == "leaves" and specimen.arrays:  # not what was hoped for: say why
        assert any(str(path) in str(warning.message) for warning in warned)
    if specimen.attributes and layout != "leaves":
        n_attributes = sum(len(attributes) for attributes in specimen.attributes.values())
        assert f"{n_attributes} attributes are not in the rows" in caplog.text


@pytest.mark.parametrize("name", MAP_STYLE)
@pytest.mark.filterwarnings("ignore:.*layout 'leaves'")
def test_prepared_rows_are_what_was_written(name: str, tmp_path: Path) -> None:
    path, specimen = write(name, tmp_path)
    layout = str(KINDS[name].expected)
    check(list(load(path)), getattr(specimen, layout)(), leaves=layout == "leaves")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("streaming", [False, True])
def test_refusal_names_file_and_place(name: str, streaming: bool, tmp_path: Path) -> None:
    path, _ = write(name, tmp_path)
    refusal = KINDS[name].expected
    assert isinstance(refusal, Refusal)
    with pytest.raises(refusal.error) as error:
        list(load(path, streaming=streaming))
    assert all(part in str(error.value) for part in (str(path), *refusal.says))


@pytest.mark.parametrize("name", ["42_external_link", "43_external_storage", "49_virtual"])
def test_leaves_list_what_is_outside_and_do_not_read_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where external storage would be found
    path, specimen = write(name, tmp_path)
    rows = list(load(path, layout="leaves", streaming=True))
    outside = [row for row in rows if row["note"]]
    check([row for row in rows if not row["note"]], specimen.leaves(), leaves=True)
    assert [row["note"].endswith("not read") for row in outside] == [True]
    assert str(CANARY) not in text(rows)


@pytest.mark.parametrize(
    ("name", "path_of_link", "kind"),
    [
        ("45_soft_dangling", "/l", "dangling link"),
        ("46_hard_link_cycle", "/g/again", "repeated"),
        ("48_soft_link_cycle", "/root", "repeated"),
    ],
)
def test_links_that_make_no_column_are_named(
    name: str, path_of_link: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = write(name, tmp_path)
    list(load(path, streaming=True))
    assert all(part in caplog.text for part in (str(path), path_of_link, kind))


# Explicit layouts that do not fit


def test_rows_of_unequal_lengths_are_refused_with_both_lengths(tmp_path: Path) -> None:
    path, _ = write("11_root_mismatched", tmp_path)
    with pytest.raises(SchemaError) as error:
        load(path, layout="rows", streaming=True)
    assert all(part in str(error.value) for part in (str(path), "/x: 6", "/y: 9"))


@pytest.mark.parametrize("name", ["09_groups_mismatched", "77_lerobot_like"])
@pytest.mark.skipif(not HAS_STOCK_BUILDER, reason="datasets 4.0 has no HDF5 builder")
def test_no_row_is_cut_where_the_stock_builder_cuts(name: str, tmp_path: Path) -> None:
    path, specimen = write(name, tmp_path)
    (first, *_), expected = specimen.arrays.values(), len(specimen.stack())
    assert first is not None
    stock = datasets.load_dataset("hdf5", data_files=str(path), split="train", streaming=True)
    assert len(list(stock)) == len(first) < expected  # should this fail one day, the stock builder is repaired
    assert len(list(load(path, streaming=True))) == expected


# Several files


def write_columns(path: Path, **columns: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.parametrize(
    ("first", "second", "rows"),
    [
        ({"x": [1, 2]}, {"x": [3], "y": [0.5]}, [(1, None), (2, None), (3, 0.5)]),
        ({"x": [1], "y": [0.5]}, {"x": [2]}, [(1, 0.5), (2, None)]),
        ({"x": np.array([1], "i4"), "y": [2.5]}, {"x": [2], "y": [3.5]}, [(1, 2.5), (2, 3.5)]),
        ({"x": [1], "y": [7]}, {"x": [2], "y": [0.5]}, [(1, 7.0), (2, 0.5)]),
        ({"x": np.zeros(0, "i8"), "y": np.zeros(0)}, {"x": [1], "y": [0.5]}, [(1, 0.5)]),
    ],
    ids=["extra column", "missing column", "wider integers", "float after int", "empty first file"],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_files_are_united(first: Row, second: Row, rows: list[Any], streaming: bool, tmp_path: Path) -> None:
    paths = [write_columns(tmp_path / "a.h5", **first), write_columns(tmp_path / "b.h5", **second)]
    expected = [{"x": x, "y": y} for x, y in rows]
    assert text(list(load(*paths, streaming=streaming))) == text(expected)


def test_columns_that_cannot_be_united_name_both_files(tmp_path: Path) -> None:
    paths = [write_columns(tmp_path / "a.h5", x=[1]), write_columns(tmp_path / "b.h5", x=["for"])]
    with pytest.raises(SchemaError) as error:
        load(*paths, streaming=True)
    assert all(part in str(error.value) for part in (str(paths[0]), str(paths[1]), "x"))


# Attributes


def test_attributes_become_constant_columns(tmp_path: Path) -> None:
    path, _ = write("56_attrs_plus_data", tmp_path)
    rows = list(load(path, attrs="columns", streaming=True))
    assert rows[3] == {"x": 3, "@version": 2, "x@units": "bits"}


def test_attributes_become_one_json_column(tmp_path: Path) -> None:
    path, _ = write("38_datetime_int", tmp_path)
    rows = list(load(path, attrs="json", streaming=True))
    assert json.loads(rows[0]["attrs"]) == {"/time": {"units": "seconds since 1970-01-01"}}
