"""What `circuit_artifacts.load_dataset` adds to, and keeps of, `datasets.load_dataset`."""

from __future__ import annotations

import inspect
from pathlib import Path

import datasets
import pytest
from atlas_fixture import Atlas

from circuit_artifacts import load_dataset
from circuit_artifacts.errors import UnknownNameError

MASKS = "masks_eps0.5_cons0.8"


def test_the_signature_is_that_of_datasets() -> None:
    theirs = inspect.signature(datasets.load_dataset).parameters
    ours = inspect.signature(load_dataset).parameters
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind is parameter.kind
        if name not in {"download_mode", "verification_mode"}:
            assert ours[name].default == parameter.default


def test_kinds_of_results(atlas: Atlas) -> None:
    root = str(atlas.folder)
    assert isinstance(load_dataset("csp-atlas", MASKS, data_root=root), datasets.DatasetDict)
    assert isinstance(load_dataset("csp-atlas", MASKS, root, split="pair"), datasets.Dataset)
    assert isinstance(load_dataset("csp-atlas", MASKS, root, streaming=True), datasets.IterableDatasetDict)
    one = load_dataset("csp-atlas", MASKS, data_root=root, split="pair", streaming=True)
    assert isinstance(one, datasets.IterableDataset)
    both = load_dataset("csp-atlas", MASKS, data_root=root, split=["pair[:3]", "universal[-2:]"])
    assert [len(part) for part in both] == [3, 2]
    joined = load_dataset("csp-atlas", "summary", data_root=root, split="train[:2]+train[-1:]")
    assert [row["consistency"] for row in joined] == [0.2, 0.5, 0.8]


def test_options_reach_datasets(atlas: Atlas, tmp_path: Path) -> None:
    root = str(atlas.folder)
    kept = load_dataset("csp-atlas", "summary", data_root=root, split="train", cache_dir=str(tmp_path))
    assert all(Path(file["filename"]).is_relative_to(tmp_path) for file in kept.cache_files)
    held = load_dataset("csp-atlas", "summary", data_root=root, split="train", keep_in_memory=True)
    assert held.cache_files == []
    stamp = Path(kept.cache_files[0]["filename"]).stat().st_mtime_ns
    load_dataset(
        "csp-atlas",
        "summary",
        data_root=root,
        cache_dir=str(tmp_path),
        download_mode="force_redownload",
    )
    assert Path(kept.cache_files[0]["filename"]).stat().st_mtime_ns > stamp


@pytest.mark.parametrize("options", [{"data_files": "a.h5"}, {"features": datasets.Features()}])
def test_options_without_a_meaning_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="do not apply to csp-atlas"):
        load_dataset("csp-atlas", MASKS, **options)


def test_unknown_options_are_refused(atlas: Atlas) -> None:
    with pytest.raises((TypeError, ValueError), match="maskformat"):
        load_dataset("csp-atlas", MASKS, data_root=str(atlas.folder), maskformat="dense")
    for streaming in (False, True):
        with pytest.raises(UnknownNameError, match=r"mask_format 'sparse'.*indices, dense"):
            load_dataset("csp-atlas", MASKS, data_root=str(atlas.folder), mask_format="sparse", streaming=streaming)
