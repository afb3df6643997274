"""Any folder, converted by the command: names, what is left out and why, and rows that stock `datasets` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import LoopbackHub
from typer.testing import CliRunner, Result

from circuit_artifacts.cli import app
from circuit_artifacts.errors import SourceError, UnknownNameError, UnsafeContentError
from circuit_artifacts.formats.folder import folder_mirror
from circuit_artifacts.viewer import check_viewer

Convert = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_fsync() -> Iterator[None]:
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        yield


@pytest.fixture
def run() -> Convert:
    def convert(*arguments: object) -> Result:
        command = ["convert", *map(str, arguments), "--jobs", "1"]
        return CliRunner().invoke(app, command, catch_exceptions=True)

    return convert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes {a} | b.csv").write_text("text,label\nNA,0\nnull,1\nx,0\n")
    (folder / "lines.jsonl").write_text('{"n": 1, "tags": ["a", "b"]}\n{"n": 3, "tags": []}\n')
    pq.write_table(pa.table({"bad | `name`\n---": [1.5, 2.5], "text": ["a", "b"]}), folder / "sub" / "x.parquet")
    with h5py.File(folder / "demo.h5", "w") as file:
        file["obs"] = np.arange(6.0).reshape(3, 2)
        success = h5py.enum_dtype({"no": 0, "yes": 1}, basetype="i1")
        file["success"] = np.array([0, 1, 1], dtype=success)
    return folder


def test_every_file_is_a_config(run: Convert, folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert sorted(datasets.get_dataset_config_names(str(tmp_path / "out"))) == ["demo", "lines", "notes_a_b", "x"]

    def rows(config: str) -> datasets.Dataset:
        return datasets.load_dataset(str(tmp_path / "out"), config, split="train", cache_dir=str(tmp_path / "cache"))

    assert rows("lines").to_list() == [{"n": 1, "tags": ["a", "b"]}, {"n": 3, "tags": []}]
    assert rows("notes_a_b").to_list() == [
        {"text": "NA", "label": 0.0},
        {"text": "null", "label": 1.0},
        {"text": "x", "label": 0.0},
    ]
    assert rows("x").to_list() == [{"bad | `name`\n---": 1.5, "text": "a"}, {"bad | `name`\n---": 2.5, "text": "b"}]
    demo = rows("demo")
    assert demo.features["success"] == datasets.ClassLabel(names=["no", "yes"])
    assert [(row["obs"], row["success"]) for row in demo] == [([0.0, 1.0], 0), ([2.0, 3.0], 1), ([4.0, 5.0], 1)]
    assert [finding for finding in check_viewer(tmp_path / "out") if finding.level == "error"] == []


def test_the_bytes_do_not_depend_on_the_place(run: Convert, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "one")
    folder.rename(tmp_path / "moved")
    run(tmp_path / "moved", tmp_path / "two")
    one, two = (
        {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.parquet")}
        for out in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_what_cannot_be_read_is_named(
    run: Convert, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "model.pt").write_bytes(b"x")
    (folder / "sub" / "damaged.parquet").write_bytes(b"PAR1")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.csv").write_text("a\n1\n")
    assert run(folder, tmp_path / "out", "--config", "lines").exit_code == 0
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("left out, because they cannot be read: model.pt; ")
    assert f"{folder}/sub/damaged.parquet: the file is not of its format" in warning
    assert "git" not in warning


def test_names_are_valid_and_unique(tmp_path: Path) -> None:
    names = {
        "a.csv": "a_csv",
        "a.jsonl": "a_jsonl",
        "b/c.csv": "b_c",
        "c.csv": "c",
        "README.md.csv": "README.md_2",
        "raw.csv": "raw_2",
        "b/X.csv": "b_X",
        "x.csv": "x",
        "..csv": None,  # hidden
        "only [one] <x>.csv": "only_one_x_",
    }
    for file in names:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text('{"a": "b"}\n' if file.endswith("l") else "a\nb\n")
    mirror = folder_mirror(tmp_path)
    found = {config.file: name for name, config in mirror.configs.items()}
    assert found == {file: name for file, name in names.items() if name}


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_links_that_leave_the_folder_are_refused(run: Convert, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (folder / "inside.csv").symlink_to(folder / "notes {a} | b.csv")
    assert run(folder, tmp_path / "out", "--config", "inside").exit_code == 0
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    result = run(folder, tmp_path / "out")
    assert isinstance(result.exception, UnsafeContentError)
    assert result.exception.file == str(folder / "link.csv")
    (folder / "link.csv").unlink()
    (folder / "sub" / "link").symlink_to(tmp_path)
    assert isinstance(run(folder, tmp_path / "out").exception, UnsafeContentError)


def test_refusals(run: Convert, folder: Path, tmp_path: Path) -> None:
    inside = run(folder, folder / "out").exception
    assert isinstance(inside, SourceError)
    assert inside.problem == "OUT is inside the folder to convert"
    unknown = run(folder, tmp_path / "out", "--config", "line").exception
    assert isinstance(unknown, UnknownNameError)
    assert unknown.remedy == "Did you mean lines?"
    (tmp_path / "empty").mkdir()
    nothing = run(tmp_path / "empty", tmp_path / "out").exception
    assert isinstance(nothing, SourceError)
    assert nothing.problem == "there is no file that can be converted"


def test_pushed_by_the_command(
    run: Convert, folder: Path, tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    arguments = (folder, tmp_path / "out", "--config", "x", "--originals", "--push-to", "user/any", "--private")
    result = run(*arguments)
    assert result.exit_code == 0, result.exception
    assert result.output.strip().endswith("/datasets/user/any")
    files = hub.files("user/any")
    assert files["raw/sub/x.parquet"] == (folder / "sub" / "x.parquet").read_bytes()
    assert sorted(set(files) - {".gitattributes"}) == [
        "README.md",
        "raw/sub/x.parquet",
        "x/train-00000-of-00001.parquet",
    ]
