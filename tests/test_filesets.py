"""Sets of files: what counts as one, what its name in caches depends on, and what it refuses."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what is pickled here is our own
from pathlib import Path

import pytest

from circuit_artifacts import provenance
from circuit_artifacts.errors import UnsafeContentError
from circuit_artifacts.filesets import FileSet, list_files


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_hidden_files_and_folders_are_no_part_of_a_place(tmp_path: Path) -> None:
    write(tmp_path, "b/two.csv", "a.csv", ".hidden/x.csv", "b/.one.csv.part")
    assert list_files(tmp_path) == ("a.csv", "b/two.csv")


def test_linked_folders_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", "x.csv")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    assert list_files(tmp_path) == ("real/x.csv",)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "secret")
    folder = write(tmp_path / "folder", "own.csv")
    (folder / "link.csv").symlink_to(tmp_path / "secret")
    files = FileSet(place=folder, names=("link.csv", "own.csv"))
    assert files.path("own.csv") == folder / "own.csv"
    with pytest.raises(UnsafeContentError, match="leads out of its folder"):
        files.path("link.csv")


def test_the_fingerprint_follows_content_and_choice(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.csv", "b.csv")
    one, both = FileSet(place=folder, names=("a.csv",)), FileSet(place=folder, names=("a.csv", "b.csv"))
    before = one.fingerprint
    assert before == pickle.loads(pickle.dumps(one)).fingerprint != both.fingerprint
    os.utime(folder / "a.csv", ns=(1, 1))
    assert one.fingerprint != before
    assert FileSet(place=folder, names=("a.csv",), listing=("a.csv", "b.csv")).fingerprint != one.fingerprint


def test_the_digest_is_of_names_and_contents_and_not_of_the_place(tmp_path: Path) -> None:
    first = FileSet(place=write(tmp_path / "1", "a", "b"), names=("a", "b"))
    second = FileSet(place=write(tmp_path / "2", "a", "b"), names=("a", "b"))
    assert provenance.file_digest(first) == provenance.file_digest(second)
    (tmp_path / "2" / "b").write_text("other")
    assert provenance.file_digest(first) != provenance.file_digest(second)


def test_one_regenerated_file_makes_a_regenerated_set(tmp_path: Path) -> None:
    # Holds down: a set that passes for published because its first file is.
    folder = write(tmp_path, "a.csv", "b.csv")
    files = FileSet(place=folder, names=("a.csv", "b.csv"))
    assert provenance.read(files) is None
    provenance.write_sidecar(folder / "b.csv", provenance.Provenance(mirror="m", step="s"))
    record = provenance.read(files)
    assert record is not None
    assert record.step == "s"
