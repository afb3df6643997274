"""Lazy files from the Hub: exactly those that are needed, few requests, one prepared dataset, derivation behind it."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from atlas_fixture import write_atlas
from hub import Fault, LoopbackHub

from circuit_artifacts import catalog, load_dataset
from circuit_artifacts import hub as client
from circuit_artifacts.errors import MissingArtifactError
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("csp-atlas")
FIRST, SECOND = MIRROR.repositories


def config(name: str) -> Config:
    return catalog.config("csp-atlas", name)


MASKS = config("masks_eps0.5_cons0.8")
CHECKERS = config("checker_masks_eps0.5_cons0.8")
TABLE = config("target_checker_eps0.5_cons0.8")
PROMPTS = config("object_prompts")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSES", (0.01, 0.01))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A narrow atlas as published, by file name."""
    pairs = [("For", "list"), ("For", "int"), ("If", "list")]
    atlas = write_atlas(tmp_path_factory.mktemp("small"), pairs=pairs, n_prompts=4)
    return {path.name: path for path in atlas.folder.iterdir() if path.is_file()}


def only(files: dict[str, Path], *configs: Config) -> dict[str, Path]:
    return {config.file: files[config.file] for config in configs}


@pytest.mark.parametrize("streaming", [False, True])
def test_exactly_the_files_of_a_config_in_few_requests(
    hub: LoopbackHub, files: dict[str, Path], streaming: bool
) -> None:
    hub.add_repository(FIRST, files)
    rows = list(load_dataset("csp-atlas", MASKS.name, split="pair", streaming=streaming))
    assert [row["ast_node"] for row in rows[:3]] == ["For", "For", "If"]
    assert {request.file for request in hub.requests if request.file} == {MASKS.file}
    assert len(hub.requests) <= 4
    assert hub.sent(file=MASKS.file) == files[MASKS.file].stat().st_size


def test_a_second_load_asks_nothing_and_prepares_nothing(hub: LoopbackHub, files: dict[str, Path]) -> None:
    # Holds down: rows prepared once more, because the key of a download was not that of the downloaded file.
    hub.add_repository(FIRST, files)
    first = load_dataset("csp-atlas", MASKS.name, split="pair")
    hub.reset()
    second = load_dataset("csp-atlas", MASKS.name, split="pair")
    assert first.cache_files == second.cache_files
    assert hub.requests == []


def test_derived_from_downloads_is_prepared_once(hub: LoopbackHub, files: dict[str, Path], home: Path) -> None:
    hub.add_repository(FIRST, only(files, MASKS, CHECKERS))
    first = load_dataset("csp-atlas", TABLE.name, split="train")
    second = load_dataset("csp-atlas", TABLE.name, split="train")
    assert first.cache_files == second.cache_files
    assert len(list((home / "derived").rglob(TABLE.file))) == 1
    assert Sources(mirror=MIRROR).fetch(TABLE)[TABLE.name].read_bytes() == files[TABLE.file].read_bytes()


