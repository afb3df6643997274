"""Folders that are there whole or not at all, and leftovers that are told from work in progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from circuit_artifacts.conversion.folders import atomic_folder, remove_abandoned

KILLED = """
import os, signal, sys
from pathlib import Path
from circuit_artifacts.conversion.folders import atomic_folder

with atomic_folder(Path(sys.argv[1])) as temporary:
    (temporary / "half").write_bytes(b"half")
    print(temporary, flush=True)
    sys.stdin.read()
"""
posix = pytest.mark.skipif(os.name != "posix", reason="needs locks of folders")


def test_it_appears_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "out" / "config"
    with atomic_folder(final) as temporary:
        (temporary / "file").write_text("whole")
        assert not final.exists()
    assert (final / "file").read_text() == "whole"
    assert list(final.parent.iterdir()) == [final]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "config") as temporary:
        (temporary / "file").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_an_empty_one_does_not_appear(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "config"):
        pass
    assert not list(tmp_path.iterdir())


def test_who_is_first_stays(tmp_path: Path) -> None:
    """Two conversions into one folder: neither fails, and the finished files are not replaced."""
    final = tmp_path / "config"
    with atomic_folder(final) as slower:
        (slower / "file").write_text("slower")
        with atomic_folder(final) as faster:
            (faster / "file").write_text("faster")
    assert (final / "file").read_text() == "faster"
    assert list(tmp_path.iterdir()) == [final]


def test_what_cannot_take_the_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(OSError, match="config"), atomic_folder(tmp_path / "config") as temporary:
        (temporary / "file").write_text("x")
    assert (tmp_path / "config").read_text() == "a file"


@posix
def test_only_what_nobody_writes_is_removed(tmp_path: Path) -> None:
    """A second conversion used to delete what the first was writing."""
    final = tmp_path / "config"
    other = tmp_path / ".other.0123456789abcdef.part"
    other.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(final)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        remove_abandoned(final)
        assert (left / "half").read_bytes() == b"half"
        process.send_signal(signal.SIGKILL)
    assert left.exists()
    remove_abandoned(final)
    assert list(tmp_path.iterdir()) == [other]
