"""Files on the Hub are listed as local ones are, by ranges."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub import LoopbackHub
from safetensors.torch import save_file

from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import inspect

NOISE = np.random.default_rng(0).random(3_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = NOISE
        file["x"].attrs["unit"] = "nats"
    np.savez(folder / "a.npz", x=NOISE, y=np.zeros(3))
    torch.save({"x": torch.from_numpy(NOISE)}, folder / "a.pt")
    save_file({"x": torch.from_numpy(NOISE)}, folder / "a.safetensors")
    pq.write_table(pa.table({"x": NOISE}), folder / "a.parquet")
    (folder / "a.csv").write_text("x,y\n1,b\n")
    (folder / "a.json").write_text('{"x": [1]}')
    (folder / "broken.npz").write_bytes((folder / "a.npz").read_bytes()[:-50])
    return folder


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.pt", "a.safetensors", "a.parquet", "a.csv", "a.json"])
def test_a_file_on_the_hub(hub: LoopbackHub, folder: Path, name: str) -> None:
    hub.add_repository("someone/files", {name: folder / name})
    found, local = inspect(f"hf://datasets/someone/files/{name}"), inspect(folder / name)
    assert found.file.startswith("hf://datasets/someone/files")
    assert (found.format, found.bytes, found.facts) == (local.format, local.bytes, local.facts)
    assert found.entries == local.entries


def test_a_broken_file_on_the_hub_is_named_by_its_address(hub: LoopbackHub, folder: Path) -> None:
    hub.add_repository("someone/files", {"broken.npz": folder / "broken.npz"})
    with pytest.raises(FormatError) as caught:
        inspect("hf://datasets/someone/files/broken.npz")
    assert str(caught.value.file).startswith("hf://datasets/someone/files")
