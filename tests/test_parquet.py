"""Conversion: the rows that stock `datasets` loads, files that survive a kill, and the viewer's limits."""

from __future__ import annotations

import json
import os
import shutil
import signal
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

from circuit_artifacts import catalog
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.formats.tabular import read_csv
from circuit_artifacts.parquet import convert
from circuit_artifacts.schemas.csp_vocabulary import attempted_pairs, pair_key
from circuit_artifacts.sources import Sources
from circuit_artifacts.viewer import check_viewer

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


KILLED = """
import os, signal, sys
from pathlib import Path
from circuit_artifacts import catalog
from circuit_artifacts.conversion import parts
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources

folder, out, *names = sys.argv[1:]
mirror = catalog.mirror("csp-atlas")
write = parts._write_part

def kill(path, groups, schema):
    write(path, groups, schema)
    if path.name.startswith("pair"):
        os.kill(os.getpid(), signal.SIGKILL)

parts._write_part = kill
convert(Sources(mirror=mirror, data_root=Path(folder)), Path(out), [mirror.configs[name] for name in names])
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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_same_input_same_bytes(atlas: Atlas, converted: Path, tmp_path: Path, jobs: int) -> None:
    convert(sources(atlas.folder), tmp_path, ONE_OF_EACH, jobs=jobs)
    assert contents(tmp_path) == contents(converted)


def test_every_row_of_every_config_is_there(
    atlas: Atlas, stock: tuple[dict[str, Any], bool, list[str]], converted: Path
) -> None:
    for config in ONE_OF_EACH:
        for split in config.family.splits:
            ours = read_table(MIRROR, config, atlas.folder / config.file, split.name).to_pylist()
            theirs = stock[0][config.name][split.name]
            assert [{name: row[name] for name in ours[0]} for row in theirs] == ours
            more = theirs[0].keys() - ours[0].keys()
            assert {row[name] for row in theirs for name in more} <= {None, config.name}


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_conversion_goes_on(atlas: Atlas, converted: Path, tmp_path: Path) -> None:
    """What is finished stays as it is; what the kill left behind goes away; nothing half-written is ever seen."""
    command = [sys.executable, "-c", KILLED, str(atlas.folder), str(tmp_path), "summary", MASKS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "summary").iterdir()}
    assert finished
    (leftover,) = tmp_path.glob(".*")
    assert leftover.name.startswith(f".{MASKS}.")
    assert {path.name for path in leftover.iterdir()} == {"universal-00000-of-00001.parquet", "pair-00000"}

    convert(sources(atlas.folder), tmp_path, [MIRROR.configs[name] for name in ("summary", MASKS)])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list(tmp_path.rglob(".*"))
    for name in ("summary", MASKS):
        assert contents(tmp_path / name) == contents(converted / name)


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
        shutil.copyfile(atlas.folder / name, folder / name)
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


def test_the_viewer_has_nothing_to_object_to(converted: Path) -> None:
    assert [finding for finding in check_viewer(converted) if finding.level == "error"] == []


def write_modularity(folder: Path, scores: list[tuple[str, int, int]]) -> Path:
    """``relaxed_modularity_scores.csv`` with two columns of scores that vary."""
    folder.mkdir(parents=True)
    path = folder / MIRROR.configs["modularity_scores"].file
    lines = [f"{concept},ast,{first},{second},0,0" for concept, first, second in scores]
    path.write_text("\n".join([",type,p=0.0,p=0.05,p=0.1,p=0.25", *lines, ""]))
    return path


def test_neighbouring_integers_become_floats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The viewer's statistics of a whole split fail on 0 and 1, or 7 and 8 (hub_and_viewer spec 4.3)."""
    caplog.set_level("INFO")
    write_modularity(tmp_path / "in", [("ast__For", 7, 0), ("ast__If", 8, 2), ("ast__While", 7, 1)])
    config = MIRROR.configs["modularity_scores"]
    (file,) = convert(sources(tmp_path / "in"), tmp_path / "out", [config])
    table = pq.read_table(file.path)
    assert table.schema.field("p=0.0").type == pa.float64()
    assert table["p=0.0"].to_pylist() == [7.0, 8.0, 7.0]
    assert table.schema.field("p=0.05").type == pa.int64()
    assert [record.message for record in caplog.records if "float64" in record.message] == [
        "modularity_scores: stored as float64, for the viewer's statistics: p=0.0"
    ]
    card = (tmp_path / "out" / "README.md").read_text()
    assert r"`p=0.0`\*, `p=0.05`, " in card
    before = contents(tmp_path / "out")
    assert convert(sources(tmp_path / "in"), tmp_path / "out", [config]) == [file]
    assert contents(tmp_path / "out") == before


