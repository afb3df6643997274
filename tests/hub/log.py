"""The requests a Hub has answered, for tests and benchmarks to count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["Log", "Request"]


@dataclass
class Request:
    """One request and what was answered.

    Attributes:
        path: The URL's path as it was sent, without the query.
        file: The file's name in its repository, or empty where no file was asked for.
        range: The Range header, or empty.
        authorized: Whether a token came; the token itself is not kept.
        status: The answer's status.
        sent: The bytes of the body that were written.
    """

    method: str
    path: str
    file: str = ""
    range: str = ""
    authorized: bool = False
    status: int = 0
    sent: int = 0


class Log:
    """A growing list of requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def clear(self) -> None:
        with self._lock:
            self.requests = []

    def of(self, file: str | None, method: str | None) -> Iterator[Request]:
        """The requests for files whose names match a pattern (fnmatch), and with one method."""
        return (
            request
            for request in list(self.requests)
            if (file is None or fnmatchcase(request.file, file)) and method in {None, request.method}
        )
