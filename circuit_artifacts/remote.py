"""Files that are not on this machine: read in place by ranges, or downloaded whole up to a limit.

A reference is a path, ``hf://datasets/user/repo[@revision]/file``, or an http(s) URL. Both kinds of file that come of
it, `pathlib.Path` and :class:`RemoteFile`, have `name`, `suffix` and ``open("rb")``, so that readers need not ask which
one they hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from circuit_artifacts import hub
from circuit_artifacts.errors import MissingArtifactError, SourceError

__all__ = ["LARGEST_DOWNLOAD", "Location", "RemoteFile", "fetch", "locate", "remote_file"]

LARGEST_DOWNLOAD = 1 << 30
"""Bytes up to which a file is downloaded whole: one request instead of hundreds (hub_and_viewer spec 2.2)."""

Access = Literal["blocks", "ranges", "sequential"]
_BLOCK_BYTES = 4 << 20
_MOST_BLOCKS = 256
_ACCESS: dict[Access, dict[str, Any]] = {
    "blocks": {"block_size": _BLOCK_BYTES, "cache_type": "blockcache"},
    "ranges": {"cache_type": "none"},
    "sequential": {"block_size": 128 << 10, "cache_type": "readahead"},
}
_HUB, _WEB = "hf://", ("http://", "https://")


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

    def open(self, mode: Literal["rb"] = "rb", *, access: Access = "blocks") -> BinaryIO:
        """A seekable stream over the file.

        Args:
            mode: "rb" only.
            access: "blocks" keeps blocks of 4 MiB, up to 1 GiB of them, for formats that are read here and there;
                "ranges" requests exactly what is read; "sequential" reads a little ahead and keeps nothing.
        """
        options: dict[str, Any] = dict(_ACCESS[access])
        if access == "blocks":
            options["cache_options"] = {"maxblocks": min(_MOST_BLOCKS, self.size // _BLOCK_BYTES + 1)}
        stream: BinaryIO = _file_system(self.url, token=self.token).open(self.url, mode, size=self.size, **options)
        return stream


Location = Path | RemoteFile
"""Where a reader finds a file."""


def locate(reference: str, *, token: str | bool | None = None) -> Location:
    """The file that a reference names, to be read in place; nothing is downloaded.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached.
    """
    if reference.startswith(_HUB):
        file = hub.HubFile.parse(reference, token=token)
        return hub.cached(file) or remote_file(file)
    if reference.startswith(_WEB):
        return _web_file(reference)
    path = Path(reference).expanduser()
    if not path.is_file():
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=path)
    return path


def fetch(reference: str, *, token: str | bool | None = None) -> Location:
    """The file that a reference names: a path, downloaded if need be; only above `LARGEST_DOWNLOAD` read in place.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached.
    """
    found = locate(reference, token=token)
    if reference.startswith(_HUB) and (isinstance(found, Path) or found.size <= LARGEST_DOWNLOAD):
        return hub.download(hub.HubFile.parse(reference, token=token))
    if isinstance(found, RemoteFile) and found.size <= LARGEST_DOWNLOAD:
        return _download_from_web(reference)
    return found


def remote_file(file: hub.HubFile) -> RemoteFile:
    """A file of the Hub to be read in place, at the commit that its revision means now.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached.
    """
    found = hub.metadata(file)
    pinned = replace(file, revision=found.commit)
    return RemoteFile(url=str(pinned), size=found.size, identity=found.etag, token=file.token)


def _file_system(url: str, *, token: str | bool | None = None) -> Any:
    if url.startswith(_HUB):
        from huggingface_hub import HfFileSystem, constants

        return HfFileSystem(token=token, endpoint=constants.ENDPOINT)
    import fsspec

    return fsspec.filesystem("http")


def _web_file(url: str) -> RemoteFile:
    try:
        facts = _file_system(url).info(url)
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=url) from error
    except Exception as error:
        problem = "the address cannot be reached"
        raise SourceError(problem, file=url, found=str(error) or type(error).__name__) from error
    return RemoteFile(url=url, size=int(facts.get("size") or 0), identity=str(facts.get("ETag") or facts.get("size")))


def _download_from_web(url: str) -> Path:
    from datasets import DownloadManager

    try:
        return Path(DownloadManager().download(url))
    except Exception as error:
        problem = "the download failed"
        raise SourceError(problem, file=url, found=str(error).partition("\n")[0] or type(error).__name__) from error
