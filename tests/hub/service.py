"""From a request to its answer: noted, delayed, answered by a route, and spoilt where a fault says so."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from hub import reading, writing  # noqa: F401 - they fill the table of routes
from hub.exchange import Answer, Call, HubError, find_route
from hub.faults import Fault, FaultKind, Faults
from hub.log import Log, Request
from hub.state import State
from hub.store import Blob

__all__ = ["Delivery", "Service"]

# The client asks for it once a day, whatever is done with it: counting it would make counts depend on the day.
_NOT_COUNTED = "/api/agent-harnesses"
_CODES = {401: "RepoNotFound", 403: "GatedRepo"}


@dataclass(frozen=True)
class Delivery:
    """An answer as it goes over the wire.

    Attributes:
        ends_after: The bytes of the body after which the connection ends.
        inverted: The position in the body of a byte that is inverted; outside of the body for none.
    """

    answer: Answer
    ends_after: int | None = None
    inverted: int = -1

    def pieces(self) -> Iterator[bytes]:
        """The body as it is sent."""
        at = 0
        stop = self.answer.length if self.ends_after is None else self.ends_after
        for piece in self.answer.pieces():
            data = bytearray(piece)
            if at <= self.inverted < at + len(data):
                data[self.inverted - at] ^= 0xFF
            yield bytes(data[: stop - at])
            at += len(data)
            if at >= stop:
                return


class Service:
    """Everything behind the HTTP server; used by many threads."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.faults = Faults()
        self.log = Log()
        self.latency = 0.0

    def deliver(self, request: Request, query: str, headers: Mapping[str, str], body: Blob) -> Delivery:
        """Answer one request and note it; blocks for the latency."""
        if request.path != _NOT_COUNTED:
            self.log.add(request)
        faults = self.faults.take(request.method, request.file or request.path)
        late = faults.get("latency")
        time.sleep(self.latency + (late.seconds if late else 0.0))
        if "no_ranges" in faults:
            headers = {name: value for name, value in headers.items() if name != "range"}
        refused = "status" in faults and request.method not in {"GET", "HEAD"}  # nothing may change then
        answer = Answer() if refused else self._answer(request, query, headers, body)
        delivery = spoil(answer, faults, is_file=bool(request.file))
        request.status = delivery.answer.status
        return delivery

    def _answer(self, request: Request, query: str, headers: Mapping[str, str], body: Blob) -> Answer:
        try:
            found = find_route(request.method, request.path)
            if found is None:
                raise HubError(404, "Not Found")
            route, match = found
            self._check_token(headers, writes=route.writes)
            parts = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
            call = Call(self.state, parts, query, headers, request.path, body)
            with self.state.lock:
                return route.answer(call)
        except HubError as error:
            return error.answer()
        except Exception as error:  # noqa: BLE001 - a request this Hub cannot read; clients do not repeat a 501
            traceback.print_exc()
            return HubError(501, f"the loopback Hub failed: {error!r}").answer()

    def _check_token(self, headers: Mapping[str, str], *, writes: bool) -> None:
        if self.state.admits(headers):
            return
        if "authorization" in headers:
            raise HubError(401, "Invalid credentials in Authorization header")
        if writes:
            raise HubError(401, "Invalid username or password.")


def spoil(answer: Answer, faults: Mapping[FaultKind, Fault], *, is_file: bool) -> Delivery:
    """The answer with what the faults do to it."""
    if status := faults.get("status"):
        return Delivery(refusal(status, answer, is_file=is_file))
    if "no_ranges" in faults:
        answer = replace(
            answer, headers={key: value for key, value in answer.headers.items() if key != "Accept-Ranges"}
        )
    if "stale_etag" in faults:
        stale = {key: value[::-1] for key, value in answer.headers.items() if key in {"ETag", "X-Linked-ETag"}}
        answer = replace(answer, headers={**answer.headers, **stale})
    if short := faults.get("short"):
        answer = answer.shortened(short.at(answer.length))
    corrupt, cut = faults.get("corrupt"), faults.get("cut")
    return Delivery(
        answer,
        ends_after=cut.at(answer.length) if cut else None,
        inverted=corrupt.at(answer.full_size) - answer.start if corrupt else -1,
    )


def refusal(fault: Fault, answer: Answer, *, is_file: bool) -> Answer:
    """An error answer; that a file is missing is cached by clients for the commit of the good answer."""
    code = _CODES.get(fault.status, "")
    if fault.status == 404:
        code = "EntryNotFound" if is_file else "RepoNotFound"
    headers = {key: value for key, value in answer.headers.items() if key == "X-Repo-Commit"}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return HubError(fault.status, f"a fault was asked for: {fault.status}", code, headers).answer()
