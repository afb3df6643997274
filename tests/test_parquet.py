"""Conversion: the rows that stock `datasets` loads, files that survive a kill, and the viewer's limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from atlas_fixture import Atlas, write_atlas

from circuit_artifacts import catalog, parquet
from circuit_artifacts.errors import MissingArtifactError, SchemaError
from circuit_artifacts.parquet import convert
from circuit_artifacts.schemas.csp_vocabulary import attempted_pairs, pair_key
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("csp-atlas")
MASKS = "masks_eps0.5_cons0.8"
ONE_OF_EACH = [family.configs[-1] for family in MIRROR.families if family.loadable]

STOCK = """
import json, sys
from datasets import get_dataset_config_names, load_dataset

folder, cache = sys.argv[1:]
rows, streamed = {}, {}
for config in get_dataset_config_names(folder):
    whole = load_dataset(folder, config, cache_dir=cache)
    rows[config] = {split: table.to_list() for split, table in whole.items()}
    streamed[config] = {split: list(s) for split, s in load_dataset(folder, config, streaming=True).items()}
assert "circuit_artifacts" not in sys.modules
json.dump([rows, rows == streamed, list(load_dataset(folder, cache_dir=cache))], sys.stdout)
"""


def sources(folder: Path) -> Sources:
    return Sources(mirror=MIRROR, data_root=folder)


@pytest.fixture(autouse=True)
def _no_fsync() -> Iterator[None]:
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        yield


@pytest.fixture(scope="module")
def converted(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One config of every family."""
    out = tmp_path_factory.mktemp("converted")
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        convert(sources(atlas.folder), out, ONE_OF_EACH)
    return out


@pytest.fixture(scope="module")
def stock(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bool, list[str]]:
    """What `datasets` alone makes of the folder: rows by config and split, whether streaming agrees, default splits."""
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(converted), str(tmp_path_factory.mktemp("cache"))],
        capture_output=True,
        text=True,
        check=False,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("home")), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    rows, streams_alike, default_splits = json.loads(done.stdout)
    return rows, streams_alike, default_splits


def test_stock_datasets_loads_every_config(stock: tuple[dict[str, Any], bool, list[str]]) -> None:
    rows, streams_alike, default_splits = stock
    assert list(rows) == [config.name for config in ONE_OF_EACH]
    assert streams_alike
    assert default_splits == ["universal", "pair"]


def test_rows_of_masks_are_those_of_the_file(atlas: Atlas, stock: tuple[dict[str, Any], bool, list[str]]) -> None:
    """Splits with different columns share one schema; what a split has not is null."""
    with h5py.File(atlas.folder / catalog.config("csp-atlas", MASKS).file) as file:
        pairs = [
            {
                "concept": None,
                "kind": None,
                "name": None,
                "ast_node": key.split("__", 1)[0],
                "builtin_obj": key.split("__", 1)[1],
                "layer": layer,
                "size": int(file[f"pair_masks/layer_{layer}/{key}"][()].sum()),
                "active": np.flatnonzero(file[f"pair_masks/layer_{layer}/{key}"][()]).tolist(),
            }
            for layer in range(8)
            for key in sorted(file["pair_masks/layer_0"])
        ]
        universal = [(layer, key) for layer in range(8) for key in sorted(file["universal_masks/layer_0"])]
    assert stock[0][MASKS]["pair"] == pairs
    found = stock[0][MASKS]["universal"]
    assert [(row["layer"], row["concept"], row["ast_node"], row["builtin_obj"]) for row in found] == [
        (layer, key, None, None) for layer, key in universal
    ]


def test_rows_of_activations_are_those_of_the_file(atlas: Atlas, stock: tuple[dict[str, Any], bool, list[str]]) -> None:
    rows = stock[0]["object_activations"]["train"]
    sums = np.array([row["activation_sum"] for row in rows], np.float32).reshape(8, -1, 2048).swapaxes(0, 1)
    np.testing.assert_array_equal(sums, atlas.object_statistics.activation_sum)


def test_dtypes_survive(converted: Path) -> None:
    schema = pq.read_schema(converted / MASKS / "pair-00000-of-00001.parquet")
    assert schema.field("active").type == pa.list_(pa.uint16())
    assert schema.field("layer").type == pa.int32()
    assert schema.equals(pq.read_schema(converted / MASKS / "universal-00000-of-00001.parquet"))
    activations = pq.read_schema(converted / "object_activations/train-00000-of-00001.parquet")
    assert activations.field("activation_sum").type == pa.list_(pa.float32(), 2048)


def test_viewer_limits(converted: Path) -> None:
    """Without a page index the viewer reads whole row groups for one page (hub_and_viewer spec 4.2)."""
    files = list(converted.rglob("*.parquet"))
    assert len(files) == sum(len(config.family.splits) for config in ONE_OF_EACH)
    for path in files:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                assert chunk.compression == "ZSTD"
                assert chunk.has_offset_index
                assert chunk.has_column_index


