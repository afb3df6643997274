"""The check as a whole: what `convert` writes, the order of findings, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import pytest
from atlas_fixture import Atlas
from viewer_upload import FILE, PATTERN, Upload, config, rows_with

from circuit_artifacts import catalog, cli
from circuit_artifacts.errors import SourceError
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources
from circuit_artifacts.viewer import check_viewer


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """The exit code of the command line."""
    monkeypatch.setattr(sys, "argv", ["circuit-artifacts", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code


def test_what_convert_writes(atlas: Atlas, tmp_path: Path) -> None:
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        files = convert(Sources(mirror=catalog.mirror("csp-atlas"), data_root=atlas.folder), tmp_path)
    assert len({file.config for file in files}) == len(catalog.mirror("csp-atlas").configs)
    findings = list(check_viewer(tmp_path))
    assert [finding for finding in findings if finding.level == "error"] == []
    assert {finding.rule for finding in findings} == {"more than ten configs", "preview rows"}


def test_every_fault_is_listed(upload: Upload) -> None:
    """One fault must not hide another: in the card, in two splits, in one column twice."""
    upload.write(rows_with([2**53, 2**53 + 1] * 10))
    upload.write(rows_with([0, 1] * 10), "masks/test.parquet")
    upload.write_card(viewer=False, configs=[config("masks", train=PATTERN, test="masks/test.parquet", more="x/*")])
    assert upload.places() == [
        ("error", "viewer switched off", "README.md", "viewer"),
        ("error", "patterns", "README.md", "masks more"),
        ("error", "neighbouring values", PATTERN, "x"),
        ("error", "inexact integer", PATTERN, "x"),
        ("error", "neighbouring values", "masks/test.parquet", "x"),
    ]


def test_findings_say_what_the_viewer_does_and_what_to_do(upload: Upload) -> None:
    upload.write(rows_with([0, 1] * 10))
    assert upload.finding().message == (
        "the least and the greatest value differ by just one (found 0 and 1); the statistics of the whole split fail. "
        "Store the column as bool, ClassLabel or float64."
    )


def test_folders_with_brackets_in_their_names(tmp_path: Path) -> None:
    """Brackets are part of patterns, but not where they are part of a path."""
    assert Upload(tmp_path / "masks [1]").findings() == []


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="no such folder"):
        list(check_viewer(tmp_path / name))


def test_command(upload: Upload, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "check-viewer", upload.folder) in (0, None)
    assert capsys.readouterr().out == f"0 error(s), 0 note(s) in {upload.folder}\n"
    upload.write(rows_with([0, 1] * 10), write_page_index=False)
    assert run(monkeypatch, "check-viewer", upload.folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["level", "error", "error"]
    assert lines[-1] == f"2 error(s), 0 note(s) in {upload.folder}"
    assert run(monkeypatch, "check-viewer", upload.folder, "--json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["level"], row["rule"], row["file"], row["where"]) for row in rows] == [
        ("error", "page index", FILE, "concept"),
        ("error", "neighbouring values", PATTERN, "x"),
    ]


def test_notes_alone_are_no_failure(
    upload: Upload, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    upload.write_card(language=None)
    assert run(monkeypatch, "check-viewer", upload.folder, "--json") in (0, None)
    assert [row["level"] for row in json.loads(capsys.readouterr().out)] == ["note"]


def test_command_without_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "check-viewer", tmp_path / "nowhere") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no such folder" in captured.err
    assert "Traceback" not in captured.err
