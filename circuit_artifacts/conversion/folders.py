"""Folders that appear under their final name complete, or not at all.

As :mod:`circuit_artifacts.atomic`, for a folder. The temporary folder is locked by the process that fills it; the lock
ends with the process, however that ends, so that what a kill leaves behind can be told from what is being written.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["atomic_folder", "remove_abandoned"]


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Lend an empty folder beside `final`, hidden and unique, which takes that name when the block succeeds.

    If another process has made `final` meanwhile, that stays, and this one is deleted. If nothing was put into the
    folder, nothing appears.

    Args:
        final: the folder to make; its files must not differ between those who make it.

    Yields:
        The folder to write to.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary, lock = _create(final)
    try:
        yield temporary
        if any(temporary.iterdir()):
            try:
                temporary.rename(final)
            except OSError:
                if not (final.is_dir() and any(final.iterdir())):
                    raise
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def remove_abandoned(final: Path) -> None:
    """Delete what processes that were killed have left of `final`; not what one is writing now."""
    for folder in final.parent.glob(f"{glob.escape(_prefix(final))}*.part"):
        lock = _lock(folder, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _prefix(final: Path) -> str:
    return f".{final.name[:48]}."  # short of the 255 bytes that file systems allow


def _create(final: Path) -> tuple[Path, int | None]:
    while True:
        temporary = final.with_name(f"{_prefix(final)}{secrets.token_hex(8)}.part")
        temporary.mkdir()
        lock = _lock(temporary, wait=True)
        if temporary.exists():
            return temporary, lock
        if lock is not None:  # somebody took it for abandoned before it was locked
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder until the descriptor is closed or the process ends; None where that is not possible."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # locked by another process, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor
