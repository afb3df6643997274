"""The card of a converted folder: what the Hub and `datasets` parse, and what a reader must be told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, List, Value
from huggingface_hub import DatasetCard

from circuit_artifacts import catalog
from circuit_artifacts.card import write_card
from circuit_artifacts.parquet import Converted
from circuit_artifacts.provenance import STATEMENT
from circuit_artifacts.schemas.declaration import Mirror

MIRROR = catalog.mirror("csp-atlas")
MASKS = "masks_eps0.5_cons0.8"


def file(out: Path, config: str, split: str, *, regenerated: bool = False) -> Converted:
    table = pa.table({"layer": pa.array([0, 1], pa.int32()), "active": pa.array([[1], [2, 3]], pa.list_(pa.uint16()))})
    path = out / config / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return Converted(config=config, split=split, path=path, rows=1234, schema=table.schema, regenerated=regenerated)


def card(out: Path, files: list[Converted], mirror: Mirror = MIRROR) -> DatasetCard:
    write_card(mirror, files, out)
    loaded: DatasetCard = DatasetCard.load(out / "README.md")
    return loaded


def test_blocks_that_datasets_reads(tmp_path: Path) -> None:
    files = [file(tmp_path, "object_activations", "train"), file(tmp_path, MASKS, "universal")]
    files.append(file(tmp_path, MASKS, "pair"))
    data = card(tmp_path, files).data.to_dict()  # type: ignore[no-untyped-call]
    assert data["configs"] == [
        {
            "config_name": "object_activations",
            "data_files": [{"split": "train", "path": "object_activations/train-*.parquet"}],
        },
        {
            "config_name": MASKS,
            "default": True,
            "data_files": [
                {"split": "universal", "path": f"{MASKS}/universal-*.parquet"},
                {"split": "pair", "path": f"{MASKS}/pair-*.parquet"},
            ],
        },
    ]
    assert data["license"] == "apache-2.0"
    assert data["language"] == "en"  # exactly one, or the viewer's search has no stemmer
    info = {info["config_name"]: info for info in data["dataset_info"]}[MASKS]
    assert [(split["name"], split["num_examples"]) for split in info["splits"]] == [("universal", 1234), ("pair", 1234)]
    assert Features._from_yaml_list(info["features"]) == Features(
        {"layer": Value("int32"), "active": List(Value("uint16"))}
    )


def test_text_names_source_rows_and_citation(tmp_path: Path) -> None:
    text = card(tmp_path, [file(tmp_path, MASKS, "pair")]).text
    assert "piotrwilam/CSP-Atlas" in text
    assert "pair: 1,234 |" in text
    assert MIRROR.citation in text
    assert STATEMENT.lower() not in text.lower()


@pytest.mark.parametrize("name", ["csp-atlas", "csp-atlas-mini"])
def test_regenerated_data_says_so_first(tmp_path: Path, name: str) -> None:
    text = card(tmp_path, [file(tmp_path, MASKS, "pair", regenerated=True)], catalog.mirror(name)).text
    first = text.strip().split("\n\n")[1]
    assert first.startswith(f"**R{STATEMENT[1:]}.**")
    assert "Converted by" not in first


def test_mixed_folder_names_what_is_regenerated(tmp_path: Path) -> None:
    files = [file(tmp_path, MASKS, "pair"), file(tmp_path, "summary", "train", regenerated=True)]
    first = card(tmp_path, files).text.strip().split("\n\n")[1]
    assert f"R{STATEMENT[1:]}: `summary`." in first
    assert "The rest: Converted by" in first


def test_bars_do_not_end_table_cells(tmp_path: Path) -> None:
    text = card(tmp_path, [file(tmp_path, "object_activations", "train")]).text
    (row,) = (line for line in text.splitlines() if line.startswith("| `object_activations`"))
    assert row.count("|") == 4
    assert "&#124;MLP output&#124;" in row


def test_an_unchanged_card_is_left_alone(tmp_path: Path) -> None:
    files = [file(tmp_path, MASKS, "pair")]
    write_card(MIRROR, files, tmp_path)
    before = (tmp_path / "README.md").stat().st_mtime_ns
    write_card(MIRROR, files, tmp_path)
    assert (tmp_path / "README.md").stat().st_mtime_ns == before
    write_card(MIRROR, [*files, file(tmp_path, "summary", "train")], tmp_path)
    assert "`summary`" in (tmp_path / "README.md").read_text()
