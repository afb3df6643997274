"""When prepared tables are used again, and when they must not be; and which folder a config is read from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import h5py
import pytest
from atlas_fixture import Atlas, write_atlas

import circuit_artifacts
from circuit_artifacts.builders import base, locating
from circuit_artifacts.errors import MissingArtifactError, SourceError

MASKS = "masks_eps0.5_cons0.8"
FILE = "13_object_masks_eps0.5_cons0.8.h5"


@pytest.fixture
def folder(atlas: Atlas, tmp_path: Path) -> Path:
    """A copy of one mask file, to be changed."""
    shutil.copy(atlas.folder / FILE, tmp_path / FILE)
    return tmp_path


def load(**options: Any) -> datasets.Dataset:
    return datasets.load_dataset("csp-atlas", MASKS, split="universal", **options)


def active_of(dataset: datasets.Dataset) -> list[int]:
    return dataset[0]["active"]


def test_a_second_load_generates_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(data_root=str(folder))

    def refuse(*_: Any) -> Any:
        pytest.fail("the rows were read again")

    monkeypatch.setattr(locating, "tables", refuse)
    second = load(data_root=str(folder))
    assert second.cache_files == first.cache_files
    assert second.to_list() == first.to_list()
    assert circuit_artifacts.load_dataset("csp-atlas", MASKS, data_root=str(folder), split="universal").cache_files == (
        first.cache_files
    )


def test_a_changed_file_gives_new_rows(folder: Path) -> None:
    # Holds down: stale rows from the cache of `datasets` after the file was replaced.
    before = load(data_root=str(folder))
    with h5py.File(folder / FILE, "r+") as file:
        mask = file[f"universal_masks/layer_0/{before[0]['concept']}"]
        mask[:] = ~mask[:]
    after = load(data_root=str(folder))
    assert sorted(active_of(before) + active_of(after)) == list(range(2048))
    assert after.cache_files != before.cache_files


def test_a_touched_file_is_read_again(folder: Path) -> None:
    before = load(data_root=str(folder))
    status = (folder / FILE).stat()
    os.utime(folder / FILE, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = load(data_root=str(folder))
    assert after.cache_files != before.cache_files
    assert after.to_list() == before.to_list()


def test_mask_formats_and_folders_do_not_share_a_cache(folder: Path, atlas: Atlas) -> None:
    tables = [
        load(data_root=str(folder)),
        load(data_root=str(folder), mask_format="dense"),
        load(data_root=str(atlas.folder)),
    ]
    assert len({tuple(file["filename"] for file in table.cache_files) for table in tables}) == 3


def test_a_file_that_vanished_is_missed(folder: Path) -> None:
    # Holds down: rows of a folder that no longer holds the file.
    load(data_root=str(folder))
    (folder / FILE).unlink()
    with pytest.raises(MissingArtifactError, match=FILE):
        load(data_root=str(folder))


def test_data_dir_means_data_root(folder: Path) -> None:
    expected = load(data_root=str(folder)).to_list()
    assert load(data_dir=str(folder)).to_list() == expected
    ours = circuit_artifacts.load_dataset("csp-atlas", MASKS, data_dir=str(folder), split="universal", streaming=True)
    assert list(ours) == expected
    assert load(data_root=folder).to_list() == expected  # a Path
    assert list(load(data_dir=str(folder), streaming=True)) == expected


@pytest.mark.parametrize("variable", ["CIRCUIT_ARTIFACTS_ROOT", "CSP_ATLAS_DATA_ROOT"])
@pytest.mark.parametrize("streaming", [False, True])
def test_folders_from_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, streaming: bool
) -> None:
    expected = load(data_root=str(folder)).to_list()
    (tmp_path / "mirrors").mkdir()
    (tmp_path / "mirrors" / "csp-atlas").symlink_to(folder, target_is_directory=True)
    monkeypatch.setenv(variable, str(tmp_path / "mirrors" if variable == "CIRCUIT_ARTIFACTS_ROOT" else folder))
    assert list(load(streaming=streaming)) == expected


def test_the_order_of_folders(atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # data_root, then $CIRCUIT_ARTIFACTS_ROOT/<name>, then $CSP_ATLAS_DATA_ROOT; file by file.
    folders = {}
    for number, name in enumerate(("explicit", "general/csp-atlas", "own")):
        folders[name] = tmp_path / name
        folders[name].mkdir(parents=True)
        shutil.copy(atlas.folder / FILE, folders[name] / FILE)
        with h5py.File(folders[name] / FILE, "r+") as file:
            mask = file["universal_masks/layer_0/ast__Assert"]
            mask[:] = False
            mask[number] = True
    monkeypatch.setenv("CSP_ATLAS_DATA_ROOT", str(folders["own"]))
    assert active_of(load()) == [2]
    monkeypatch.setenv("CIRCUIT_ARTIFACTS_ROOT", str(tmp_path / "general"))
    assert active_of(load()) == [1]
    assert active_of(load(data_root=str(folders["explicit"]))) == [0]
    (folders["explicit"] / FILE).unlink()
    assert active_of(load(data_root=str(folders["explicit"]))) == [1]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_root_that_is_no_folder(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(SourceError, match="data_root is not a folder") as caught:
            load(data_root=str(root), streaming=streaming)
        assert caught.value.file == str(root)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_missing_file_names_every_place_and_the_command(tmp_path: Path, streaming: bool) -> None:
    with pytest.raises(MissingArtifactError) as caught:
        load(data_root=str(tmp_path), streaming=streaming)
    message = str(caught.value)
    for part in (
        FILE,
        f"data_root {tmp_path}: not there",
        "Hub cache: not there",
        "HF_HUB_OFFLINE is set",
        "lacks 12_object_activations.h5",
        "circuit-artifacts regenerate csp-atlas masks --root DIR",
        "regenerate=True",
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)


def test_derivation_behind_a_config(tmp_path: Path) -> None:
    # 14 from 13, and 13 from 12, without being asked; both ways of loading see the same derived file.
    pairs = [("For", "list"), ("For", "int"), ("If", "list")]
    small = write_atlas(tmp_path / "whole", pairs=pairs, n_prompts=4, width=48, published=False)
    only_sums = tmp_path / "sums"
    only_sums.mkdir()
    for name in ("object", "checker"):
        shutil.copy(small.folder / f"12_{name}_activations.h5", only_sums)
    for config, split in ((MASKS, "pair"), ("target_checker_eps0.1_cons0.2", "train"), ("summary", "train")):
        expected = datasets.load_dataset("csp-atlas", config, split=split, data_root=str(small.folder)).to_list()
        derived = datasets.load_dataset("csp-atlas", config, split=split, data_root=str(only_sums))
        assert derived.to_list() == expected
        streamed = datasets.load_dataset("csp-atlas", config, split=split, data_root=str(only_sums), streaming=True)
        assert list(streamed) == expected
    assert sorted(path.name for path in only_sums.iterdir()) == [
        "12_checker_activations.h5",
        "12_object_activations.h5",
    ]


def test_builder_modules_hold_one_builder_each() -> None:
    # `datasets` imports a module by its name and takes the first builder class that it finds there.
    assert issubclass(base.ArtifactBuilder, datasets.ArrowBasedBuilder)
    for name in ("csp-atlas", "csp-atlas-mini"):
        assert name == datasets.load_dataset_builder(name, MASKS).MIRROR
        assert type(datasets.load_dataset_builder(name, MASKS)).BUILDER_CONFIGS
