"""Everything a Hub knows: its repositories, its contents and who may see them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from hub.store import Blob, Repository

__all__ = ["State"]


class State:
    """What routes read and change.

    Attributes:
        repositories: Kind and name to repository.
        blobs: SHA-256 to content, of all repositories together.
        folder: Where uploaded contents are kept; None keeps them in memory.
        page_size: The number of entries on one page of a tree.
        token: The only token that is accepted; None accepts every token, and needs none.
        lock: Held while a request is answered, not while a body is sent.
    """

    def __init__(self, folder: Path | None, page_size: int) -> None:
        self.endpoint = ""
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, Blob] = {}
        self.folder = folder
        self.page_size = page_size
        self.token: str | None = None
        self.lock = threading.RLock()

    def keep(self, blob: Blob) -> Blob:
        """The content, kept once however often it comes."""
        return self.blobs.setdefault(blob.sha256, blob)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request may see private repositories and write."""
        return self.token is None or headers.get("authorization") == f"Bearer {self.token}"
