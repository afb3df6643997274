"""Run folders: taken up after a kill, never overwritten, told by their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of

STAMP = "20260101_235959"


def test_a_finished_run_has_nothing_hidden_left(tmp_path: Path) -> None:
    with run_folder(tmp_path, {"a": 1}, timestamp=STAMP, variant="full") as folder:
        assert folder.name == f"{STAMP}_full"
        assert timestamp_of(folder) == STAMP
    assert list(folder.iterdir()) == []


def test_an_interrupted_run_is_taken_up_by_the_same_settings_only(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, {"a": 1}, timestamp=STAMP) as first:
        raise KeyboardInterrupt
    with run_folder(tmp_path, {"a": 2}) as other:
        assert other != first
    with run_folder(tmp_path, {"a": 1}) as again:
        assert again == first
    with run_folder(tmp_path, {"a": 1}) as new:
        assert new not in {first, other}


def test_a_folder_that_exists_is_never_used_for_another_run(tmp_path: Path) -> None:
    folders = []
    for _ in range(3):
        with run_folder(tmp_path, {}, timestamp=STAMP) as folder:
            folders.append(folder.name)
    assert folders == [STAMP, "20260102_000000", "20260102_000001"]
