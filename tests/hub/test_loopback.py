"""The server itself: where it listens, what it counts, and that unpatched clients of another process find it."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download

from hub import Fault, LoopbackHub, point_clients_at

REPOSITORY = "user/masks"
MASKS = bytes(range(256)) * 4
FILE = f"/datasets/{REPOSITORY}/resolve/main/masks.h5"

OTHER_PROCESS = f"""
import pathlib
from datasets import load_dataset
from huggingface_hub import HfApi, hf_hub_download
print(load_dataset("{REPOSITORY}", split="train")["a"][:])
print(pathlib.Path(hf_hub_download("{REPOSITORY}", "masks.h5", repo_type="dataset")).stat().st_size)
HfApi().upload_file(path_or_fileobj=b"sent", path_in_repo="x.h5", repo_id="{REPOSITORY}", repo_type="dataset")
"""


@pytest.fixture
def connection(hub: LoopbackHub) -> http.client.HTTPConnection:
    hub.add_repository(REPOSITORY, {"masks.h5": MASKS})
    return http.client.HTTPConnection(urlsplit(hub.endpoint).netloc)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.0.1", "localhost"])
def test_listens_nowhere_but_on_the_loopback_interface(address: str) -> None:
    with pytest.raises(ValueError, match=address):
        LoopbackHub(address=address)


def test_clients_of_another_process_need_only_the_environment(hub: LoopbackHub) -> None:
    hub.add_repository(REPOSITORY, {"data.csv": b"a\n1\n2\n", "masks.h5": MASKS}, private=True)
    hub.commit(REPOSITORY, {"README.md": b"---\nconfigs:\n- config_name: x\n  data_files: data.csv\n---\n"})
    hub.token = "hf_right"
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        env=os.environ | hub.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[1, 2]", str(len(MASKS))]
    assert hub.files(REPOSITORY)["x.h5"] == b"sent"
    assert all(request.authorized for request in hub.requests if "/lfs/" not in request.path)


def test_this_process_s_clients_are_given_back(connection: http.client.HTTPConnection) -> None:
    before = constants.ENDPOINT
    with LoopbackHub() as other, pytest.MonkeyPatch.context() as patch:
        other.add_repository(REPOSITORY, {"masks.h5": b"other"})
        point_clients_at(other.endpoint, patch)
        assert Path(hf_hub_download(REPOSITORY, "masks.h5", repo_type="dataset")).read_bytes() == b"other"
    assert constants.ENDPOINT == HfApi().endpoint == before


def test_one_connection_serves_many_requests(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    own = connection.sock
    for method, path, status, length in [
        ("HEAD", FILE, 200, 0),
        ("GET", FILE, 200, len(MASKS)),
        ("GET", "/nothing/here", 404, None),
        ("POST", "/nothing/here", 404, None),
        ("GET", FILE, 200, len(MASKS)),
    ]:
        connection.request(method, path, body=b"x" * 1000 if method == "POST" else None)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status
        assert length is None or len(body) == length
        assert connection.sock is own
    connection.close()


def test_a_body_in_chunks_is_read_to_its_end(connection: http.client.HTTPConnection) -> None:
    content = [MASKS[:1000], MASKS[1000:]]
    for oid, status in ((hashlib.sha256(MASKS).hexdigest(), 200), ("0" * 64, 400)):
        connection.request("PUT", f"/lfs/{oid}", body=iter(content), encode_chunked=True)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_head_tells_the_length_of_the_body_it_leaves_out(connection: http.client.HTTPConnection) -> None:
    connection.request("HEAD", FILE)
    answer = connection.getresponse()
    assert (answer.headers["Content-Length"], answer.read()) == (str(len(MASKS)), b"")
    assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"]
    connection.close()


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=1000-", 206, 1000, 1024),
        ("bytes=-24", 206, 1000, 1024),
        ("bytes=1000-5000", 206, 1000, 1024),
        ("bytes=0-1,4-5", 200, 0, 1024),
        ("lines=1-2", 200, 0, 1024),
    ],
)
def test_ranges(connection: http.client.HTTPConnection, asked: str, status: int, start: int, stop: int) -> None:
    connection.request("GET", FILE, headers={"Range": asked})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (status, MASKS[start:stop])
    assert answer.headers["Content-Range"] == (f"bytes {start}-{stop - 1}/1024" if status == 206 else None)
    connection.close()


def test_range_past_the_end(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", FILE, headers={"Range": "bytes=1024-"})
    answer = connection.getresponse()
    answer.read()
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */1024")
    connection.close()


def test_requests_and_bytes_are_counted_per_file(hub: LoopbackHub, connection: http.client.HTTPConnection) -> None:
    hub.commit(REPOSITORY, {"raw/a.csv": b"1,2"})
    for path, headers in [(FILE, {}), (FILE, {"Range": "bytes=0-9"}), (FILE.replace("masks.h5", "raw/a.csv"), {})]:
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()
    connection.close()
    assert (hub.count(), hub.count("masks.h5"), hub.count("raw/*"), hub.count(method="HEAD")) == (3, 2, 1, 0)
    assert (hub.sent(), hub.sent("masks.h5"), hub.sent("raw/a.csv")) == (1037, 1034, 3)
    hub.reset()
    assert hub.requests == []


def test_a_file_on_disk_is_read_when_it_is_asked_for(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "large.h5").write_bytes(MASKS * 1000)
    hub.add_repository(REPOSITORY, {"large.h5": tmp_path / "large.h5"})
    downloaded = Path(hf_hub_download(REPOSITORY, "large.h5", repo_type="dataset"))
    assert downloaded.read_bytes() == MASKS * 1000
    assert hub.sent("large.h5") == 1024 * 1000


def test_large_uploads_lie_in_a_folder_and_smaller_bodies_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    with LoopbackHub(folder=uploads) as own:
        point_clients_at(own.endpoint, monkeypatch)
        own.add_repository(REPOSITORY, {})
        for name, content in {"masks.h5": MASKS, "a.csv": b"1,2"}.items():
            HfApi().upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPOSITORY, repo_type="dataset")
        assert [file.read_bytes() for file in uploads.iterdir()] == [MASKS]
        assert own.files(REPOSITORY) == {"a.csv": b"1,2", "masks.h5": MASKS}


def test_equal_histories_have_equal_names(hub: LoopbackHub) -> None:
    first = hub.add_repository(REPOSITORY, {"masks.h5": MASKS})
    hub.fail(Fault("status"))
    hub.clear()
    assert hub.add_repository(REPOSITORY, {"masks.h5": MASKS}) == first
    assert HfApi().dataset_info(REPOSITORY).sha == first  # and the fault is gone with the rest


def test_a_name_is_taken_once(hub: LoopbackHub) -> None:
    hub.add_repository(REPOSITORY, {})
    with pytest.raises(ValueError, match="dataset user/masks already"):
        hub.add_repository(REPOSITORY, {})
