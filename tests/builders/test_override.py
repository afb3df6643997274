"""Taking over the name `hdf5`: only when asked, for everything that `datasets` finds by suffix, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as TABLE
from hub import LoopbackHub

import circuit_artifacts

CARD = """---
configs:
- config_name: masks
  data_files: raw/*.h5
  layout: leaves
  select: "masks/layer_{layer:int}/{name}"
---
"""

pytestmark = pytest.mark.skipif("hdf5" not in TABLE, reason="this version of datasets knows no HDF5")


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    """Groups of different length, which the stock loader cuts to the first or refuses."""
    folder = tmp_path / "repository"
    (folder / "raw").mkdir(parents=True)
    with h5py.File(folder / "raw/masks.h5", "w") as file:
        for layer in (0, 1):
            file[f"masks/layer_{layer}/For"] = np.arange(layer + 2)
    return folder


@pytest.fixture
def overridden() -> Iterator[None]:
    circuit_artifacts.override_hdf5()
    yield
    circuit_artifacts.restore_hdf5()


def test_importing_the_package_takes_nothing_over() -> None:
    assert TABLE["hdf5"][0].startswith("datasets.")


def test_it_is_undone_by_restoring_and_by_unregistering() -> None:
    stock, order = TABLE["hdf5"], list(TABLE)
    for undo in (circuit_artifacts.restore_hdf5, circuit_artifacts.unregister):
        circuit_artifacts.override_hdf5()
        circuit_artifacts.override_hdf5()
        assert TABLE["hdf5"][0] == "circuit_artifacts.builders.hdf5"
        undo()
        assert TABLE["hdf5"] == stock
        assert list(TABLE) == order
    circuit_artifacts.register()


@pytest.mark.usefixtures("overridden")
@pytest.mark.parametrize("streaming", [False, True])
def test_the_stock_name_reads_what_ours_does(unequal: Path, streaming: bool) -> None:
    files = str(unequal / "raw/masks.h5")
    found = datasets.load_dataset("hdf5", data_files=files, split="train", streaming=streaming)
    assert list(found) == [{"group": f"layer_{layer}", "For": n} for layer in (0, 1) for n in range(layer + 2)]


@pytest.mark.usefixtures("overridden")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_is_read_by_its_card_with_options(unequal: Path, streaming: bool) -> None:
    (unequal / "README.md").write_text(CARD)
    found = datasets.load_dataset(str(unequal), "masks", split="train", streaming=streaming)
    assert [(row["layer"], row["name"], row["value"]) for row in found] == [(0, "For", [0, 1]), (1, "For", [0, 1, 2])]


@pytest.mark.usefixtures("overridden")
def test_a_folder_without_a_card_is_read_by_suffix(unequal: Path) -> None:
    assert len(datasets.load_dataset(str(unequal), split="train")) == 5


@pytest.mark.usefixtures("overridden")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_repository_is_read_by_its_card_with_options(hub: LoopbackHub, unequal: Path, streaming: bool) -> None:
    hub.add_repository("user/masks", {"README.md": CARD.encode(), "raw/masks.h5": unequal / "raw/masks.h5"})
    found = datasets.load_dataset("user/masks", split="train", streaming=streaming)
    assert [row["value"] for row in found] == [[0, 1], [0, 1, 2]]


def test_a_version_without_hdf5_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TABLE, "hdf5")
    with pytest.raises(RuntimeError, match=r"datasets>=4\.1"):
        circuit_artifacts.override_hdf5()
