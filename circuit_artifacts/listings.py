"""Which files a repository on the Hub has at a commit: asked for once, and kept on this machine.

The Hub's cache holds files, but not which ones there are besides; without that, the latest run could not be told.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from circuit_artifacts import hub
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.filesets import FileSet, list_files
from circuit_artifacts.hub import HubFile
from circuit_artifacts.progress import track
from circuit_artifacts.settings import Settings

__all__ = ["Listing", "download", "known", "obtain"]

logger = logging.getLogger(__name__)

_CONNECTIONS = 8


@dataclass(frozen=True)
class Listing:
    """The paths of all files of a repository at a commit, sorted."""

    commit: str
    names: tuple[str, ...]


def known(file: HubFile) -> Listing | None:
    """The list that is kept of a file's repository and revision; no request is made.

    Without one, and while the Hub cannot be asked, what the Hub's cache has of the revision is taken for all of it.
    """
    record = _record(file)
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return Listing(content["commit"], tuple(content["names"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read, and is made anew: %s", record, error)
    snapshot = hub.snapshot(file)
    if snapshot is None or hub.offline_reason() is None:
        return None
    logger.warning("%s: whether the Hub's cache has all of its files cannot be told offline", file.repository)
    return Listing(snapshot.name, list_files(snapshot))


def obtain(file: HubFile) -> Listing:
    """The list of a file's repository and revision, asked for if it is not kept.

    Raises:
        MissingArtifactError: there is no such repository or revision.
        SourceError: the Hub could not be asked.
    """
    record = _record(file)
    if record.is_file() and (kept := known(file)) is not None:
        return kept
    found = Listing(*hub.list_repository(file))
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps({"commit": found.commit, "names": found.names}), encoding="utf-8")
    return found


def download(files: FileSet) -> None:
    """Have files of a repository in the Hub's cache, whole and checked, several at a time.

    Raises:
        SourceError: one of them could not be had; the others are kept.
    """
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        done: Iterator[Path] = pool.map(files.path, files.names)
        try:
            for _ in track(done, "downloading", total=len(files.names)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def _record(file: HubFile) -> Path:
    address = replace(file, file="listing", token=None)
    name = hashlib.sha256(str(address).encode()).hexdigest()
    return Settings().listings / f"{name}.json"
