"""The client of Neuronpedia against a server on this machine: its cache, its patience, and what it refuses."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from circuit_artifacts.compute.locality import neuronpedia
from circuit_artifacts.compute.locality.neuronpedia import (
    best_description,
    best_recall,
    cache_file,
    feature,
    shortened,
)
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError, SourceError, UnsafeContentError
from circuit_artifacts.sae_locality.paths import classify

ANSWER = {"index": "3", "maxActApprox": 41.5, "activations": [], "text": "\u00e9"}
BODY = b'{"index":"3","maxActApprox":41.5,"activations":[],"text":"\\u00e9"}'
MODEL, SAE = "gemma-2-2b", "12-gemmascope-res-16k"


@dataclass
class Server:
    """Answers requests in turn with (status, body), the last one forever; body None hangs up in the middle."""

    replies: list[tuple[int, bytes | None]] = field(default_factory=lambda: [(200, BODY)])
    paths: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    url: str = ""

    def reply(self) -> tuple[int, bytes | None]:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.paths.append(self.path)
            status, body = state.reply()
            self.send_response(status)
            self.send_header("Content-Length", str(len(BODY if body is None else body)))
            self.end_headers()
            self.wfile.write(BODY[:20] if body is None else body)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(neuronpedia.time, "sleep", state.pauses.append)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def ask(server: Server, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine's ports

    def get(index: int = 3, model: str = MODEL, sae: str = SAE) -> dict[str, Any]:
        return feature(model, sae, index, cache=tmp_path / "neuronpedia_cache", base_url=server.url, opener=opener)

    return get


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_answer_is_asked_for_once_and_kept_as_it_came(ask: Callable, server: Server, tmp_path: Path) -> None:
    assert ask() == ANSWER
    assert ask() == ANSWER
    assert server.paths == ["/api/feature/gemma-2-2b/12-gemmascope-res-16k/3"]
    (name,) = files(tmp_path)
    assert (tmp_path / name).read_bytes() == BODY
    place = classify(name)
    assert (place.kind, place.model, place.sae, place.feature_id) == ("neuronpedia", MODEL, SAE, 3)


def test_a_slash_in_the_name_of_an_autoencoder_becomes_two_underscores(
    ask: Callable, server: Server, tmp_path: Path
) -> None:
    ask(sae="layer 3/res")
    assert server.paths == ["/api/feature/gemma-2-2b/layer%203%2Fres/3"]
    assert files(tmp_path) == ["neuronpedia_cache/gemma-2-2b/layer 3__res/3.json"]
    assert ask(sae="layer 3/res") == ANSWER
    assert len(server.paths) == 1


@pytest.mark.parametrize("failure", [500, 503, 429, 408])
def test_a_failure_that_may_pass_is_asked_again(ask: Callable, server: Server, failure: int) -> None:
    server.replies = [(failure, b""), (failure, b""), (200, BODY)]
    assert ask() == ANSWER
    assert len(server.paths) == 3
    assert server.pauses == [1.0, 1.5]


def test_an_answer_that_breaks_off_is_asked_for_again(ask: Callable, server: Server) -> None:
    server.replies = [(200, None), (200, BODY)]
    assert ask() == ANSWER
    assert len(server.paths) == 2


def test_three_failures_are_the_end(ask: Callable, server: Server, tmp_path: Path) -> None:
    server.replies = [(502, b"")]
    with pytest.raises(SourceError, match=r"failed, or refused .*HTTP 502.* Try again later") as info:
        ask()
    assert not isinstance(info.value, MissingArtifactError)
    assert len(server.paths) == 3
    assert files(tmp_path) == []


@pytest.mark.parametrize(("status", "error"), [(404, MissingArtifactError), (403, SourceError), (400, SourceError)])
def test_a_refusal_is_not_asked_again(ask: Callable, server: Server, status: int, error: type[Exception]) -> None:
    server.replies = [(status, b"{}")]
    with pytest.raises(error, match="no such feature" if status == 404 else f"HTTP {status}"):
        ask()
    assert len(server.paths) == 1


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"<html>", FormatError, "not JSON"),
        (BODY[:-1], FormatError, "not JSON"),
        (b"[" * 100_000, FormatError, "not JSON"),
        (b"\xff", FormatError, "not JSON"),
        (b"[]", SchemaError, "not a JSON object"),
        (b"null", SchemaError, "not a JSON object"),
    ],
)
def test_answers_of_another_form_are_not_kept(
    ask: Callable, server: Server, tmp_path: Path, body: bytes, error: type[Exception], message: str
) -> None:
    server.replies = [(200, body)]
    with pytest.raises(error, match=message):
        ask()
    assert files(tmp_path) == []


def test_an_endless_answer_is_refused(ask: Callable, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuronpedia, "_LARGEST", len(BODY) - 1)
    with pytest.raises(FormatError, match="too large"):
        ask()
    monkeypatch.setattr(neuronpedia, "_LARGEST", len(BODY))
    assert ask() == ANSWER


def test_nan_reads_as_null_now_and_later(ask: Callable, server: Server) -> None:
    server.replies = [(200, b'{"maxActApprox": NaN}')]
    assert ask() == ask() == {"maxActApprox": None}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_only_the_cache_answers(
    ask: Callable, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    ask(3)
    monkeypatch.setenv(variable, "1")
    assert ask(3) == ANSWER
    with pytest.raises(MissingArtifactError, match=rf"4\.json: Neuronpedia was not asked, because {variable} is set"):
        ask(4)
    assert len(server.paths) == 1


def test_without_a_network_the_error_says_where_answers_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    pauses: list[float] = []
    monkeypatch.setattr(neuronpedia.time, "sleep", pauses.append)

    class Dead(urllib.request.OpenerDirector):
        def open(self, *_: Any, **__: Any) -> Any:
            raise urllib.error.URLError(OSError("no route to host"))

    with pytest.raises(SourceError, match=r"3\.json: .*in 3 attempts.*no route to host.* Put Neuronpedia's"):
        feature(MODEL, SAE, 3, cache=tmp_path, opener=Dead())
    assert pauses == [1.0, 1.5]


def test_only_web_addresses_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(SourceError, match="not a web address"):
        feature(MODEL, SAE, 3, cache=tmp_path / "cache", base_url=tmp_path.as_uri())


@pytest.mark.parametrize(
    ("model", "sae"), [("..", "a"), ("a/b", "c"), ("", "a"), ("a", "."), ("a", "b\\c"), ("a", "b\0"), ("C:", "a")]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, model: str, sae: str) -> None:
    with pytest.raises(UnsafeContentError, match="not a name"):
        cache_file(tmp_path, model, sae, 3)
    assert cache_file(tmp_path, "a", "../..", 3).parent.parent == tmp_path / "a"


def test_a_damaged_answer_in_the_cache_is_named(tmp_path: Path) -> None:
    path = cache_file(tmp_path, MODEL, SAE, 3)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(FormatError, match=r"3\.json: not JSON"):
        feature(MODEL, SAE, 3, cache=tmp_path)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"explanations": [{"description": "first"}, {"description": "second"}], "pos_str": ["a"]}, "first"),
        ({"explanations": [{}, {"description": "second"}]}, "second"),
        ({"explanations": [{"description": ""}], "pos_str": [" a", "b", "c", "d"]}, "boosts:  a, b, c"),
        ({"explanations": None, "pos_str": ["a"]}, "boosts: a"),
        ({"pos_str": []}, "(no description)"),
        ({"pos_str": ["\ud800"]}, "boosts: \\ud800"),
        ({}, "(no description)"),
    ],
)
def test_the_best_description(answer: dict[str, Any], expected: str) -> None:
    assert best_description(answer) == expected


def test_long_descriptions_are_cut_as_published() -> None:
    assert shortened("x" * 90) == "x" * 90
    assert shortened("x" * 91) == "x" * 87 + "..."


def test_the_best_recall_is_over_all_explanations() -> None:
    def explanation(*values: Any, kind: str = "recall_alt") -> dict[str, Any]:
        return {"scores": [{"explanationScoreTypeName": kind, "value": value} for value in values]}

    answer = {"explanations": [explanation(0.2, "0.6", None), explanation(0.9, kind="other"), explanation(0.5), {}]}
    assert best_recall(json.loads(json.dumps(answer))) == 0.6
    assert best_recall({"explanations": [{}]}) is None
