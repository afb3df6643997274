"""HDF5 files listed: every path, and nothing outside the file or too large is opened."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_zoo import CANARY, KINDS

from circuit_artifacts import provenance
from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.hdf5 import attributes
from circuit_artifacts.inspection import Entry, inspect


def test_paths_types_sizes_and_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="v110", userblock_size=512) as file:
        file.attrs["eps"] = 0.5
        masks = file.create_dataset("masks/layer_0/if", data=np.zeros(64, bool), compression="gzip", chunks=(64,))
        masks.attrs.update({"n": np.int64(3), "names": ["a", "b"], "bad": np.nan})
        file["n_prompts"] = np.int32(7)
        file["null"] = h5py.Empty("f4")
        file.create_group("stats").attrs["kept"] = True
        file.create_group("empty")
    found = inspect(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        stored = file["masks/layer_0/if"].id.get_storage_size()
    assert (found.format, found.bytes) == ("hdf5", (tmp_path / "a.h5").stat().st_size)
    assert found.facts == {
        "groups": 5,
        "datasets": 3,
        "superblock_version": 3,
        "user_block_bytes": 512,
        "metadata": {"eps": 0.5},
    }
    assert found.entries == (
        Entry("empty", "group"),
        Entry("masks/layer_0/if", "dataset", "bool", (64,), stored, {"bad": None, "n": 3, "names": ["a", "b"]}),
        Entry("n_prompts", "dataset", "int32", (), 4),
        Entry("null", "dataset", "float32", None, 0, note="a null dataspace: no value"),
        Entry("stats", "group", attributes={"kept": True}),
    )


def test_links_and_foreign_data_are_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = [1.0]
        file["soft"] = h5py.SoftLink("/data")
        file["lost"] = h5py.SoftLink("/nowhere")
        file["away"] = h5py.ExternalLink("other.h5", "/x")
        file["group/again"] = file["/"]
        file.create_dataset("raw", (1,), "f8", external=[(str(tmp_path / "secret.bin"), 0, 8)])
        file.create_virtual_dataset("virtual", layout)
    notes = {entry.path: (entry.kind, entry.note) for entry in inspect(tmp_path / "a.h5").entries}
    assert notes == {
        "away": ("external link", "to other.h5:/x, which is not opened"),
        "data": ("dataset", ""),
        "group/again": ("repeated", "is / again"),
        "lost": ("dangling link", "soft link to /nowhere"),
        "raw": ("dataset", "external storage: the data are in other files, which are not opened"),
        "soft": ("dataset", "soft link to /data"),
        "virtual": ("dataset", "a virtual dataset: the data are in other files, which are not opened"),
    }


def test_a_huge_attribute_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["data"] = [1.0]
        file["data"].attrs["text"] = "x" * 300_000
    monkeypatch.setattr(attributes, "LARGEST_ATTRIBUTE", 100_000)
    (entry,) = inspect(tmp_path / "a.h5").entries
    assert (entry.path, entry.shape, entry.attributes) == ("data", (1,), {})
    assert entry.note.startswith("1 attributes not read: ")


def test_our_own_record(tmp_path: Path) -> None:
    record = provenance.Provenance(mirror="csp-atlas-mini", step="masks")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[provenance.KEY] = record.embedded()
    found = inspect(tmp_path / "a.h5")
    assert found.facts["provenance"]["mirror"] == "csp-atlas-mini"
    assert found.facts["metadata"] == {}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_the_survey_is_listed_or_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.h5"
    KINDS[name].write(path)
    try:
        with h5py.File(path) as file:
            names = set(file)
    except OSError:
        with pytest.raises(FormatError) as caught:
            inspect(path)
        assert caught.value.file == str(path)
    else:
        found = inspect(path)
        assert {entry.path.partition("/")[0] for entry in found.entries} == names
        assert str(CANARY) not in repr(found)


@pytest.mark.parametrize("keep", [9, 100, 0.5, -1])
def test_truncated_files(tmp_path: Path, keep: float) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(20):
            file[f"group/{number}"] = np.arange(100)
    data = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(FormatError) as caught:
        inspect(tmp_path / "a.h5")
    assert caught.value.file == str(tmp_path / "a.h5")
