"""Configs of several files from the Hub: one list of files, the wanted run whole and nothing else, and no mixing."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from hub import Fault, LoopbackHub
from locality_fixture import DEPTH, EVENTS, SMOKE, names_in, write_locality

from circuit_artifacts import catalog, load_dataset
from circuit_artifacts import hub as client
from circuit_artifacts.errors import MissingArtifactError
from circuit_artifacts.filesets import FileSet
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("sae-locality")
(REPOSITORY,) = MIRROR.repositories
LATEST = f"{SMOKE}/entropy_comparison_resid_out_layer0.pt"
WHOLE = {f"{DEPTH}/entropy_comparison_resid_out_layer{layer}.pt" for layer in (0, 1)}


def config(name: str) -> Config:
    return catalog.config("sae-locality", name)


DEPTHS = config("entropy_pythia-70m_wikitext")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSES", (0.01, 0.01))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locality(tmp_path_factory.mktemp("hub") / "published")


@pytest.fixture
def published(hub: LoopbackHub, folder: Path) -> LoopbackHub:
    hub.add_repository(REPOSITORY, {name: folder / name for name in names_in(folder)})
    return hub


def asked(hub: LoopbackHub) -> set[str]:
    return {request.file for request in hub.requests if request.file}


@pytest.mark.parametrize("streaming", [False, True])
def test_exactly_the_latest_run_is_downloaded(published: LoopbackHub, streaming: bool) -> None:
    rows = load_dataset("sae-locality", DEPTHS.name, split="windows", streaming=streaming)
    assert [(row["run"], row["batch_idx"]) for row in rows] == [(SMOKE, 0), (SMOKE, 1), (SMOKE, 2)]
    assert asked(published) == {LATEST}


def test_another_run_is_another_dataset(published: LoopbackHub) -> None:
    # Holds down: rows of the run that was loaded first, from a cache whose key knows nothing of runs.
    latest = load_dataset("sae-locality", DEPTHS.name, split="windows")
    named = load_dataset("sae-locality", DEPTHS.name, split="windows", run="20260427_105943")
    complete = load_dataset("sae-locality", DEPTHS.name, split="windows", run="most_complete")
    assert set(latest["run"]) == {SMOKE}
    assert set(named["run"]) == set(complete["run"]) == {DEPTH}
    assert asked(published) == {LATEST} | WHOLE


def test_a_second_load_asks_nothing_and_prepares_nothing(published: LoopbackHub) -> None:
    first = load_dataset("sae-locality", "events", split="train", run="all")
    published.reset()
    second = load_dataset("sae-locality", "events", split="train", run="all")
    assert first.cache_files == second.cache_files
    assert published.requests == []


def test_streaming_downloads_a_shard_when_it_is_read(published: LoopbackHub) -> None:
    stream = load_dataset("sae-locality", DEPTHS.name, split="windows", streaming=True, run="most_complete")
    assert stream.num_shards == 2
    assert next(iter(stream))["layer"] == 0
    assert len(asked(published) & WHOLE) == 1


def test_the_inventory_reads_settings_and_lists_everything(published: LoopbackHub, folder: Path) -> None:
    rows = load_dataset("sae-locality", "runs", split="train")
    assert sum(rows["n_files"]) == len(names_in(folder)) - 1  # but for the link
    assert {name.rpartition("/")[2] for name in asked(published)} == {"run_config.json", "manifest.json", "bench.json"}
    assert not any(rows["regenerated"])


def test_what_lies_beside_is_downloaded_too(published: LoopbackHub) -> None:
    rows = load_dataset("sae-locality", "events", split="train", run=EVENTS.rpartition("/")[2])
    assert set(rows["crosses_event"]) == {True, False}
    assert f"{EVENTS}/top_contexts_layer12.json" in asked(published)


def test_a_listing_is_asked_for_once(published: LoopbackHub) -> None:
    sources = Sources(mirror=MIRROR)
    sources.fetch(DEPTHS, config("events"), config("geometry_pairs"))
    listings = [request for request in published.requests if not request.file]
    assert len(listings) == 1


def test_offline_what_is_cached_is_used_and_the_rest_is_named(
    published: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sources(mirror=MIRROR).fetch(DEPTHS)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = Sources(mirror=MIRROR).fetch(DEPTHS)[DEPTHS.name]
    assert isinstance(found, FileSet)
    assert found.names == (LATEST,)
    with pytest.raises(MissingArtifactError, match=r"not all of its files are there.*HF_HUB_OFFLINE is set"):
        Sources(mirror=MIRROR, options={"run": "most_complete"}).fetch(DEPTHS)


def test_a_snapshot_that_another_tool_downloaded_serves_offline(
    published: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(REPOSITORY, repo_type="dataset")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with caplog.at_level(logging.WARNING):
        rows = load_dataset("sae-locality", DEPTHS.name, split="windows")
    assert set(rows["run"]) == {SMOKE}
    assert "cannot be told offline" in caplog.text


def test_a_file_that_the_hub_breaks_is_downloaded_again(published: LoopbackHub) -> None:
    published.fail(Fault("status", file=LATEST, status=503, times=1))
    assert len(load_dataset("sae-locality", DEPTHS.name, split="windows")) == 3


def test_what_the_repository_does_not_have_is_said_without_asking_twice(published: LoopbackHub) -> None:
    missing = config("entropy_gemma-2-2b_wikitext")
    with pytest.raises(MissingArtifactError, match=r"sae-locality-data: no such files"):
        Sources(mirror=MIRROR).fetch(missing)
    published.reset()
    plan = Sources(mirror=MIRROR).plan(missing)
    assert plan.action == "missing"
    assert published.requests == []


def test_an_unknown_run_names_those_that_there_are(published: LoopbackHub) -> None:
    with pytest.raises(MissingArtifactError, match=r"there is no run 'yesterday'.*20260427_105943"):
        Sources(mirror=MIRROR, options={"run": "yesterday"}).fetch(DEPTHS)


def test_all_files_come_from_the_first_place_that_has_any(published: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    # Holds down: a run of one place beside the files of a run of another.
    own = tmp_path / "own"
    (own / DEPTH).mkdir(parents=True)
    name = f"{DEPTH}/entropy_comparison_resid_out_layer1.pt"
    shutil.copyfile(folder / name, own / name)
    rows = load_dataset("sae-locality", DEPTHS.name, split="windows", data_root=str(own))
    assert {(row["run"], row["layer"]) for row in rows} == {(DEPTH, 1)}
    assert published.requests == []
