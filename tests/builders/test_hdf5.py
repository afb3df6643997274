"""`circuit-hdf5`: every way to name files, every way to read rows, and the same rows in all of them."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pickle  # noqa: TID251 - what datasets does to builders
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from hub import LoopbackHub

import circuit_artifacts
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError, UnknownNameError

NAME = "circuit-hdf5"
N_ROWS = 4000


def write(path: Path, **content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            file[name.replace("__", "/")] = value
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of two splits, and a stranger."""
    write(tmp_path / "data/train_0.h5", x=[0, 1], label="a")
    write(tmp_path / "data/train_1.h5", x=[2], label="b")
    write(tmp_path / "data/test_0.hdf5", x=[3], label="c")
    (tmp_path / "data/notes.md").write_text("not data")
    return tmp_path / "data"


@pytest.fixture
def large(tmp_path: Path) -> str:
    """Enough rows for several shards."""
    return write(tmp_path / "large.h5", x=np.arange(N_ROWS), v=np.ones((N_ROWS, 2)), g__name="text")


def xs(dataset: Any) -> list[int]:
    return [row["x"] for row in dataset]


@pytest.mark.parametrize("load", [circuit_artifacts.load_dataset, datasets.load_dataset])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_way_to_name_files(load: Any, folder: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    one, two, test = (str(folder / name) for name in ("train_0.h5", "train_1.h5", "test_0.hdf5"))
    for files, expected in [
        ({"data_files": one}, [0, 1]),
        ({"data_files": "data/train_0.h5"}, [0, 1]),
        ({"data_files": str(folder / "train_*.h5")}, [0, 1, 2]),
        ({"data_files": [two, one]}, [2, 0, 1]),
        ({"data_files": {"train": [one], "test": test}}, [0, 1]),
        ({"data_dir": str(folder)}, [0, 1, 2]),
        ({"data_dir": "data", "data_files": "*_1.h5"}, [2]),
    ]:
        assert xs(load(NAME, split="train", streaming=streaming, **files)) == expected


def test_splits_come_from_the_keys_or_the_names_of_files(folder: Path) -> None:
    files = {"a": str(folder / "train_0.h5"), "b": str(folder / "test_0.hdf5")}
    assert {name: xs(split) for name, split in datasets.load_dataset(NAME, data_files=files).items()} == {
        "a": [0, 1],
        "b": [3],
    }
    found = circuit_artifacts.load_dataset(NAME, data_dir=str(folder))
    assert {name: xs(split) for name, split in found.items()} == {"train": [0, 1, 2], "test": [3]}


@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_a_hub_repository(hub: LoopbackHub, folder: Path, streaming: bool) -> None:
    hub.add_repository("user/masks", {path.name: path for path in folder.iterdir()})
    load = functools.partial(datasets.load_dataset, NAME, split="train", streaming=streaming)
    assert xs(load(data_files="hf://datasets/user/masks/train_0.h5")) == [0, 1]
    assert xs(load(data_files="hf://datasets/user/masks/train_*.h5")) == [0, 1, 2]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_too_large_to_be_downloaded_is_read_in_place(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    values = np.random.default_rng(0).random((2048, 1024))
    path = Path(write(tmp_path / "large.h5", x=values, y=np.arange(2048)))
    hub.add_repository("user/large", {"large.h5": path})
    monkeypatch.setattr("circuit_artifacts.remote.LARGEST_DOWNLOAD", 1 << 20)
    rows = circuit_artifacts.load_dataset(
        NAME, data_files="hf://datasets/user/large/large.h5", split="train", streaming=streaming
    )
    first = next(iter(rows))
    assert first == {"x": values[0].tolist(), "y": 0}
    if streaming:
        assert hub.sent(file="large.h5") < path.stat().st_size
    assert [row["y"] for row in rows] == list(range(2048))
    assert all(request.range for request in hub.requests if request.file and request.method == "GET")


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_of_a_web_server(hub: LoopbackHub, web: str) -> None:
    del hub  # lets the clients use the network, which ends at this machine
    for streaming in (True, False):
        files = f"{web}/train_0.h5"
        assert xs(datasets.load_dataset(NAME, data_files=files, split="train", streaming=streaming)) == [0, 1]


def test_both_ways_of_reading_give_the_same_rows_and_features(tmp_path: Path) -> None:
    enum = h5py.enum_dtype({"no": 0, "yes": 1}, "i1")
    path = write(
        tmp_path / "x.h5",
        answer=np.array([0, 1, 1], enum),
        answers=np.array([[0, 0], [1, 1], [1, 1]], enum),
        image=np.arange(12, dtype="f2").reshape(3, 2, 2),
        deep__volume=np.zeros((3, 1, 2, 2), ">i4"),
        deep__words=np.array(["a", "b", "c"], object),
        empty=np.zeros((3, 0, 2)),
        pair=np.zeros(3, [("a", "i2"), ("b", "f4", (2,))]),
        z=np.array([1 + 2j] * 3, np.complex64),
    )
    mapped = circuit_artifacts.load_dataset(NAME, data_files=path, split="train")
    streamed = circuit_artifacts.load_dataset(NAME, data_files=path, split="train", streaming=True)
    assert mapped.features == streamed.features
    assert mapped[:] == datasets.Dataset.from_list(list(streamed), features=mapped.features)[:]
    label = datasets.ClassLabel(names=["no", "yes"])
    assert mapped.features["answer"] == label
    assert mapped.features["answers"] == datasets.List(label, length=2)
    assert mapped.features["image"] == datasets.Array2D((2, 2), "float16")
    assert mapped.features["deep"]["volume"] == datasets.Array3D((1, 2, 2), "int32")
    assert mapped[2]["image"] == [[8.0, 9.0], [10.0, 11.0]]
    assert mapped[1]["answers"] == [1, 1]
    assert mapped[0]["deep"] == {"volume": [[[0, 0], [0, 0]]], "words": "a"}
    assert mapped[0]["z"] == {"real": 1.0, "imag": 2.0}


def test_no_rows_are_an_empty_dataset_with_its_columns(tmp_path: Path) -> None:
    files = {
        "train": write(tmp_path / "x.h5", x=np.zeros((0, 3), "f4")),
        "test": write(tmp_path / "y.h5", x=[[1, 2, 3]]),
    }
    for load in (circuit_artifacts.load_dataset, datasets.load_dataset):
        found = load(NAME, data_files=files)
        assert (len(found["train"]), found["train"].column_names, len(found["test"])) == (0, ["x"], 1)
        assert found["train"].features == found["test"].features


def test_features_can_be_asked_for(large: str) -> None:
    features = datasets.Features({"x": datasets.Value("float64"), "g": {"name": datasets.Value("string")}})
    for streaming in (True, False):
        found = datasets.load_dataset(NAME, data_files=large, split="train", features=features, streaming=streaming)
        assert next(iter(found)) == {"x": 0.0, "g": {"name": "text"}}


# sharing, resuming, sending


def test_streams_are_shared_by_nodes_and_workers(large: str) -> None:
    stream = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", streaming=True)
    assert stream.num_shards > 4
    parts = [xs(split_dataset_by_node(stream, rank, 3)) for rank in range(3)]
    assert all(parts)
    assert sorted(x for part in parts for x in part) == list(range(N_ROWS))


@pytest.mark.parametrize("consumed", [1, 999, 1000, 3999])
def test_a_stream_resumes_at_the_next_row(large: str, consumed: int) -> None:
    stream = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", streaming=True).select_columns("x")
    rows = iter(stream)
    for _ in range(consumed):
        next(rows)
    state = json.loads(json.dumps(stream.state_dict()))
    again = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", streaming=True).select_columns("x")
    again.load_state_dict(state)
    assert xs(again) == list(range(consumed, N_ROWS))


def test_a_stream_can_be_sent_to_a_new_process(large: str) -> None:
    stream = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", streaming=True)
    assert xs(pickle.loads(pickle.dumps(stream.take(3)))) == [0, 1, 2]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(xs, stream).result() == list(range(N_ROWS))


def test_several_processes_prepare_shards(large: str) -> None:
    prepared = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", num_proc=2)
    assert prepared["x"][:] == list(range(N_ROWS))
    assert len(prepared.cache_files) == 2


def test_workers_of_a_loader_share_the_rows(large: str) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    stream = circuit_artifacts.load_dataset(NAME, data_files=large, split="train", streaming=True)
    loader = torch_data.DataLoader(stream.select_columns("x"), batch_size=500, num_workers=2)
    assert sorted(x for batch in loader for x in batch["x"].tolist()) == list(range(N_ROWS))


# the cache


def test_a_changed_file_is_read_again_even_at_the_same_time(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "x.h5", x=[1]))
    before = path.stat()
    assert xs(circuit_artifacts.load_dataset(NAME, data_files=str(path), split="train")) == [1]
    write(path, x=np.arange(1000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(circuit_artifacts.load_dataset(NAME, data_files=str(path), split="train")) == 1000


def test_options_are_part_of_the_cache_key(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", a__x=[1], a__y=[2])
    load = functools.partial(circuit_artifacts.load_dataset, NAME, data_files=path, split="train")
    assert load()[0] == {"a": {"x": 1, "y": 2}}
    assert load(layout="records")[0] == {"group": "a", "x": [1], "y": [2]}
    assert load(layout="leaves", select="a/{name}")["name"][:] == ["x", "y"]


def test_the_masks_of_an_atlas(atlas: Any) -> None:
    """The declared loader and the generic one see the same dimensions."""
    path = next(atlas.folder.rglob("13_object_masks_eps0.5_cons0.8.h5"))
    generic = circuit_artifacts.load_dataset(
        NAME,
        data_files=str(path),
        split="train",
        layout="leaves",
        select="pair_masks/layer_{layer:int}/{ast_node}__{builtin_obj}",
    )
    declared = circuit_artifacts.load_dataset(
        "csp-atlas", "masks_eps0.5_cons0.8", data_root=str(atlas.folder), split="pair"
    )
    found = {(r["layer"], r["ast_node"], r["builtin_obj"]): np.flatnonzero(r["value"]).tolist() for r in generic}
    assert found == {(r["layer"], r["ast_node"], r["builtin_obj"]): r["active"] for r in declared}


# errors


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("load", [circuit_artifacts.load_dataset, datasets.load_dataset])
def test_our_errors_come_out_as_they_are(load: Any, tmp_path: Path, streaming: bool) -> None:
    load = functools.partial(load, NAME, split="train", streaming=streaming)
    unequal = write(tmp_path / "unequal.h5", x=[1, 2], y=[3])
    with pytest.raises(SchemaError, match=r"unequal\.h5.*/y: 1, /x: 2"):
        load(data_files=unequal, layout="rows")
    (tmp_path / "text.h5").write_text("x,y\n")
    with pytest.raises(FormatError, match=r"text\.h5: not a complete HDF5 file"):
        load(data_files=str(tmp_path / "text.h5"))
    with pytest.raises(MissingArtifactError, match=r"none\.h5"):
        load(data_files=str(tmp_path / "none.h5"))
    with pytest.raises(MissingArtifactError, match="data_dir"):
        load()
    with pytest.raises(UnknownNameError, match="layout='tree'"):
        load(data_files=unequal, layout="tree")


@pytest.mark.parametrize("num_proc", [None, 2])
def test_damage_found_while_reading_is_located(tmp_path: Path, num_proc: int | None) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", data=np.arange(N_ROWS), chunks=(N_ROWS // 4,), compression="gzip")
        chunk = x.id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.h5:/x"):
        circuit_artifacts.load_dataset(NAME, data_files=str(path), split="train", num_proc=num_proc)


def test_folders_without_hdf5_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingArtifactError, match="no file"):
        circuit_artifacts.load_dataset(NAME, data_dir=str(tmp_path / "empty"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x.csv").write_text("x\n1\n")
    with pytest.raises(MissingArtifactError, match="no HDF5 file"):
        circuit_artifacts.load_dataset(NAME, data_dir=str(tmp_path / "other"))
