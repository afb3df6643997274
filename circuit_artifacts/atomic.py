"""Files that appear under their final name complete, or not at all.

Every writer of the package (CSV, parquet, HDF5) goes through :func:`atomic_path`, so that a full disk, an exception,
Ctrl-C or a power cut leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic_path"]


@contextlib.contextmanager
def atomic_path(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Lend a temporary path in the folder of ``final``; on success the file written there takes the final name.

    The temporary file is hidden (``.<name>.<random>.part``) and unique, so that concurrent writers never meet: the
    last to finish wins. It is in the same folder because a rename is atomic only within one file system. It is deleted
    when the body raises, whatever it raises. Missing parent folders are created.

    Args:
        final: the path that the finished file is to have. An existing file is replaced, at the very end.

    Yields:
        The path to write to. Nothing exists there yet; the body must close what it opens.

    Raises:
        FileNotFoundError: the body ended without having written a file.
        OSError: the file could not be written, synchronised or renamed.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The name is shortened so that the additions never push it over the 255 bytes that file systems allow.
    temporary = final.with_name(f".{final.name[:48]}.{secrets.token_hex(8)}.part")
    try:
        yield temporary
        _synchronise(temporary)
        temporary.replace(final)
    except BaseException:
        # The first error is the one to report: a failing clean-up must not hide it.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":
        # The rename itself is an entry of the folder: without this a power cut may undo it. Some network file
        # systems refuse it, and by now the file is in place, so a refusal is no failure.
        with contextlib.suppress(OSError):
            _synchronise(final.parent)


def _synchronise(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk."""
    # Windows synchronises only what is open for writing; a folder can only be opened for reading.
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
