"""One request as a route sees it, the answer it gives, and the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from hub.state import State
from hub.store import Blob, Commit, Repository

__all__ = ["Answer", "Call", "HubError", "Route", "find_route", "json_answer", "route"]

# The pieces of a URL's path. A revision is one segment, with its slashes escaped, or a full ref written out.
_PARTS = {
    "kind": r"(?P<kind>dataset|model)",
    "prefix": r"(?:(?P<kind>dataset)s/)?",
    "repository": r"(?P<repository>[^/]+/[^/]+?)",
    "revision": r"(?P<revision>refs/[^/]+/[^/]+|[^/]+)",
    "path": r"(?P<path>.*)",
    "oid": r"(?P<oid>[0-9a-f]{64})",
}


class HubError(Exception):
    """A refusal, in the form the clients understand."""

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, dict(headers or {})

    def answer(self) -> Answer:
        code = {"X-Error-Code": self.code} if self.code else {}
        headers = {**self.headers, **code, "X-Error-Message": self.message}
        return json_answer({"error": self.message}, status=self.status, headers=headers)


@dataclass(frozen=True)
class Answer:
    """Status, headers and body; of a content only the bytes from `start` to `stop` are sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Blob = b""
    start: int = 0
    stop: int = 0

    @property
    def length(self) -> int:
        """The bytes of the body."""
        return self.stop - self.start if isinstance(self.body, Blob) else len(self.body)

    @property
    def full_size(self) -> int:
        """The bytes of the whole content, of which the body may be a range."""
        return self.body.size if isinstance(self.body, Blob) else len(self.body)

    def pieces(self) -> Iterator[bytes]:
        """The body, a quarter of a MiB at a time."""
        return self.body.pieces(self.start, self.stop) if isinstance(self.body, Blob) else iter((self.body,))

    def shortened(self, length: int) -> Answer:
        """With only the first bytes of the body, and the size of the content in a header as large files have it."""
        headers = {**self.headers, "X-Linked-Size": str(self.full_size)}
        if isinstance(self.body, Blob):
            return replace(self, headers=headers, stop=self.start + length)
        return replace(self, headers=headers, body=self.body[:length])


def json_answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of the API."""
    body = json.dumps(value, default=str).encode()  # YAML knows dates, JSON does not
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


@dataclass
class Call:
    """One request.

    Attributes:
        parts: What the route's pattern found in the path, unescaped.
        headers: By their names in small letters.
        url: The path as it came.
    """

    state: State
    parts: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    url: str
    body: Blob

    @property
    def endpoint(self) -> str:
        return self.state.endpoint

    @property
    def path(self) -> str:
        return self.parts.get("path", "").strip("/")

    @property
    def revision(self) -> str:
        return self.parts["revision"]

    @property
    def repository(self) -> Repository:
        """The repository of the path, if it exists and may be seen."""
        kind = "dataset" if self.parts.get("kind") == "dataset" else "model"
        repository = self.state.repositories.get((kind, self.parts["repository"]))
        if repository is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        if repository.private and not self.state.admits(self.headers):
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        return repository

    @property
    def commit(self) -> Commit:
        """The commit the path's revision names; the default branch where the path names none."""
        revision = self.parts.get("revision") or "main"
        commit = self.repository.find(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def parameter(self, name: str) -> str:
        """A value of the query, or empty."""
        return parse_qs(self.query).get(name, [""])[0]

    def flag(self, name: str) -> bool:
        return self.parameter(name).lower() in {"1", "true"}

    def form(self) -> dict[str, list[str]]:
        """The body's fields, each with all its values."""
        return parse_qs(self.body.read().decode())

    def json(self) -> dict[str, Any]:
        value = json.loads(self.body.read() or b"{}")
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Route:
    """Which requests a function answers."""

    method: str
    pattern: re.Pattern[str]
    answer: Callable[[Call], Answer]
    writes: bool


_ROUTES: list[Route] = []


def route(method: str, template: str, *, writes: bool = False) -> Callable[[Callable[[Call], Answer]], Any]:
    """Let a function answer one method on paths like `/api/{kind}s/{repository}/refs`."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", lambda part: _PARTS[part[1]], template))

    def register(function: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        _ROUTES.append(Route(method, pattern, function, writes))
        return function

    return register


def find_route(method: str, path: str) -> tuple[Route, re.Match[str]] | None:
    """The route of a request and the parts of its path, still escaped; HEAD is answered as GET is."""
    method = "GET" if method == "HEAD" else method
    return next(
        ((route, found) for route in _ROUTES if route.method == method and (found := route.pattern.fullmatch(path))),
        None,
    )
