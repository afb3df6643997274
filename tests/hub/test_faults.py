"""Each way to misbehave, as a plain HTTP client or the real Hub client meets it."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import huggingface_hub
import pytest
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

from hub import Fault, LoopbackHub
from hub.faults import FaultKind

REPOSITORY = "user/masks"
MASKS = bytes(range(256)) * 4


@pytest.fixture(autouse=True)
def _published(hub: LoopbackHub) -> None:
    hub.add_repository(REPOSITORY, {"masks.h5": MASKS, "a.csv": b"1,2"})


def fetch(
    hub: LoopbackHub, file: str = "masks.h5", method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, without the real client's repetitions."""
    url = f"{hub.endpoint}/datasets/{REPOSITORY}/resolve/main/{file}"
    try:
        with urlopen(Request(url, method=method, headers=headers)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def download(file: str = "masks.h5") -> bytes:
    return Path(hf_hub_download(REPOSITORY, file, repo_type="dataset")).read_bytes()


def test_faultless(hub: LoopbackHub) -> None:
    status, body, headers = fetch(hub)
    assert (status, body) == (200, MASKS)
    assert headers["Content-Length"] == headers["X-Linked-Size"] == str(len(MASKS))
    assert "X-Xet-Hash" not in headers


@pytest.mark.parametrize(
    ("status", "error"), [(401, RepositoryNotFoundError), (403, GatedRepoError), (404, EntryNotFoundError)]
)
def test_status_becomes_the_client_s_error(hub: LoopbackHub, status: int, error: type[Exception]) -> None:
    hub.fail(Fault("status", status=status, file="masks.h5", methods=("HEAD",)))
    with pytest.raises(error):
        download()
    assert download("a.csv") == b"1,2"


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors(hub: LoopbackHub, status: int) -> None:
    hub.fail(Fault("status", status=status))
    got, body, headers = fetch(hub)
    assert (got, headers["X-Error-Message"]) == (status, f"a fault was asked for: {status}")
    assert "X-Error-Code" not in headers
    assert MASKS not in body


def test_too_many_requests_tell_when_to_come_back(hub: LoopbackHub) -> None:
    hub.fail(Fault("status", status=429, retry_after=7, times=1))
    status, _, headers = fetch(hub)
    assert (status, headers["Retry-After"]) == (429, "7")
    assert fetch(hub)[0] == 200


def test_a_burst_ends_and_the_client_tries_again(hub: LoopbackHub) -> None:
    hub.fail(Fault("status", status=503, times=1, file="masks.h5"))
    with HfFileSystem().open(f"datasets/{REPOSITORY}/masks.h5", block_size=1000, cache_type="none") as file:
        assert file.read(10) == MASKS[:10]
    assert [request.status for request in hub.requests if request.file == "masks.h5"] == [503, 206]


def test_faults_of_one_kind_come_one_after_the_other(hub: LoopbackHub) -> None:
    hub.fail(Fault("status", status=500, times=2))
    hub.fail(Fault("status", status=502, times=1))
    assert [fetch(hub)[0] for _ in range(4)] == [500, 500, 502, 200]


def test_healed(hub: LoopbackHub) -> None:
    hub.fail(Fault("status"))
    assert fetch(hub)[0] == 500
    hub.heal()
    assert fetch(hub)[0] == 200


def test_cut_connection_promises_more_than_it_gives(hub: LoopbackHub) -> None:
    hub.fail(Fault("cut", after_bytes=100))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(hub)
    assert caught.value.partial == MASKS[:100]
    assert caught.value.expected == len(MASKS) - 100
    assert hub.sent("masks.h5") == 100


@pytest.mark.skipif(huggingface_hub.__version__.startswith("0."), reason="clients before 1.0 give up after a cut")
def test_client_resumes_after_a_cut_where_it_was(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50)  # what is not a whole chunk, the client throws away
    hub.fail(Fault("cut", after_bytes=100, times=1, file="masks.h5"))
    assert download() == MASKS
    assert [request.range for request in hub.requests] == ["", "", "bytes=100-"]
    assert hub.sent("masks.h5") == len(MASKS)


def test_short_answer_is_complete_but_not_the_file(hub: LoopbackHub) -> None:
    hub.fail(Fault("short", after_bytes=100, file="*.h5"))
    status, body, headers = fetch(hub)
    assert (status, body) == (200, MASKS[:100])
    assert (headers["Content-Length"], headers["X-Linked-Size"]) == ("100", str(len(MASKS)))
    with pytest.raises(OSError, match=f"should be of size {len(MASKS)} but has size 100"):
        download()


def test_stale_etag_differs_between_head_and_get(hub: LoopbackHub) -> None:
    right = fetch(hub)[2]["X-Linked-ETag"]
    hub.fail(Fault("stale_etag"))
    assert fetch(hub, method="HEAD")[2]["X-Linked-ETag"] == right[::-1] != right
    assert fetch(hub)[2]["X-Linked-ETag"] == right


@pytest.mark.parametrize(("after_bytes", "position"), [(None, len(MASKS) // 2), (0, 0), (700, 700)])
def test_corrupt_byte_keeps_the_length(hub: LoopbackHub, after_bytes: int | None, position: int) -> None:
    hub.fail(Fault("corrupt", after_bytes=after_bytes))
    body = download()
    assert len(body) == len(MASKS)
    assert [at for at, (got, right) in enumerate(zip(body, MASKS, strict=True)) if got != right] == [position]


def test_corrupt_byte_stays_where_it_is_in_ranges(hub: LoopbackHub) -> None:
    hub.fail(Fault("corrupt", after_bytes=700))
    assert fetch(hub, Range="bytes=0-699")[1] == MASKS[:700]
    assert fetch(hub, Range="bytes=690-709")[1][10] == MASKS[700] ^ 0xFF


def test_late_answers(hub: LoopbackHub) -> None:
    hub.latency = 0.02
    hub.fail(Fault("latency", seconds=0.03, file="masks.h5"))
    started = time.monotonic()
    assert fetch(hub)[1] == MASKS
    assert time.monotonic() - started >= 0.05  # a lower bound, which no busy machine breaks


def test_range_is_ignored(hub: LoopbackHub) -> None:
    assert fetch(hub, Range="bytes=10-19")[:2] == (206, MASKS[10:20])
    hub.fail(Fault("no_ranges"))
    status, body, headers = fetch(hub, Range="bytes=10-19")
    assert (status, body) == (200, MASKS)
    assert "Accept-Ranges" not in headers


def test_faults_of_several_kinds_act_together(hub: LoopbackHub) -> None:
    hub.fail(Fault("no_ranges"))
    hub.fail(Fault("corrupt", after_bytes=0))
    hub.fail(Fault("short", after_bytes=4))
    assert fetch(hub, Range="bytes=100-")[1] == b"\xff\x01\x02\x03"


def test_other_files_and_methods_are_spared(hub: LoopbackHub) -> None:
    hub.fail(Fault("status", file="*.h5", methods=("GET",)))
    assert fetch(hub)[0] == 500
    assert fetch(hub, method="HEAD")[0] == 200
    assert fetch(hub, "a.csv")[:2] == (200, b"1,2")


@pytest.mark.parametrize(("fault", "committed"), [("status", False), ("cut", True)])
def test_a_commit_is_refused_or_only_its_answer_lost(hub: LoopbackHub, fault: FaultKind, committed: bool) -> None:
    hub.fail(Fault(fault, methods=("POST",), file="*/commit/main", status=500))
    with pytest.raises(Exception, match=r"500|incomplete|IncompleteRead|closed"):
        HfApi().upload_file(path_or_fileobj=b"3", path_in_repo="a.csv", repo_id=REPOSITORY, repo_type="dataset")
    assert hub.files(REPOSITORY)["a.csv"] == (b"3" if committed else b"1,2")
