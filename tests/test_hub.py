"""One file from the Hub, with everything that can go wrong on the way: success after all, or one helpful error."""

from __future__ import annotations

import multiprocessing
import os
import pickle  # noqa: TID251 - only to see that files can be sent to workers
import re
from pathlib import Path

import pytest
from hub import Fault, LoopbackHub

from circuit_artifacts import hub as client
from circuit_artifacts.errors import MissingArtifactError, SourceError, UnsafeContentError
from circuit_artifacts.hub import HubFile

REPOSITORY = "someone/masks"
CONTENT = os.urandom(3 << 20)
FILE = HubFile(repository=REPOSITORY, file="masks.h5")
SMALL = HubFile(repository=REPOSITORY, file="table.csv")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSES", (0.01, 0.01, 0.01, 0.01))


@pytest.fixture
def repository(hub: LoopbackHub) -> str:
    """A repository with a large and a small file; the commit."""
    return hub.add_repository(REPOSITORY, {"masks.h5": CONTENT, "table.csv": b"a,b\n1,2\n"})


def is_whole(path: Path) -> bool:
    return path.read_bytes() == CONTENT


# The way through


def test_two_requests_the_first_time_and_none_after(hub: LoopbackHub, repository: str) -> None:
    assert is_whole(client.download(FILE))
    assert hub.count(file="masks.h5") <= 2
    assert hub.sent(file="masks.h5") == len(CONTENT)
    hub.reset()
    assert is_whole(client.download(FILE))
    assert hub.requests == []


def test_eight_processes_download_once(hub: LoopbackHub, repository: str) -> None:
    hub.latency = 0.05
    context = multiprocessing.get_context("fork")
    with context.Pool(8) as pool:
        paths = pool.map(client.download, [FILE] * 8)
    assert all(map(is_whole, paths))
    assert hub.count(file="masks.h5", method="GET") == 1


def test_a_pinned_revision(hub: LoopbackHub, repository: str) -> None:
    newer = hub.commit(REPOSITORY, {"table.csv": b"a,b\n3,4\n"})
    for revision, content in {repository: b"a,b\n1,2\n", newer: b"a,b\n3,4\n", "main": b"a,b\n3,4\n"}.items():
        file = HubFile(repository=REPOSITORY, file="table.csv", revision=revision)
        assert client.download(file).read_bytes() == content


def test_several_files_of_one_commit_are_listed_once(hub: LoopbackHub, repository: str) -> None:
    client.prefetch([FILE, SMALL])
    assert client.cached(FILE) is not None
    assert client.cached(SMALL) is not None
    assert len(hub.requests) <= 2 + 2 * 2


# What passes


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=500, times=2),
        Fault("status", status=503, times=3),
        Fault("status", status=429, retry_after=0, times=2),
        Fault("status", status=502, times=1, methods=("HEAD",)),
        Fault("cut", after_bytes=1 << 20, times=1),
        Fault("short", after_bytes=1 << 20, times=1),
        Fault("corrupt", times=1),
        Fault("no_ranges"),
        Fault("latency", seconds=0.2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{(fault.methods or ('GET',))[0]}",
)
def test_a_passing_failure_ends_in_the_whole_file(hub: LoopbackHub, repository: str, fault: Fault) -> None:
    hub.fail(fault)
    assert is_whole(client.download(FILE))


def test_a_cut_connection_is_resumed(hub: LoopbackHub) -> None:
    content = CONTENT * 8  # the client keeps pieces of ten megabytes
    hub.add_repository(REPOSITORY, {"masks.h5": content})
    hub.fail(Fault("cut", after_bytes=15 << 20, times=1))
    assert client.download(FILE).read_bytes() == content
    assert [request.range for request in hub.requests if request.range] == [f"bytes={10 << 20}-"]
    assert hub.sent(file="masks.h5") == len(content) + (5 << 20)


def test_a_busy_hub_is_given_the_time_it_asks_for(
    hub: LoopbackHub, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = type("Response", (), {"headers": {"retry-after": "7"}, "status_code": 429})
    error = OSError("429")
    error.response = response  # type: ignore[attr-defined]
    assert client._asked_pause(error) == 7.0
    response.headers = {"retry-after": "86400"}
    assert client._asked_pause(error) == 60.0


# What does not pass


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", status=404), "the repository has no such file"),
        (Fault("status", status=401, methods=("HEAD", "GET")), "hf auth login"),
        (Fault("status", status=403, methods=("HEAD", "GET")), "gated"),
        (Fault("status", status=500), r"the Hub failed \d time"),
        (Fault("corrupt"), "does not have the hash"),
        (Fault("short", after_bytes=1000), r"the Hub failed \d time"),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_lasting_failure_is_one_error_that_says_where(
    hub: LoopbackHub, repository: str, fault: Fault, words: str
) -> None:
    hub.fail(fault)
    with pytest.raises(SourceError) as caught:
        client.download(FILE)
    assert re.search(words, str(caught.value))
    assert f"hf://datasets/{REPOSITORY}@main/masks.h5" in str(caught.value)
    assert client.cached(FILE) is None  # nothing damaged stays where others would trust it


def test_a_stale_hash_is_not_believed(hub: LoopbackHub, repository: str) -> None:
    hub.fail(Fault("stale_etag"))
    with pytest.raises(SourceError, match="does not have the hash"):
        client.download(FILE)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (HubFile(repository=REPOSITORY, file="nothing.h5"), "no such file"),
        (HubFile(repository="someone/nothing", file="masks.h5"), "no such repository"),
        (HubFile(repository=REPOSITORY, file="masks.h5", revision="v9"), "no such revision"),
    ],
)
def test_what_does_not_exist(hub: LoopbackHub, repository: str, file: HubFile, words: str) -> None:
    with pytest.raises(MissingArtifactError, match=words) as caught:
        client.download(file)
    assert str(file) in str(caught.value)