def test_the_second_repository(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(SECOND, only(files, MASKS))
    assert Sources(mirror=MIRROR).fetch(MASKS)[MASKS.name].read_bytes() == files[MASKS.file].read_bytes()
    assert len(hub.requests) <= 4
    assert f"Hub cache of {SECOND}" in Sources(mirror=MIRROR).plan(MASKS).source


def test_files_of_the_second_repository_are_not_asked_for_one_by_one(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(SECOND, only(files, MASKS, TABLE))
    Sources(mirror=MIRROR).fetch(MASKS, TABLE)
    assert not [request for request in hub.requests if FIRST in request.path and request.file]
    assert len(hub.requests) <= 1 + 2 + 2 * 2


def test_two_repositories_with_the_same_files_are_not_both_downloaded(hub: LoopbackHub, files: dict[str, Path]) -> None:
    for repository in MIRROR.repositories:
        hub.add_repository(repository, only(files, MASKS, TABLE))
    Sources(mirror=MIRROR).fetch(MASKS, TABLE)
    assert not [request for request in hub.requests if SECOND in request.path]
    assert hub.sent(file=MASKS.file) == files[MASKS.file].stat().st_size


def test_a_pinned_revision_stays(hub: LoopbackHub, files: dict[str, Path]) -> None:
    old = hub.add_repository(FIRST, only(files, TABLE))
    hub.commit(FIRST, {TABLE.file: b"target\n"})
    pinned = Sources(mirror=MIRROR, revision=old).fetch(TABLE)[TABLE.name]
    assert pinned.read_bytes() == files[TABLE.file].read_bytes()
    assert Sources(mirror=MIRROR).fetch(TABLE)[TABLE.name].read_bytes() == b"target\n"


def test_planning_asks_nothing(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(FIRST, files)
    plans = [Sources(mirror=MIRROR).plan(config) for config in MIRROR.configs.values()]
    assert {plan.action for plan in plans} == {"download"}
    assert hub.requests == []


def test_what_the_hub_lacks_is_derived(
    hub: LoopbackHub, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    hub.add_repository(FIRST, only(files, MASKS, CHECKERS))
    with caplog.at_level(logging.INFO, "circuit_artifacts"):
        path = Sources(mirror=MIRROR).fetch(TABLE)[TABLE.name]
    assert path.read_bytes() == files[TABLE.file].read_bytes()
    assert "deriving" in caplog.text
    assert hub.count(file=TABLE.file, method="GET") == 0


def test_a_failure_names_repository_revision_file_and_remedy(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(FIRST, only(files, TABLE))
    with pytest.raises(MissingArtifactError) as caught:
        Sources(mirror=MIRROR, revision="v9").fetch(MASKS)
    for part in (
        f"hf://datasets/{FIRST}@v9/{MASKS.file}: the repository has no such revision",
        f"hf://datasets/{SECOND}@v9/{MASKS.file}: the Hub has no such repository",
        "Hub cache: not there",
        f"circuit-artifacts fetch csp-atlas {MASKS.name}",
        "circuit-artifacts regenerate csp-atlas masks --root DIR",
        "data_root=",
    ):
        assert part in str(caught.value)


def test_a_failing_hub_is_one_error(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(FIRST, files)
    hub.fail(Fault("status", status=503))
    with pytest.raises(MissingArtifactError, match=r"the Hub failed \d time\(s\)"):
        Sources(mirror=MIRROR).fetch(MASKS)


def test_a_token_reaches_the_hub(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.token = "hf_secret"
    hub.add_repository(FIRST, only(files, TABLE), private=True)
    rows = load_dataset("csp-atlas", TABLE.name, split="train", token="hf_secret")
    assert rows.column_names[0] == "target"
    assert "hf_secret" not in repr(Sources(mirror=MIRROR, token="hf_secret"))


def test_everything_there_is_comes_with_one_listing(
    hub: LoopbackHub, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = {MIRROR.configs[name].file for name in MIRROR.configs if MIRROR.configs[name].file in files}
    wanted -= {"14_summary.csv"}
    hub.add_repository(FIRST, {name: files[name] for name in wanted} | {"unrelated.bin": b"x" * 100})
    with caplog.at_level(logging.WARNING, "circuit_artifacts"):
        paths = Sources(mirror=MIRROR).fetch_available()
    for name, path in paths.items():
        assert path.read_bytes() == files[MIRROR.configs[name].file].read_bytes()
    assert "unrelated.bin" not in {request.file for request in hub.requests}
    assert max(hub.count(file=name) for name in wanted) <= 4


@pytest.fixture
def large_prompts(tmp_path: Path, files: dict[str, Path]) -> Path:
    """Prompts of several megabytes in one row group, as pandas writes them."""
    table = pq.read_table(files[PROMPTS.file])
    table = pa.concat_tables([table] * (60_000 // len(table) + 1)).combine_chunks()
    texts = pa.array([hashlib.sha256(b"%d" % row).hexdigest() for row in range(len(table))])
    table = table.set_column(table.column_names.index("prompt_text"), "prompt_text", texts)
    pq.write_table(table, tmp_path / "large.parquet", compression="none")
    return tmp_path / "large.parquet"


def test_streaming_parquet_reads_a_part(hub: LoopbackHub, large_prompts: Path) -> None:
    hub.add_repository(FIRST, {PROMPTS.file: large_prompts})
    rows = load_dataset("csp-atlas", PROMPTS.name, split="train", streaming=True)
    expected = pq.read_table(large_prompts)
    assert next(iter(rows)) == expected.slice(0, 1).to_pylist()[0]
    assert hub.sent(file=PROMPTS.file) < 0.5 * large_prompts.stat().st_size
    assert sum(1 for _ in rows) == len(expected)
    assert client.cached(client.HubFile(repository=FIRST, file=PROMPTS.file)) is None


def test_streaming_csv_reads_a_part(hub: LoopbackHub, files: dict[str, Path]) -> None:
    detail = config("modularity_detail")
    header, *lines = files[detail.file].read_bytes().splitlines(keepends=True)
    hub.add_repository(FIRST, {detail.file: header + b"".join(lines * (2_000_000 // len(b"".join(lines)) + 1))})
    rows = load_dataset("csp-atlas", detail.name, split="train", streaming=True)
    assert next(iter(rows))["object"] == lines[0].decode().split(",")[0]
    assert hub.sent(file=detail.file) <= 3 * (128 << 10)
    assert sum(1 for _ in rows) == len(lines) * (2_000_000 // len(b"".join(lines)) + 1)


def test_streaming_remotely_gives_the_local_rows(hub: LoopbackHub, files: dict[str, Path], tmp_path: Path) -> None:
    hub.add_repository(FIRST, files)
    folder = files[TABLE.file].parent
    for name in (TABLE.name, PROMPTS.name, "modularity_scores"):
        remote = list(load_dataset("csp-atlas", name, split="train", streaming=True))
        assert remote == list(load_dataset("csp-atlas", name, split="train", data_root=str(folder)))


def test_the_stock_function_in_a_fresh_process(hub: LoopbackHub, files: dict[str, Path], tmp_path: Path) -> None:
    """Nothing patched: the clients are told where the Hub is by their environment."""
    hub.add_repository(FIRST, only(files, MASKS))
    code = (
        "import circuit_artifacts, datasets\n"
        f"rows = datasets.load_dataset('csp-atlas', '{MASKS.name}', split='pair', streaming=True)\n"
        "print(next(iter(rows))['builtin_obj'])"
    )
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), **hub.environment()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "int\n"


# Links


def test_a_link_out_of_a_local_folder_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    from circuit_artifacts.errors import UnsafeContentError

    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / MASKS.file).symlink_to(files[MASKS.file])
    with pytest.raises(UnsafeContentError, match="a link leads out of its folder") as caught:
        Sources(mirror=MIRROR, data_root=folder).plan(MASKS)
    assert str(folder / MASKS.file) in str(caught.value)
    (tmp_path / "inside").symlink_to(files[MASKS.file].parent)  # a folder that is itself a link is nobody's trick
    assert Sources(mirror=MIRROR, data_root=tmp_path / "inside").plan(MASKS).action == "use"


def test_a_snapshot_of_the_hub_cache_is_a_local_folder(hub: LoopbackHub, files: dict[str, Path]) -> None:
    hub.add_repository(FIRST, files)
    path = Sources(mirror=MIRROR).fetch(MASKS)[MASKS.name]
    assert path.is_symlink()
    assert Sources(mirror=MIRROR, data_root=path.parent).plan(MASKS).location == path


def test_an_atlas_fixture_is_whole(files: dict[str, Path]) -> None:
    assert {MASKS.file, CHECKERS.file, TABLE.file, PROMPTS.file} <= set(files)
