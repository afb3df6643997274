"""Files that are not on this machine: read in place by ranges, or downloaded whole up to a limit.

A reference is a path, ``hf://datasets/user/repo[@revision]/file``, or an http(s) URL. Both kinds of file that come of
it, `pathlib.Path` and :class:`RemoteFile`, have `name`, `suffix` and ``open("rb")``, so that readers need not ask which
one they hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

__all__ = ["LARGEST_DOWNLOAD", "RemoteFile", "fetch", "locate"]

LARGEST_DOWNLOAD = 1 << 30
"""Bytes up to which a file is downloaded whole: one request instead of hundreds (hub_and_viewer spec 2.2)."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that is read where it is. It holds no connection, so it can be pickled and sent to workers.

    Attributes:
        url: ``hf://datasets/<repository>@<commit>/<file>``, or an http(s) URL.
        size: bytes.
        identity: changes when the content does: an ETag or a commit.
        token: for the Hub; None looks at the usual places.
    """

    url: str
    size: int
    identity: str
    token: str | bool | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.partition("?")[0].rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The file name's extension, with its dot."""
        return Path(self.name).suffix

    def open(self, mode: Literal["rb"] = "rb", *, access: Literal["sequential", "random"] = "random") -> BinaryIO:
        """A seekable stream over the file.

        Args:
            mode: "rb" only.
            access: "random" keeps every block of 4 MiB that was read; "sequential" reads a little ahead and keeps none.
        """
        raise NotImplementedError


def locate(reference: str, *, token: str | bool | None = None) -> Path | RemoteFile:
    """The file that a reference names, to be read in place; nothing is downloaded.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached.
    """
    raise NotImplementedError


def fetch(reference: str, *, token: str | bool | None = None) -> Path | RemoteFile:
    """The file that a reference names: a path, downloaded if need be; only above `LARGEST_DOWNLOAD` read in place.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached.
    """
    raise NotImplementedError