def test_a_private_repository_needs_a_token_that_nobody_sees(
    hub: LoopbackHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.token = "hf_secret"
    hub.add_repository("someone/private", {"masks.h5": CONTENT}, private=True)
    file = HubFile(repository="someone/private", file="masks.h5")
    with pytest.raises(SourceError, match="hf auth login"):
        client.download(file)
    known = HubFile(repository="someone/private", file="masks.h5", token="hf_secret")
    with caplog.at_level("DEBUG"):
        assert is_whole(client.download(known))
    assert "hf_secret" not in repr(known) + str(known) + caplog.text


def test_a_failing_hub_is_not_asked_for_each_of_many_files(hub: LoopbackHub, repository: str) -> None:
    hub.fail(Fault("status", status=500))
    for _ in range(3):
        with pytest.raises(SourceError):
            client.download(FILE)
    hub.reset()
    with pytest.raises(SourceError, match="failed a moment ago"):
        client.download(SMALL)
    assert hub.requests == []


# The cache


def test_a_damaged_copy_in_the_cache_is_replaced(hub: LoopbackHub, repository: str) -> None:
    # Holds down: a truncated file accepted as complete.
    path = client.download(FILE)
    blob = path.resolve()
    blob.write_bytes(CONTENT[:1000])
    assert is_whole(client.download(FILE))
    same_length = bytearray(CONTENT)
    same_length[5] ^= 1
    blob = path.resolve()
    blob.write_bytes(bytes(same_length))
    assert is_whole(client.download(FILE))


def test_a_damaged_copy_is_an_error_offline(hub: LoopbackHub, repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client.download(FILE).resolve().write_bytes(CONTENT[:1000])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        client.download(FILE)


def test_hashing_is_done_once_per_content(hub: LoopbackHub, repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = client.download(FILE)
    monkeypatch.setattr(client.hashlib, "file_digest", None)
    assert client.verified(path)


def test_small_files_have_gits_hash(hub: LoopbackHub, repository: str) -> None:
    path = client.download(SMALL)
    assert len(path.resolve().name) == 40
    path.resolve().write_bytes(b"a,b\n1,3\n")
    assert not client.verified(path)


def test_a_dead_network_is_asked_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(address: tuple[str, int], **_: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(client.socket, "create_connection", refuse)
    monkeypatch.setattr(client, "_last_probe", {})
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reasons = {client.offline_reason() for _ in range(5)}
    assert asked == [("hub.invalid", 443)]
    assert reasons == {"https://hub.invalid cannot be reached (ConnectionRefusedError)"}
    monkeypatch.setattr(client, "_last_probe", {})
    monkeypatch.setenv("https_proxy", "proxy.invalid:3128")
    client.offline_reason()
    assert asked[1:] == [("proxy.invalid", 3128)]  # behind a proxy, it is the proxy that must answer


# Addresses


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("hf://datasets/a/b/c.h5", HubFile(repository="a/b", file="c.h5")),
        ("hf://datasets/a/b@v1/d/c.h5", HubFile(repository="a/b", file="d/c.h5", revision="v1")),
        ("hf://a/b/c.pt", HubFile(repository="a/b", file="c.pt", kind="model")),
        (
            "hf://datasets/a/b@refs/convert/parquet/c/0.parquet",
            HubFile(repository="a/b", file="c/0.parquet", revision="refs/convert/parquet"),
        ),
        (
            "hf://datasets/a/b@refs%2Fpr%2F1/c.csv",
            HubFile(repository="a/b", file="c.csv", revision="refs/pr/1"),
        ),
    ],
)
def test_addresses(reference: str, file: HubFile) -> None:
    assert HubFile.parse(reference) == file
    assert HubFile.parse(str(file)).file == file.file


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "a\\..\\b", "", "a/./b", "x\0y"])
def test_no_path_leaves_its_repository(name: str) -> None:
    with pytest.raises(UnsafeContentError, match="leaves the repository"):
        HubFile(repository="a/b", file=name)


@pytest.mark.parametrize("reference", ["hf://datasets/a", "hf://a/b", "s3://a/b/c"])
def test_no_address(reference: str) -> None:
    with pytest.raises(SourceError, match="not the address of a file"):
        HubFile.parse(reference)


def test_files_travel_to_workers() -> None:
    assert pickle.loads(pickle.dumps(FILE)) == FILE
