"""Files of one place that are read together: the runs of a repository whose files nobody can list in advance.

A family of such files names them by a function that picks them from the list of all files of a place (`Family.select`).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from circuit_artifacts import hub
from circuit_artifacts.errors import UnsafeContentError
from circuit_artifacts.hub import HubFile
from circuit_artifacts.schemas.declaration import Config

__all__ = [
    "FileSet",
    "Local",
    "NamedFile",
    "files_of_shard",
    "fingerprint",
    "list_files",
    "pick",
    "refuse_escape",
    "shards_of",
]

File = TypeVar("File")

_FINGERPRINT_LENGTH = 16
_MOST_SHARDS = 256  # a repository has thousands of pictures


@dataclass(frozen=True, kw_only=True)
class FileSet:
    """Some files of a folder, or of one commit of a repository on the Hub. Picklable, so that workers can be handed it.

    Attributes:
        place: the folder; or any file of the repository, at the commit.
        names: paths of the files there, with forward slashes, sorted.
        listing: paths of all files there; empty where only the files themselves matter.
    """

    place: Path | HubFile
    names: tuple[str, ...]
    listing: tuple[str, ...] = ()

    def __str__(self) -> str:
        first, more = self.names[0] if self.names else "no file", len(self.names) - 1
        root = self.place if isinstance(self.place, Path) else str(self.place).removesuffix(f"/{self.place.file}")
        return f"{root}/{first}" + (f" and {more} more" if more > 0 else "")

    def path(self, name: str) -> Path:
        """One of the files on this machine; from the Hub it is downloaded now, unless it was before.

        Raises:
            UnsafeContentError: a link leads out of the folder.
            SourceError: the Hub could not be asked, or has no such file.
        """
        if isinstance(self.place, HubFile):
            return hub.download(replace(self.place, file=name))
        path = self.place / name
        refuse_escape(path, self.place)
        return path

    @property
    def paths(self) -> Iterator[Path]:
        """All of the files, as by :meth:`path`."""
        return map(self.path, self.names)

    @property
    def is_here(self) -> bool:
        """Whether all of the files are on this machine."""
        if isinstance(self.place, HubFile):
            return all(hub.cached(replace(self.place, file=name)) for name in self.names)
        return all((self.place / name).is_file() for name in self.names)

    @property
    def size(self) -> int:
        """Bytes of the files that are on this machine."""
        if isinstance(self.place, HubFile):
            found = (hub.cached(replace(self.place, file=name)) for name in self.names)
            return sum(path.stat().st_size for path in found if path is not None)
        return sum((self.place / name).stat().st_size for name in self.names)

    @property
    def fingerprint(self) -> str:
        """Changes when the content may have changed. A commit of the Hub never does."""
        names = (*self.names, "", *self.listing)
        if isinstance(self.place, HubFile):
            return fingerprint("commit", self.place.repository, str(self.place.revision), *names)
        stamps = ((self.place / name).stat() for name in self.names)
        return fingerprint(
            str(self.place.resolve()), *names, *(f"{status.st_size} {status.st_mtime_ns}" for status in stamps)
        )


Local = Path | FileSet
"""What a config is read from: its file, or its files."""


def pick(config: Config, place: Path | HubFile, names: tuple[str, ...], options: Mapping[str, Any]) -> FileSet | None:
    """The files of a config among all files of a place; None if there are none.

    Raises:
        UnknownNameError: an option names what is not there, such as a run.
    """
    chosen = config.select(names, options)
    listing = names if config.family.is_inventory else ()
    return FileSet(place=place, names=chosen, listing=listing) if chosen or listing else None


@dataclass(frozen=True)
class NamedFile:
    """A local file and its name in the repository.

    Attributes:
        path: where it is on this machine.
        name: relative to the repository's root, with forward slashes.
    """

    path: Path
    name: str


def shards_of(files: Sequence[object]) -> list[int]:
    """One shard per file, or per handful of them if there are many."""
    return list(range(min(len(files), _MOST_SHARDS)))


def files_of_shard(files: Sequence[File], shard: int) -> Sequence[File]:
    """The files of one of the shards of `shards_of`, in order."""
    per_shard = math.ceil(len(files) / len(shards_of(files)))
    return files[shard * per_shard : (shard + 1) * per_shard]


def fingerprint(*parts: str) -> str:
    """A short name for any texts: different texts get different ones."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def list_files(folder: Path) -> tuple[str, ...]:
    """Paths of all files below a folder, relative to it, sorted; hidden ones and linked folders are passed over."""
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(root).relative_to(folder)
        found += [(relative / name).as_posix() for name in files if not name.startswith(".")]
    return tuple(sorted(found))


def refuse_escape(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of a local folder; a snapshot of the Hub cache may lead to its own blobs.

    Raises:
        UnsafeContentError: it does.
    """
    target, root = path.resolve(), folder.resolve()
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(home) for home in homes):
        problem = "a link leads out of its folder"
        remedy = "Put the file itself there, or name the folder that holds it."
        raise UnsafeContentError(problem, file=path, found=target, expected=f"a file in {root}", remedy=remedy)
