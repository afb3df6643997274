"""Upload: what lands on the Hub, what stock `datasets` reads from there, and what a refusal says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from atlas_fixture import Atlas
from hub import Fault, LoopbackHub

from circuit_artifacts import catalog
from circuit_artifacts.errors import SourceError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.parquet import convert
from circuit_artifacts.publishing import push
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("csp-atlas")
MASKS = MIRROR.configs["masks_eps0.5_cons0.8"]
SUMMARY = MIRROR.configs["summary"]

STOCK = """
import json, sys
from datasets import load_dataset

rows = {}
for config in sys.argv[1:]:
    whole = load_dataset("user/atlas", config)
    streamed = load_dataset("user/atlas", config, streaming=True)
    rows[config] = {split: table.to_list() for split, table in whole.items()}
    assert rows[config] == {split: list(stream) for split, stream in streamed.items()}
assert "circuit_artifacts" not in sys.modules
json.dump(rows, sys.stdout)
"""


@pytest.fixture(scope="module")
def converted(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted")
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        convert(Sources(mirror=MIRROR, data_root=atlas.folder), out, [SUMMARY, MASKS], originals=True)
    return out


@pytest.fixture
def account(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A Hub that this process may write to."""
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return hub


def test_stock_datasets_loads_what_was_pushed(
    atlas: Atlas, converted: Path, account: LoopbackHub, tmp_path: Path
) -> None:
    assert push(converted, "user/atlas").endswith("/datasets/user/atlas")
    environment = os.environ | account.environment() | {"HF_HOME": str(tmp_path), "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", STOCK, MASKS.name, SUMMARY.name],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HF_HUB_CACHE": str(tmp_path / "hub")},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for config in (MASKS, SUMMARY):
        for split in config.family.splits:
            ours = read_table(MIRROR, config, atlas.folder / config.file, split.name).to_pylist()
            theirs = found[config.name][split.name]
            assert [{name: row[name] for name in ours[0]} for row in theirs] == ours


def test_only_what_convert_wrote_is_uploaded(converted: Path, account: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(converted, folder)
    (folder / "notes.txt").write_text("private")
    (folder / ".env").write_text("private")
    (folder / MASKS.name / ".pair-00000-of-00001.parquet.0123.part").write_bytes(b"half")
    (folder / ".summary.0123.part").mkdir()
    (folder / ".summary.0123.part" / "train-00000").write_bytes(b"half")
    push(folder, "user/atlas")
    expected = {str(path.relative_to(converted)): path.read_bytes() for path in converted.rglob("*") if path.is_file()}
    assert {name: data for name, data in account.files("user/atlas").items() if name != ".gitattributes"} == expected


def test_the_same_bytes_make_no_commit(converted: Path, account: LoopbackHub) -> None:
    push(converted, "user/atlas")
    assert sum("/commit/" in request.path for request in account.requests) == 1
    push(converted, "user/atlas")
    assert sum("/commit/" in request.path for request in account.requests) == 1


def test_parts_that_are_gone_are_deleted(converted: Path, account: LoopbackHub) -> None:
    """`datasets` would take a part of an earlier, larger upload for more rows of the split."""
    stale, other = f"{MASKS.name}/pair-00001-of-00002.parquet", "docs/picture.png"
    account.add_repository("user/atlas", {stale: b"stale", other: b"kept"})
    push(converted, "user/atlas")
    files = account.files("user/atlas")
    assert stale not in files
    assert files[other] == b"kept"


def test_a_private_repository_is_created_private(converted: Path, account: LoopbackHub) -> None:
    from huggingface_hub import HfApi

    push(converted, "user/secret", private=True)
    assert HfApi().dataset_info("user/secret").private


def test_private_data_do_not_go_to_a_public_repository(converted: Path, account: LoopbackHub) -> None:
    account.add_repository("user/public", {"README.md": b"# public\n"})
    with pytest.raises(SourceError, match=r"hf://datasets/user/public: the repository exists and is public"):
        push(converted, "user/public", private=True)
    assert list(account.files("user/public")) == ["README.md"]


@pytest.mark.parametrize(("status", "remedy"), [(401, "hf auth login"), (403, "hf auth login"), (500, "again")])
def test_refusals_say_what_to_do(
    converted: Path, account: LoopbackHub, status: int, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    account.fail(Fault("status", status=status, methods=("POST",), file="*"))
    with pytest.raises(SourceError) as caught:
        push(converted, "user/atlas")
    assert caught.value.file == "hf://datasets/user/atlas"
    assert str(status) in str(caught.value.found)
    assert remedy in str(caught.value.remedy)
    assert "hf_secret" not in str(caught.value) + caplog.text


def test_without_a_token(converted: Path, hub: LoopbackHub) -> None:
    hub.token = "hf_secret"
    with pytest.raises(SourceError, match="hf auth login"):
        push(converted, "user/atlas")


def test_a_malformed_token_is_not_shown(converted: Path, account: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\nX")
    with pytest.raises(SourceError) as caught:
        push(converted, "user/atlas")
    assert "hf_secret" not in str(caught.value)


def test_a_name_that_is_none(converted: Path) -> None:
    with pytest.raises(SourceError, match="Name the repository user/name"):
        push(converted, "user/atlas/parquet")


def test_offline(converted: Path) -> None:
    with pytest.raises(SourceError, match="Unset HF_HUB_OFFLINE"):
        push(converted, "user/atlas")
