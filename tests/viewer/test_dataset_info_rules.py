"""Rules on `dataset_info:`, which wins over the files, so that a mistake in it breaks sound files."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import Array2D, ClassLabel, Features, List, Value
from viewer_upload import FILE, PATTERN, Upload, rows_with, sound

FEATURES = Features.from_arrow_schema(sound().schema)


def test_what_agrees(upload: Upload) -> None:
    upload.declare(FEATURES, {"train": 20})
    assert upload.findings() == []


def test_types_that_take_the_values(upload: Upload) -> None:
    """Wider numbers, labels over numbers, and arrays over lists are casts that always succeed."""
    upload.write(rows_with([[[1.0, 2.0], [3.0, 4.0]]] * 20))
    wider = FEATURES | {"layer": Value("float64"), "active": List(Value("int64")), "x": Array2D((2, 2), "float64")}
    upload.declare(Features(wider), {"train": 20})
    assert [place[:2] for place in upload.places()] == [("note", "croissant")]
    upload.write(rows_with([0, 1] * 10))
    upload.declare(Features(FEATURES | {"x": ClassLabel(names=["no", "yes"])}), {"train": 20})
    assert upload.findings() == []


def test_entry_that_does_not_parse(upload: Upload) -> None:
    upload.write_card(dataset_info=[{"config_name": "masks", "features": 3}])
    assert upload.places() == [("error", "dataset_info", "README.md", "dataset_info masks")]


def test_entry_that_is_text(upload: Upload) -> None:
    upload.write_card(dataset_info=["masks"])
    assert upload.places() == [("error", "dataset_info", "README.md", "dataset_info masks")]


def test_entry_of_no_config(upload: Upload) -> None:
    upload.declare(FEATURES, {"train": 20}, name="musks")
    assert upload.places() == [("note", "dataset_info of no config", "README.md", "dataset_info musks")]


@pytest.mark.parametrize("splits", [{"test": 20}, {"train": 20, "test": 20}])
def test_splits(upload: Upload, splits: dict[str, int]) -> None:
    upload.declare(FEATURES, splits)
    assert upload.places() == [("error", "declared splits", "README.md", "dataset_info masks")]
    assert f"found {', '.join(splits)}, expected train" in upload.finding().message


def test_number_of_rows(upload: Upload) -> None:
    upload.declare(FEATURES, {"train": 21})
    assert upload.places() == [("error", "declared rows", "README.md", "masks train")]
    assert "found 21, expected 20" in upload.finding().message


def test_names_of_columns(upload: Upload) -> None:
    renamed = Features({"concepts" if name == "concept" else name: feature for name, feature in FEATURES.items()})
    upload.declare(renamed, {"train": 20})
    assert upload.places() == [("error", "declared columns", FILE, "")]
    assert "found concept, expected concepts" in upload.finding().message


@pytest.mark.parametrize(
    ("column", "declared"),
    [("concept", Value("int64")), ("layer", List(Value("int32"))), ("active", Value("string"))],
)
def test_types_of_columns(upload: Upload, column: str, declared: object) -> None:
    upload.declare(Features(FEATURES | {column: declared, "y": Value("string")}), {"train": 20})
    upload.write(sound().append_column("y", pa.array(["text"] * 20)))
    assert upload.places() == [("error", "declared types", FILE, column)]


def test_labels_over_text(upload: Upload) -> None:
    names = sorted(set(sound()["concept"].to_pylist()))
    upload.write(rows_with(["text"] * 20))
    upload.declare(Features(FEATURES | {"concept": ClassLabel(names=names), "x": Value("string")}), {"train": 20})
    assert upload.places() == [("error", "labels over text", PATTERN, "concept")]
    assert "found string, expected int64" in upload.finding().message
