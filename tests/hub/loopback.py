"""The Hub as tests and benchmarks use it."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from hub.clients import environment
from hub.connection import Server
from hub.faults import Fault
from hub.log import Request
from hub.service import Service
from hub.state import State
from hub.store import File, Kind, Repository, blob_of

__all__ = ["LoopbackHub"]


class LoopbackHub:
    """A Hub on the loopback interface, from `with` to the end of its block.

    Attributes:
        endpoint: Its address, for `HF_ENDPOINT`.
    """

    def __init__(self, *, address: str = "127.0.0.1", folder: Path | None = None, page_size: int = 1000) -> None:
        """Bind a free port.

        Args:
            address: Where it listens; only the loopback interface will do.
            folder: Where large uploads are kept; in memory when not given.
            page_size: The number of entries on one page of a tree.

        Raises:
            ValueError: others could reach the address.
        """
        if not ipaddress.IPv4Address(address).is_loopback:
            problem = f"{address} is not a loopback address; this Hub protects nothing and must not be reachable"
            raise ValueError(problem)
        self._state = State(folder, page_size)
        self._service = Service(self._state)
        self._server = Server(address, self._service)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.endpoint = self._state.endpoint = f"http://{address}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Variables that point the clients of a new process here; with the token, if one is set."""
        return environment(self.endpoint) | ({"HF_TOKEN": self.token} if self.token else {})

    @property
    def token(self) -> str | None:
        """If set, private repositories and every change answer 401 without it."""
        return self._state.token

    @token.setter
    def token(self, token: str | None) -> None:
        self._state.token = token

    @property
    def page_size(self) -> int:
        """The number of entries on one page of a tree."""
        return self._state.page_size

    @page_size.setter
    def page_size(self, size: int) -> None:
        self._state.page_size = size

    @property
    def latency(self) -> float:
        """Seconds that pass before each answer."""
        return self._service.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._service.latency = seconds

    # What it holds

    def add_repository(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        kind: Kind = "dataset",
        private: bool = False,
        gated: bool = False,
        lfs_from: int = 1 << 20,
    ) -> str:
        """A new repository with one commit on `main`; returns the commit's hash.

        Args:
            name: `owner/name`.
            files: Name in the repository to content, or to a file with it, which is not copied and must stay.
            kind: `dataset` or `model`.
            private: Nothing of it is seen without the Hub's token.
            gated: Its files are not read without the Hub's token, and by nobody while there is none.
            lfs_from: Size in bytes from which on a file is a large one, whatever its extension.

        Raises:
            ValueError: there already is one of that name and kind.
        """
        if (kind, name) in self._state.repositories:
            problem = f"there is a {kind} {name} already"
            raise ValueError(problem)
        repository = Repository(name, kind, private, gated, lfs_from)
        with self._state.lock:
            self._state.repositories[kind, name] = repository
            return repository.commit("refs/heads/main", self._stored(repository, files), "initial commit").sha

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | Path] | None = None,
        *,
        delete: Collection[str] = (),
        revision: str = "main",
        title: str = "change",
        kind: Kind = "dataset",
    ) -> str:
        """A new commit on a branch, which starts at `main` if it is new; returns the commit's hash.

        Raises:
            KeyError: there is no such repository, or no such file to delete.
        """
        repository = self._state.repositories[kind, name]
        with self._state.lock:
            ref = repository.ref(revision) or f"refs/heads/{revision}"
            parent = repository.set(ref, repository.refs.get(ref, repository.refs["refs/heads/main"]))
            kept = dict(parent.files)
            for path in delete:
                del kept[path]
            return repository.commit(ref, kept | self._stored(repository, files or {}), title).sha

    def _stored(self, repository: Repository, files: Mapping[str, bytes | Path]) -> dict[str, File]:
        return {path: repository.file(path, self._state.keep(blob_of(content))) for path, content in files.items()}

    def files(self, name: str, revision: str = "main", *, kind: Kind = "dataset") -> dict[str, bytes]:
        """Name to content of all files of a revision.

        Raises:
            KeyError: there is no such repository or revision.
        """
        commit = self._state.repositories[kind, name].find(revision)
        if commit is None:
            raise KeyError(revision)
        return {path: file.blob.read() for path, file in sorted(commit.files.items())}

    def clear(self) -> None:
        """Forget everything: repositories, contents, faults, latency, token, page size and requests."""
        with self._state.lock:
            self._state.repositories.clear()
            self._state.blobs.clear()
        self.heal()
        self.reset()
        self.latency, self.token, self.page_size = 0.0, None, 1000

    # What it does wrong

    def fail(self, fault: Fault) -> None:
        """Misbehave from now on."""
        self._service.faults.add(fault)

    def heal(self) -> None:
        """Misbehave no more."""
        self._service.faults.clear()

    # What it was asked

    @property
    def requests(self) -> list[Request]:
        """The requests since the last reset, in the order in which they came."""
        return self._service.log.requests

    def count(self, file: str | None = None, method: str | None = None) -> int:
        """The number of requests; only those for files with names like a pattern (fnmatch), or with one method."""
        return sum(1 for _ in self._service.log.of(file, method))

    def sent(self, file: str | None = None) -> int:
        """The bytes of all bodies that were sent, or only of files with names like a pattern (fnmatch)."""
        return sum(request.sent for request in self._service.log.of(file, None))

    def reset(self) -> None:
        """Forget the requests."""
        self._service.log.clear()
