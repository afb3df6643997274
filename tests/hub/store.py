"""What the Hub keeps: contents by their hash, and per repository its commits and the refs that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

__all__ = ["PIECE", "Blob", "Commit", "File", "Kind", "Repository", "blob_of"]

Kind = Literal["dataset", "model"]

PIECE = 1 << 18
_ALWAYS_LFS = {".h5", ".hdf5", ".npz", ".parquet", ".pt", ".safetensors"}
_FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Blob:
    """One content: its bytes, or the file that holds them and stays as it is, under both names it can have."""

    content: bytes | Path
    size: int
    sha256: str
    git_sha1: str

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `stop`, a quarter of a MiB at a time."""
        stop = self.size if stop is None else stop
        if isinstance(self.content, bytes):
            yield from (self.content[at : min(at + PIECE, stop)] for at in range(start, stop, PIECE))
            return
        with self.content.open("rb") as file:
            file.seek(start)
            for at in range(start, stop, PIECE):
                yield file.read(min(PIECE, stop - at))

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def git_sha1(content: bytes) -> str:
    """The name git gives to this content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def blob_of(content: bytes | Path) -> Blob:
    """The content with its names; a file is read once, piece by piece."""
    if isinstance(content, bytes):
        return Blob(content, len(content), hashlib.sha256(content).hexdigest(), git_sha1(content))
    size = content.stat().st_size
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with content.open("rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            sha1.update(piece)
    return Blob(content, size, sha256.hexdigest(), sha1.hexdigest())


@dataclass(frozen=True)
class File:
    """A content under a name in a repository, in git itself or in large file storage."""

    blob: Blob
    lfs: bool

    @property
    def etag(self) -> str:
        return self.blob.sha256 if self.lfs else self.blob.git_sha1

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.blob.sha256}\nsize {self.blob.size}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        return git_sha1(self.pointer) if self.lfs else self.blob.git_sha1


@dataclass(frozen=True)
class Commit:
    """All files of a repository at one point, and the commit before it."""

    files: Mapping[str, File]
    title: str
    description: str = ""
    parent: Commit | None = None
    repository: str = ""

    @cached_property
    def sha(self) -> str:
        """40 hexadecimal digits; equal histories have equal names."""
        lines = [self.repository, self.parent.sha if self.parent else "", self.title, self.description]
        lines += [f"{file.oid} {path}" for path, file in sorted(self.files.items())]
        return hashlib.sha1("\0".join(lines).encode()).hexdigest()

    @cached_property
    def history(self) -> tuple[Commit, ...]:
        """This commit and those before it, the newest first."""
        return (self, *(self.parent.history if self.parent else ()))

    @property
    def date(self) -> str:
        """One second after its parent: no clock, so that runs agree."""
        moment = _FIRST_COMMIT + timedelta(seconds=len(self.history))
        return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def under(self, folder: str) -> dict[str, File]:
        """The files in a folder and in the folders below; the empty name is the whole repository."""
        prefix = f"{folder}/" if folder else ""
        return {path: file for path, file in self.files.items() if path.startswith(prefix)}

    def entries(self, folder: str, *, recursive: bool) -> dict[str, File | None]:
        """Name to file, or None for a folder, of what a folder holds, in the order of the names."""
        files = self.under(folder)
        folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
        below = PurePosixPath(folder)
        names = {name for name in folders | set(files) if below in PurePosixPath(name).parents}
        chosen = names if recursive else {name for name in names if PurePosixPath(name).parent == below}
        return {name: files.get(name) for name in sorted(chosen)}

    def last_change(self, path: str) -> Commit:
        """The commit that last changed a file, or anything in a folder."""

        def state(commit: Commit) -> object:
            return commit.files.get(path) or commit.under(path)

        for commit in self.history:
            if commit.parent is None or state(commit.parent) != state(commit):
                return commit
        return self


@dataclass
class Repository:
    """The commits of a repository and the refs that name them.

    Attributes:
        refs: Full name, as `refs/heads/main`, to commit.
        lfs_from: Size in bytes from which on a file goes to large file storage whatever its extension.
    """

    name: str
    kind: Kind
    private: bool = False
    gated: bool = False
    lfs_from: int = 1 << 20
    refs: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Its path in URLs outside of the API."""
        return f"datasets/{self.name}" if self.kind == "dataset" else self.name

    def is_lfs(self, path: str, size: int) -> bool:
        return size >= self.lfs_from or PurePosixPath(path).suffix in _ALWAYS_LFS

    def file(self, path: str, blob: Blob) -> File:
        """A content under a name, stored as the Hub would store it; an empty file never is a large one."""
        return File(blob, lfs=blob.size > 0 and self.is_lfs(path, blob.size))

    def ref(self, revision: str) -> str | None:
        """The full name of a branch, tag or other ref, if there is one."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

    def find(self, revision: str) -> Commit | None:
        """The commit with this name, on this branch or under this tag."""
        name = self.ref(revision)
        return self.refs[name] if name else self.commits.get(revision)

    def set(self, ref: str, commit: Commit) -> Commit:
        """Let a ref name a commit, new or old."""
        self.commits[commit.sha] = commit
        self.refs[ref] = commit
        return commit

    def commit(self, ref: str, files: Mapping[str, File], title: str, description: str = "") -> Commit:
        """Add a commit with exactly these files to a ref."""
        return self.set(ref, Commit(dict(files), title, description, self.refs.get(ref), f"{self.kind}/{self.name}"))
