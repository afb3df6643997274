"""Files read where they are: by ranges, without a download, and the same rows as from a download."""

from __future__ import annotations

import http.server
import pickle  # noqa: TID251 - only to see that files can be sent to workers
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import LoopbackHub

from circuit_artifacts import remote
from circuit_artifacts.errors import MissingArtifactError, SourceError
from circuit_artifacts.remote import RemoteFile, fetch, locate

REPOSITORY = "someone/tables"
HDF5 = f"hf://datasets/{REPOSITORY}/values.h5"
N_ROWS = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parquet and an HDF5 file of a few megabytes that do not compress."""
    folder = tmp_path_factory.mktemp("tables")
    values = np.random.default_rng(0).random(N_ROWS)
    pq.write_table(pa.table({"a": np.arange(N_ROWS), "b": values}), folder / "table.parquet", compression="none")
    with h5py.File(folder / "values.h5", "w") as file:
        file["values"] = np.tile(values, 8)
    return folder


@pytest.fixture
def repository(hub: LoopbackHub, folder: Path) -> str:
    return hub.add_repository(REPOSITORY, {path.name: path for path in folder.iterdir()})


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """A plain web server."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_located_in_one_request(hub: LoopbackHub, repository: str, folder: Path) -> None:
    found = locate(HDF5)
    assert isinstance(found, RemoteFile)
    assert found.url == f"hf://datasets/{REPOSITORY}@{repository}/values.h5"
    assert (found.size, found.name, found.suffix) == ((folder / "values.h5").stat().st_size, "values.h5", ".h5")
    assert [request.method for request in hub.requests] == ["HEAD"]
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_bytes_are_those_of_the_file(hub: LoopbackHub, repository: str, folder: Path) -> None:
    found = locate(f"hf://datasets/{REPOSITORY}/table.parquet")
    assert isinstance(found, RemoteFile)
    expected = (folder / "table.parquet").read_bytes()
    for access in ("blocks", "ranges", "sequential"):
        with found.open("rb", access=access) as stream:
            stream.seek(1000)
            assert stream.read(5000) == expected[1000:6000]
            stream.seek(-8, 2)
            assert stream.read() == expected[-8:]


def test_a_corner_of_hdf5_is_read_by_blocks(hub: LoopbackHub, repository: str, folder: Path) -> None:
    found = locate(HDF5)
    assert isinstance(found, RemoteFile)
    hub.reset()
    with found.open("rb") as stream, h5py.File(stream, "r") as file:
        assert file["values"][:10].tolist() == np.random.default_rng(0).random(N_ROWS)[:10].tolist()
    assert hub.sent(file="values.h5") <= 2 * (4 << 20) < found.size


def test_a_download_is_one_whole_file(hub: LoopbackHub, repository: str, folder: Path) -> None:
    path = fetch(HDF5)
    assert isinstance(path, Path)
    assert path.read_bytes() == (folder / "values.h5").read_bytes()
    assert hub.count(file="values.h5", method="GET") == 1
    assert len(hub.requests) <= 4
    hub.reset()
    assert fetch(HDF5) == path
    assert hub.requests == []


def test_above_the_limit_nothing_is_downloaded(
    hub: LoopbackHub, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LARGEST_DOWNLOAD", 1 << 20)
    assert isinstance(fetch(HDF5), RemoteFile)
    assert hub.count(file="values.h5", method="GET") == 0


def test_web_addresses(hub: LoopbackHub, web: str, folder: Path) -> None:
    found = locate(f"{web}/values.h5")
    assert isinstance(found, RemoteFile)
    assert found.size == (folder / "values.h5").stat().st_size
    path = fetch(f"{web}/values.h5")
    assert isinstance(path, Path)
    assert path.read_bytes() == (folder / "values.h5").read_bytes()
    with pytest.raises(MissingArtifactError, match=r"nothing\.h5: there is no such file"):
        fetch(f"{web}/nothing.h5")


def test_local_paths(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"x")
    assert locate(str(tmp_path / "a.h5")) == fetch(str(tmp_path / "a.h5")) == tmp_path / "a.h5"
    with pytest.raises(MissingArtifactError, match="there is no such file"):
        locate(str(tmp_path / "b.h5"))


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        locate(HDF5)