@pytest.mark.parametrize(("limit", "value"), [("_ROW_GROUP_BYTES", 1 << 20), ("_ROW_GROUP_ROWS", 50)])
def test_row_groups_are_bounded(
    atlas: Atlas, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """Sixteen thousand rows of activations would be 270 MB, which neither memory nor the viewer can take."""
    monkeypatch.setattr(parquet, limit, value)
    (file,) = convert(sources(atlas.folder), tmp_path, [MIRROR.configs["object_activations"]])
    written = pq.ParquetFile(file.path)
    groups = [written.read_row_group(group) for group in range(written.num_row_groups)]
    assert len(groups) > 1
    assert all((table.nbytes if limit == "_ROW_GROUP_BYTES" else len(table)) <= value for table in groups)
    assert pa.concat_tables(groups).equals(pq.read_table(converted / "object_activations/train-00000-of-00001.parquet"))


def test_same_input_same_bytes(atlas: Atlas, converted: Path, tmp_path: Path) -> None:
    convert(sources(atlas.folder), tmp_path, ONE_OF_EACH)
    ours = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    theirs = {path.relative_to(converted): path.read_bytes() for path in converted.rglob("*") if path.is_file()}
    assert ours == theirs


def test_killed_conversion_goes_on(atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [MIRROR.configs["summary"], MIRROR.configs[MASKS]]
    write, calls = parquet._write_split, []

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments)
        write(*arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(parquet, "_write_split", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(sources(atlas.folder), tmp_path, configs)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert sorted(path.name.split("-")[0] for path in finished) == ["train", "universal"]
    assert not list(tmp_path.rglob(".*"))
    leftover = tmp_path / MASKS / ".pair-00000-of-00001.parquet.0123456789abcdef.part"
    leftover.write_bytes(b"half")  # as SIGKILL leaves it

    convert(sources(atlas.folder), tmp_path, configs)
    assert len(calls) == 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert (tmp_path / MASKS / "pair-00000-of-00001.parquet").is_file()
    assert not list(tmp_path.rglob(".*"))


def test_nothing_is_rewritten(atlas: Atlas, tmp_path: Path) -> None:
    for _ in range(2):
        convert(sources(atlas.folder), tmp_path, [MIRROR.configs[MASKS]])
        times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    convert(sources(atlas.folder), tmp_path, [MIRROR.configs[MASKS]])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_the_conversion_of_another_file_is_not_taken_for_this_one(atlas: Atlas, tmp_path: Path) -> None:
    config = MIRROR.configs["summary"]
    convert(sources(atlas.folder), tmp_path / "out", [config])
    (tmp_path / "in").mkdir()
    text = (atlas.folder / config.file).read_text()
    (tmp_path / "in" / config.file).write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(SchemaError, match="converted from another file"):
        convert(sources(tmp_path / "in"), tmp_path / "out", [config])


def test_what_cannot_be_had_is_left_out(atlas: Atlas, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One file that nobody published must not keep the others from being converted; asked for, it is an error."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("14_summary.csv", "11A_object_prompts.parquet"):
        (folder / name).symlink_to(atlas.folder / name)
    files = convert(sources(folder), tmp_path / "out")
    assert [file.config for file in files] == ["object_prompts", "summary"]
    assert "left out: checker_prompts" in caplog.text
    with pytest.raises(MissingArtifactError):
        convert(sources(folder), tmp_path / "out", [MIRROR.configs["checker_prompts"]])


def test_masks_shrink_to_six_per_cent(tmp_path: Path) -> None:
    """In the layout of old writers each 2-KiB mask has an object header and a chunk index of its own."""
    folder = tmp_path / "in"
    pairs = attempted_pairs("small")[:160]
    masks = np.random.default_rng(0).random((8, len(pairs), 2048)) < 0.04
    folder.mkdir()
    path = folder / MIRROR.configs[MASKS].file
    with h5py.File(path, "w", libver="earliest") as file:
        for group, names in (
            ("pair_masks", sorted(pair_key(*pair) for pair in pairs)),
            ("universal_masks", sorted({f"ast__{node}" for node, _ in pairs})),
        ):
            for layer in range(8):
                for name, mask in zip(names, masks[layer], strict=False):
                    file.create_dataset(
                        f"{group}/layer_{layer}/{name}", data=mask, compression="gzip", compression_opts=4
                    )
        file.create_group("metadata").attrs.update(epsilon=0.5, consistency_thresh=0.8, n_layers=8, n_pairs=len(pairs))
    files = convert(sources(folder), tmp_path / "out", [MIRROR.configs[MASKS]])
    assert sum(file.path.stat().st_size for file in files) <= 0.06 * path.stat().st_size


def test_narrow_model(tmp_path: Path) -> None:
    """The width comes from the file's provenance, never from the published model."""
    atlas = write_atlas(tmp_path / "in", width=24, n_layers=2, mirror="csp-atlas-mini", n_prompts=4, n_checkers=4)
    (file,) = convert(
        Sources(mirror=atlas.mirror, data_root=atlas.folder), tmp_path, [atlas.mirror.configs["checker_activations"]]
    )
    assert file.regenerated
    assert file.schema.field("firing_count").type == pa.list_(pa.int32(), 24)
    assert file.rows == 2 * len(atlas.testable)
