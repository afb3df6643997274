"""A file has its final name only when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_artifacts.atomic import atomic_path


def test_the_final_name_appears_only_after_the_block(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "table.csv"
    with atomic_path(final) as temporary:
        temporary.write_text("a,b\n")
        assert temporary.parent == final.parent
        assert not final.exists()
    assert final.read_text() == "a,b\n"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("error", [ValueError("bad"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    final = tmp_path / "masks.h5"
    final.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic_path(final) as temporary:
            temporary.write_bytes(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_failing_rename_leaves_nothing(tmp_path: Path) -> None:
    final = tmp_path / "taken"
    final.mkdir()
    with pytest.raises(OSError, match="taken"), atomic_path(final) as temporary:
        temporary.write_bytes(b"x")
    assert list(tmp_path.iterdir()) == [final]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "nothing"):
        pass
    assert not list(tmp_path.iterdir())


def test_concurrent_writers_do_not_meet(tmp_path: Path) -> None:
    final = tmp_path / "same"
    with atomic_path(final) as first:
        with atomic_path(final) as second:
            first.write_text("first")
            second.write_text("second")
        assert final.read_text() == "second"
    assert final.read_text() == "first"


def test_the_longest_legal_name_still_works(tmp_path: Path) -> None:
    final = tmp_path / ("ü" * 127)
    with atomic_path(final) as temporary:
        temporary.write_text("x")
    assert final.read_text() == "x"
