"""The HTTP/1.1 server: one thread per connection, kept alive, every body with its exact length."""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hub.log import Request
from hub.service import Delivery, Service
from hub.store import PIECE, Blob, blob_of

__all__ = ["Server"]

_FILE = re.compile(r"/.+?/resolve/(?:refs/[^/]+/[^/]+|[^/]+)/(.+)")


class Server(ThreadingHTTPServer):
    """Hands every request to a service."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: str, service: Service) -> None:
        self.service = service
        self._connections: set[socket.socket] = set()
        super().__init__((address, 0), _Connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._connections.discard(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open; their threads end with them."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it may just have ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the end of a body waits for the client's acknowledgement

    def _handle(self) -> None:
        url = urlsplit(self.path)
        file = _FILE.fullmatch(url.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            url.path,
            file=unquote(file[1]) if file else "",
            range=headers.get("range", ""),
            authorized="authorization" in headers,
        )
        body = self._body()
        self._send(request, self.server.service.deliver(request, url.query, headers, body))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _body(self) -> Blob:
        """The request's body, which is always read to its end: the next request comes behind it."""
        folder = self.server.service.state.folder
        if self.command != "PUT" or folder is None:
            return blob_of(b"".join(self._body_pieces()))
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.writelines(self._body_pieces())
        return blob_of(Path(file.name))

    def _body_pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield from self._read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, size: int) -> Iterator[bytes]:
        while size > 0 and (piece := self.rfile.read(min(size, PIECE))):
            size -= len(piece)
            yield piece

    def _send(self, request: Request, delivery: Delivery) -> None:
        try:
            self.send_response(delivery.answer.status)
            for name, value in delivery.answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(delivery.answer.length))
            self.end_headers()
            if self.command == "HEAD":
                return
            for piece in delivery.pieces():
                request.sent += len(piece)  # before it is written: who has read the whole body sees all of it counted
                self.wfile.write(piece)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has enough
        if delivery.ends_after is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing; requests are noted by the service."""