def test_integers_that_floats_cannot_hold_stay(tmp_path: Path) -> None:
    write_modularity(tmp_path / "in", [("ast__For", 2**60, 0), ("ast__If", 2**60 + 1, 2)])
    (file,) = convert(sources(tmp_path / "in"), tmp_path / "out", [MIRROR.configs["modularity_scores"]])
    assert pq.read_table(file.path)["p=0.0"].to_pylist() == [2**60, 2**60 + 1]


def test_one_split_with_neighbours_changes_all_splits(tmp_path: Path) -> None:
    """Splits of a config have one schema, and stock `datasets` refuses others."""
    atlas = write_atlas(tmp_path / "in", width=24, n_layers=2, mirror="csp-atlas-mini", n_prompts=4, n_checkers=4)
    files = convert(Sources(mirror=atlas.mirror, data_root=atlas.folder), tmp_path, [atlas.mirror.configs[MASKS]])
    assert [file.schema.field("layer").type for file in files] == [pa.float64()] * 2
    assert files[0].floats == files[1].floats
    assert "layer" in files[0].floats


def test_a_config_without_text_gets_its_name(atlas: Atlas, converted: Path) -> None:
    """The viewer's search refuses a split in which no column is text."""
    table = pq.read_table(converted / "summary" / "train-00000-of-00001.parquet")
    assert table["config"].unique().to_pylist() == ["summary"]
    expected = read_csv(atlas.folder / "14_summary.csv", table.schema.remove(table.schema.get_field_index("config")))
    assert table.drop_columns("config").to_pylist() == expected.to_pylist()


def test_splits_without_rows_are_left_out(atlas: Atlas, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The viewer fails on them; nobody should have to find out why they are not there."""
    caplog.set_level("INFO")
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copyfile(atlas.folder / MIRROR.configs[MASKS].file, folder / MIRROR.configs[MASKS].file)
    with h5py.File(folder / MIRROR.configs[MASKS].file, "r+") as file:
        for layer in range(8):
            group = file[f"universal_masks/layer_{layer}"]
            for name in list(group):
                del group[name]
    (folder / "token_independence_no_keyword.csv").write_text("object,status\n")
    configs = [MIRROR.configs[MASKS], MIRROR.configs["token_independence_no_keyword"]]
    files = convert(sources(folder), tmp_path / "out", configs)
    assert [(file.config, file.split) for file in files] == [(MASKS, "pair")]
    assert f"{MASKS}: left out, because there are no rows: universal" in caplog.text
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Left out, because there are no rows: `token_independence_no_keyword`, `{MASKS}` `universal`." in card
    assert [finding for finding in check_viewer(tmp_path / "out") if finding.level == "error"] == []


def test_originals_are_copied_beside_the_configs(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path / "in", width=24, n_layers=2, mirror="csp-atlas-mini", n_prompts=4, n_checkers=4)
    config = atlas.mirror.configs["summary"]
    for _ in range(2):
        convert(Sources(mirror=atlas.mirror, data_root=atlas.folder), tmp_path / "out", [config], originals=True)
    # A CSV file says that it is not published data in the record beside it only.
    expected = {name: (atlas.folder / name).read_bytes() for name in (config.file, f"{config.file}.provenance.json")}
    assert contents(tmp_path / "out" / "raw") == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_file_is_named_and_the_others_stay(atlas: Atlas, tmp_path: Path, jobs: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copyfile(atlas.folder / "14_summary.csv", folder / "14_summary.csv")
    damaged = folder / "11B_checker_prompts.parquet"
    damaged.write_bytes((atlas.folder / damaged.name).read_bytes()[:-100])
    configs = [MIRROR.configs["summary"], MIRROR.configs["checker_prompts"]]
    with pytest.raises(FormatError) as caught:
        convert(sources(folder), tmp_path / "out", configs, jobs=jobs)
    assert caught.value.file == str(damaged)
    assert not list((tmp_path / "out").glob(".*"))
    assert not (tmp_path / "out" / "checker_prompts").exists()
    damaged.write_bytes((atlas.folder / damaged.name).read_bytes())
    assert [file.config for file in convert(sources(folder), tmp_path / "out", configs, jobs=jobs)] == [
        "summary",
        "checker_prompts",
    ]


def test_a_part_that_is_missing_is_an_error(atlas: Atlas, tmp_path: Path) -> None:
    (file,) = convert(sources(atlas.folder), tmp_path, [MIRROR.configs["summary"]])
    file.path.rename(file.path.with_name("train-00000-of-00002.parquet"))
    with pytest.raises(SchemaError, match="does not hold one whole conversion"):
        convert(sources(atlas.folder), tmp_path, [MIRROR.configs["summary"]])
