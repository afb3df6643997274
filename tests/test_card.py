"""The card of a converted folder: what the Hub and `datasets` parse, and what a reader must be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, List, Value
from huggingface_hub import DatasetCard

from circuit_artifacts import catalog, provenance
from circuit_artifacts.card import write_card
from circuit_artifacts.parquet import Converted
from circuit_artifacts.provenance import STATEMENT
from circuit_artifacts.schemas.declaration import Family, Mirror

MIRROR = catalog.mirror("csp-atlas")
MASKS = "masks_eps0.5_cons0.8"


def file(out: Path, config: str, split: str, *, regenerated: bool = False) -> Converted:
    table = pa.table({"layer": pa.array([0, 1], pa.int32()), "active": pa.array([[1], [2, 3]], pa.list_(pa.uint16()))})
    path = out / config / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    footer = {"circuit_artifacts.source": f"sha256:{config}", "circuit_artifacts.arrow_bytes": "40"}
    footer |= {provenance.KEY: "{}"} if regenerated else {}
    return Converted(config=config, split=split, path=path, rows=1234, schema=table.schema, footer=footer)


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
    assert row.count("|") == 5
    assert "&#124;MLP output&#124;" in row


def test_an_unchanged_card_is_left_alone(tmp_path: Path) -> None:
    files = [file(tmp_path, MASKS, "pair")]
    write_card(MIRROR, files, tmp_path)
    before = (tmp_path / "README.md").stat().st_mtime_ns
    write_card(MIRROR, files, tmp_path)
    assert (tmp_path / "README.md").stat().st_mtime_ns == before
    write_card(MIRROR, [*files, file(tmp_path, "summary", "train")], tmp_path)
    assert "`summary`" in (tmp_path / "README.md").read_text()


def test_sizes_are_those_of_all_parts(tmp_path: Path) -> None:
    first = file(tmp_path, MASKS, "pair")
    second = replace(first, path=first.path.with_name("pair-00001-of-00002.parquet"))
    second.path.write_bytes(first.path.read_bytes())
    data = card(tmp_path, [first, second]).data.to_dict()  # type: ignore[no-untyped-call]
    info, size = data["dataset_info"], first.path.stat().st_size
    assert info["splits"] == [{"name": "pair", "num_bytes": 80, "num_examples": 2468}]
    assert (info["download_size"], info["dataset_size"]) == (2 * size, 80)
    assert data["size_categories"] == ["1K<n<10K"]
    assert "interpretability" in data["tags"]


@pytest.mark.parametrize(
    ("rows", "category"), [(999, "n<1K"), (1_000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**12, "n>1T")]
)
def test_size_categories(tmp_path: Path, rows: int, category: str) -> None:
    data = card(tmp_path, [replace(file(tmp_path, MASKS, "pair"), rows=rows)]).data
    assert data.size_categories == [category]


def test_without_the_declared_default_the_first_config_is_it(tmp_path: Path) -> None:
    data = card(tmp_path, [file(tmp_path, "summary", "train"), file(tmp_path, "concepts", "train")]).data
    assert [config.get("default") for config in data.configs] == [True, None]


def test_families_and_digests(tmp_path: Path) -> None:
    files = [file(tmp_path, f"masks_eps{eps}_cons0.8", "pair") for eps in (0.1, 0.5)]
    text = card(tmp_path, [*files, file(tmp_path, "summary", "train")]).text
    assert "| `masks_eps*_cons*` (2) | circuits of pairs, and of concepts as their intersections | " in text
    assert "| pair: 2,468 |" in text
    assert "| `13_object_masks_eps0.1_cons0.8.h5` | `sha256:masks_eps0.1_cons0.8` |" in text


def test_names_break_neither_yaml_nor_tables(tmp_path: Path) -> None:
    """Columns and files are named by strangers."""
    hostile = "a\n---\n| `b` | <script> [x](y) \\"
    table = pa.table({hostile: ["x", "y"], "on": [1, 3], "1e5": [1, 3]})
    path = tmp_path / "x" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    family = Family(name="x", summary=f"rows of {hostile}", file=hostile, reader="", splits=MIRROR.families[0].splits)
    mirror = Mirror(name="local files", title=hostile, families=(family,), n_layers=1, width=1, default_config="x")
    converted = Converted(config="x", split="train", path=path, rows=2, schema=table.schema, footer={})
    loaded = card(tmp_path, [converted], mirror)
    features = Features._from_yaml_list(loaded.data.dataset_info["features"])
    assert list(features) == [hostile, "on", "1e5"]
    assert loaded.data.pretty_name == hostile
    (row,) = (line for line in loaded.text.splitlines() if line.startswith("| `x`"))
    assert row.count("|") == 5
    for markup in ("<script>", "[x]", "`b`", "\n---"):
        assert markup not in loaded.text
    assert len(datasets.load_dataset(str(tmp_path), "x", split="train", cache_dir=str(tmp_path / "cache"))) == 2
