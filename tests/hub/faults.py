"""Misbehaviour on demand: what can be wrong with an answer, and when."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

__all__ = ["Fault", "FaultKind", "Faults"]

FaultKind = Literal["status", "cut", "short", "stale_etag", "corrupt", "latency", "no_ranges"]


@dataclass(frozen=True)
class Fault:
    """One way in which some answers are wrong.

    Attributes:
        kind: One of
            `status`: an error answer with `status` and, if given, `retry_after` (404 of a file: EntryNotFound, of
            anything else RepoNotFound; 401: RepoNotFound; 403: GatedRepo);
            `cut`: the whole body is promised, the connection ends after `after_bytes` of it;
            `short`: a complete answer that holds only `after_bytes` of the body and says so, while X-Linked-Size tells
            the full size;
            `stale_etag`: another hash than the file has (answers to HEAD, unless `methods` says otherwise);
            `corrupt`: the right length, but the byte at `after_bytes` of the file is inverted;
            `latency`: the answer comes `seconds` late;
            `no_ranges`: everything with status 200, whatever range was asked for.
        times: The number of answers it spoils; None for all.
        file: Pattern (fnmatch) on the file's name in its repository, or on the URL's path where no file is asked for.
        methods: The HTTP methods it spoils; `("GET",)` when not given.
        after_bytes: A number of bytes; half of the body, or of the file, when not given.
    """

    kind: FaultKind
    times: int | None = None
    file: str = "*"
    methods: tuple[str, ...] | None = None
    after_bytes: int | None = None
    status: int = 500
    retry_after: int | None = None
    seconds: float = 0.0

    def concerns(self, method: str, name: str) -> bool:
        methods = self.methods or (("HEAD",) if self.kind == "stale_etag" else ("GET",))
        return method in methods and fnmatchcase(name, self.file)

    def at(self, size: int) -> int:
        """`after_bytes` of a body or file of this size."""
        return size // 2 if self.after_bytes is None else min(self.after_bytes, size)


class Faults:
    """The faults in force; each kind acts on an answer at most once, the first that was asked for first."""

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int | None]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._left.append((fault, fault.times))

    def clear(self) -> None:
        with self._lock:
            self._left.clear()

    def take(self, method: str, name: str) -> dict[FaultKind, Fault]:
        """The faults of one answer, which count as used with it."""
        taken: dict[FaultKind, Fault] = {}
        left: list[tuple[Fault, int | None]] = []
        with self._lock:
            for fault, times in self._left:
                acts = fault.kind not in taken and fault.concerns(method, name)
                if acts:
                    taken[fault.kind] = fault
                if times is None or times > acts:
                    left.append((fault, times if times is None else times - acts))
            self._left = left
        return taken
