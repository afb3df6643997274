"""Torch files listed without torch: tensors with type and shape, every name that loading would import, nothing run."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 (written here, never loaded)
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import Entry, Inspection, inspect, torch_files

Listed = Callable[[Any], Inspection]


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Listed:
    def write(content: Any) -> Inspection:
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=request.param)
        return inspect(tmp_path / "a.pt")

    return write


def by_path(found: Inspection) -> dict[str, Entry]:
    return {entry.path: entry for entry in found.entries}


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    ],
)
def test_every_type(listed: Listed, dtype: torch.dtype) -> None:
    tensor = torch.zeros(3, 2).to(dtype)
    found = listed({"t": tensor})
    assert found.entries == (Entry("t", "tensor", str(dtype).removeprefix("torch."), (3, 2), tensor.nbytes),)
    assert found.facts["unsafe_globals"] == []


def test_a_state_dict(listed: Listed) -> None:
    found = listed(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict())
    assert found.format == "torch"
    assert [(entry.path, entry.dtype, entry.shape) for entry in found.entries] == [
        ("0.weight", "float32", (2, 3)),
        ("0.bias", "float32", (2,)),
        ("1.weight", "float32", (2,)),
        ("1.bias", "float32", (2,)),
        ("1.running_mean", "float32", (2,)),
        ("1.running_var", "float32", (2,)),
        ("1.num_batches_tracked", "int64", ()),
    ]


def test_one_tensor_parameters_and_views(listed: Listed) -> None:
    assert listed(torch.zeros(2, 0)).entries == (Entry("/", "tensor", "float32", (2, 0), 0),)
    base = torch.zeros(10)
    found = by_path(listed({"p": torch.nn.Parameter(base[:2]), "t": base.reshape(5, 2).T}))
    assert found["p"] == Entry("p", "tensor", "float32", (2,), 8, note="parameter; part of a storage of 40 bytes")
    assert found["t"] == Entry("t", "tensor", "float32", (2, 5), 40)


def test_plain_values(listed: Listed) -> None:
    content = {"lr": 0.5, "layers": [1, 2], "long": list(range(30)), 7: None, "deep": {"x": "y"}, "mixed": (1, "a")}
    found = listed(content | {"table": dict.fromkeys(range(100), 0.5), "count": Counter(a=2), "none": {}})
    assert found.entries == (
        Entry("lr", "value", "float", note="0.5"),
        Entry("layers", "list", "int", (2,), note="1, 2"),
        Entry("long", "list", "int", (30,)),
        Entry("7", "value", "NoneType", note="None"),
        Entry("deep/x", "value", "str", note="'y'"),
        Entry("mixed", "list", "int | str", (2,), note="1, 'a'"),
        Entry("table", "dict", "float", (100,)),
        Entry("count/a", "value", "int", note="2"),
        Entry("none", "dict", "", (0,)),
    )
    assert found.facts["unsafe_globals"] == []


def test_arrays_inside_the_pickle(listed: Listed) -> None:
    """As the entropy files of sae-locality hold theirs."""
    found = listed({3: {"vector": np.zeros(5, ">f4"), "entropy": np.float32(1.5), "names": np.array(["ab"])}})
    assert found.entries == (
        Entry("3/vector", "array", ">f4", (5,), 20),
        Entry("3/entropy", "scalar", "float32", (), 4),
        Entry("3/names", "array", "<U2", (1,), 8),
    )
    assert "numpy.dtype" in found.facts["globals"]
    assert found.facts["unsafe_globals"] == []


class Trap:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def test_code_is_named_and_not_run(listed: Listed, tmp_path: Path) -> None:
    found = listed({"weight": torch.zeros(2), "trap": Trap(tmp_path / "made")})
    assert found.facts["unsafe_globals"] == [f"{os.name}.system"]
    assert by_path(found)["trap"] == Entry("trap", "object", f"{os.name}.system")
    assert by_path(found)["trap/argument 0"].note.startswith("'touch ")
    assert by_path(found)["weight"].shape == (2,)
    assert not (tmp_path / "made").exists()


def test_a_whole_module_shows_its_class_and_its_tensors(listed: Listed) -> None:
    found = listed({"model": torch.nn.Linear(3, 2)})
    assert "torch.nn.modules.linear.Linear" in found.facts["unsafe_globals"]
    assert by_path(found)["model/_parameters/weight"] == Entry(
        "model/_parameters/weight", "tensor", "float32", (2, 3), 24, note="parameter"
    )


@pytest.mark.parametrize("keep", [12, 0.2, 0.6, -1])
@pytest.mark.parametrize("as_zip", [True, False])
def test_truncated_files(tmp_path: Path, keep: float, as_zip: bool) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(100), "names": ["a", "b"]}, path, _use_new_zipfile_serialization=as_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(FormatError) as caught:
        inspect(path)
    assert caught.value.file == str(path)


def test_numbers_that_are_missing_from_an_archive(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(100), "v": torch.ones(3)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:8] if name.endswith("data/0") else content)
    with pytest.raises(FormatError, match=r"b\.pt:a/data: the numbers of some tensors are not all there \(found 0\)"):
        inspect(tmp_path / "b.pt")


def test_a_large_pickle_leaves_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.zeros(100)}, tmp_path / "a.pt")
    monkeypatch.setattr(torch_files, "_LARGEST_PICKLE", 10)
    found = inspect(tmp_path / "a.pt")
    assert found.facts["note"] == "its pickle is too large to be followed"
    assert {entry.path: entry.stored_bytes for entry in found.entries}["data/0"] == 400


def test_shared_nested_and_recursive_content_ends(tmp_path: Path) -> None:
    """Lists of lists of the same lists are 2**60 paths, and a list in itself endlessly many."""
    shared: list[Any] = [torch.zeros(1)]
    for _ in range(60):
        shared = [shared, shared]
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = [torch.zeros(1)]
    for _ in range(200):
        deep = [deep]
    torch.save({"shared": shared, "endless": endless, "deep": deep}, tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert len(found.entries) == 63
    notes = by_path(found)
    assert notes["endless/0"].note == "is here again"
    assert [entry.note for entry in found.entries if entry.path.startswith("deep")] == [
        "more than 64 levels deep: not followed"
    ]


def test_a_plain_pickle(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": [1.0, 2.0], "trap": Trap(tmp_path / "made")}))
    found = inspect(tmp_path / "a.pkl")
    assert (found.format, found.facts["unsafe_globals"]) == ("pickle", [f"{os.name}.system"])
    assert found.entries[0] == Entry("x", "list", "float", (2,), note="1.0, 2.0")
    assert not (tmp_path / "made").exists()


def test_torch_is_not_imported(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "a.pt")
    code = (
        "import sys; from circuit_artifacts.inspection import inspect;"
        f"print(inspect({str(tmp_path / 'a.pt')!r}).entries[0].shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(3,) False\n"
