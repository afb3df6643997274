"""Where files come from: the order of places, what is asked of the Hub, and what is derived and recorded."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import h5py
import pytest
from atlas_fixture import Atlas, write_atlas
from hub import LoopbackHub

from circuit_artifacts import catalog, csp_atlas, provenance
from circuit_artifacts.errors import MissingArtifactError
from circuit_artifacts.hub import offline_reason
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.sources import Sources

MIRROR = catalog.mirror("csp-atlas")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config(name: str) -> Config:
    return catalog.config("csp-atlas", name)


MASKS = config("masks_eps0.5_cons0.8")
TABLE = config("target_checker_eps0.5_cons0.8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A regenerated atlas: narrow, and with provenance."""
    pairs = [("For", "list"), ("For", "int"), ("If", "list")]
    return write_atlas(tmp_path_factory.mktemp("small"), pairs=pairs, n_prompts=4, width=48, published=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def copy(atlas: Atlas, folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(atlas.folder / name, folder / name)
    return folder


def put_into_hub_cache(repository: str, source: Path, *, revision: str = "main") -> Path:
    """The layout in which `huggingface_hub` keeps downloads."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(source, snapshot / source.name))


# The Hub


@pytest.mark.parametrize("repository", MIRROR.repositories)
def test_the_hub_cache_is_used_offline(small: Atlas, home: Path, repository: str) -> None:
    cached = put_into_hub_cache(repository, small.folder / MASKS.file)
    plan = Sources(mirror=MIRROR).plan(MASKS)
    assert (plan.action, plan.location, plan.source) == ("use", cached, f"Hub cache of {repository}")
    assert not home.exists()


def test_the_revision_is_part_of_the_question(small: Atlas) -> None:
    cached = put_into_hub_cache(MIRROR.repositories[0], small.folder / MASKS.file)
    assert Sources(mirror=MIRROR, revision=COMMIT).plan(MASKS).location == cached
    assert Sources(mirror=MIRROR, revision="f" * 40).plan(MASKS).action == "missing"


def test_published_files_come_before_derivation_and_after_folders(small: Atlas, folder: Path) -> None:
    for name in ("12_object_activations.h5", MASKS.file):
        put_into_hub_cache(MIRROR.repositories[0], small.folder / name)
    assert "Hub cache" in Sources(mirror=MIRROR, data_root=folder).plan(MASKS).source
    copy(small, folder, MASKS.file)
    assert Sources(mirror=MIRROR, data_root=folder).plan(MASKS).source == "data_root"


def test_offline_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    assert offline_reason() == "HF_HUB_OFFLINE is set"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert offline_reason() == "HF_DATASETS_OFFLINE is set"
    places = "piotrwilam/CSP-Atlas and piotrwilam/AtlasCSP at v1"
    said = f"the Hub, {places}: not asked, because HF_DATASETS_OFFLINE is set"
    assert said in Sources(mirror=MIRROR, revision="v1").plan(MASKS).attempts


def test_a_regenerated_folder_is_never_completed_from_the_hub(small: Atlas, folder: Path, hub: LoopbackHub) -> None:
    # Holds down: published and regenerated numbers mixed in one analysis.
    for name in (MASKS.file, TABLE.file):
        put_into_hub_cache(MIRROR.repositories[0], small.folder / name)
    copy(small, folder, "14_summary.csv", "14_summary.csv" + provenance.SUFFIX)
    plan = Sources(mirror=MIRROR, data_root=folder).plan(MASKS)
    assert plan.action == "missing"
    assert f"the Hub: not asked, because {folder} holds regenerated files" in plan.attempts
    copy(small, folder, "12_object_activations.h5")
    assert Sources(mirror=MIRROR, data_root=folder).plan(MASKS).action == "derive"
    assert hub.requests == []


# Derivation


def test_derivation_is_logged_recorded_and_kept(
    small: Atlas, folder: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(small, folder, "12_object_activations.h5", "12_checker_activations.h5")
    with caplog.at_level(logging.INFO, "circuit_artifacts"):
        path = Sources(mirror=MIRROR, data_root=folder).fetch(TABLE)[TABLE.name]
    assert path.read_bytes() == (small.folder / TABLE.file).read_bytes()
    assert path.is_relative_to(home / "derived" / "csp-atlas")
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("deriving")]
    assert len(lines) == len(set(lines)) == 3  # object masks, checker masks, decomposition: one line each
    assert any("decomposition" in line and TABLE.file in line for line in lines)

    record = json.loads(provenance.sidecar(path).read_text())
    assert (record["mirror"], record["step"], record["width"]) == ("csp-atlas", "decomposition", 48)
    assert record["statement"] == "regenerated by circuit-artifacts; not the published data"
    assert record["model"] == {"reference": "random numbers"}
    assert set(record["inputs"]) == {MASKS.file, config("checker_masks_eps0.5_cons0.8").file}
    (masks,) = (home / "derived").rglob(MASKS.file)
    assert record["inputs"][MASKS.file] == "sha256:" + hashlib.sha256(masks.read_bytes()).hexdigest()
    with h5py.File(masks) as file:
        embedded = json.loads(file.attrs[provenance.KEY])
    beside = json.loads(provenance.sidecar(masks).read_text())
    assert embedded == {key: value for key, value in beside.items() if key != "date"}
    source = hashlib.sha256((folder / "12_object_activations.h5").read_bytes()).hexdigest()
    assert embedded["inputs"] == {"12_object_activations.h5": f"sha256:{source}"}
    assert sorted(p.name for p in folder.iterdir()) == ["12_checker_activations.h5", "12_object_activations.h5"]
    assert not list(home.rglob("*.part"))

    caplog.clear()
    again = Sources(mirror=MIRROR, data_root=folder)
    assert again.plan(TABLE).source == "derived earlier"
    assert again.fetch(TABLE)[TABLE.name] == path
    assert not caplog.records


def test_a_changed_input_is_derived_from_anew(small: Atlas, folder: Path) -> None:
    copy(small, folder, "12_object_activations.h5")
    first = Sources(mirror=MIRROR, data_root=folder).fetch(MASKS)[MASKS.name]
    with h5py.File(folder / "12_object_activations.h5", "r+") as file:
        for layer in file["activations"].values():
            layer["For__int"][:] = 100.0
        for layer in file["firing_counts"].values():
            layer["For__int"][:] = 4
    second = Sources(mirror=MIRROR, data_root=folder).fetch(MASKS)[MASKS.name]
    assert second != first
    assert first.is_file()
    with h5py.File(second) as file:
        assert file["pair_masks/layer_0/For__int"][:].all()


def test_one_setting_is_derived_where_one_is_asked_for(small: Atlas, folder: Path, home: Path) -> None:
    copy(small, folder, "12_object_activations.h5")
    Sources(mirror=MIRROR, data_root=folder).fetch(MASKS)
    assert [path.name for path in (home / "derived").rglob("*.h5")] == [MASKS.file]


def test_planning_writes_nothing(small: Atlas, folder: Path, home: Path) -> None:
    copy(small, folder, "12_object_activations.h5", "12_checker_activations.h5")
    sources = Sources(mirror=MIRROR, data_root=folder)
    plans = {name: sources.plan(c) for name, c in MIRROR.configs.items()}
    assert {plan.action for plan in plans.values()} == {"use", "derive", "missing"}
    assert not any(plan.runs_model for plan in plans.values())
    assert not home.exists()


# Steps that run a model


def test_models_run_on_demand_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingArtifactError) as caught:
        Sources(mirror=MIRROR, data_root=folder).fetch(config("checker_prompts"))
    for part in (
        "11B_checker_prompts.parquet",
        str(folder),
        "runs a model, which happens on demand only",
        "circuit-artifacts regenerate csp-atlas checker_prompts --root DIR",
        "regenerate=True",
    ):
        assert part in str(caught.value)
    assert Sources(mirror=MIRROR, data_root=folder, regenerate=True).plan(MASKS).runs_model
    monkeypatch.setenv("CIRCUIT_ARTIFACTS_REGENERATE", "1")
    assert Sources(mirror=MIRROR, data_root=folder).plan(MASKS).runs_model
    assert Sources(mirror=MIRROR, data_root=folder, regenerate=False).plan(MASKS).action == "missing"


def test_an_output_folder_is_the_only_place(small: Atlas, folder: Path, tmp_path: Path) -> None:
    put_into_hub_cache(MIRROR.repositories[0], small.folder / MASKS.file)
    output = tmp_path / "out"
    sources = Sources(mirror=MIRROR, output=output, data_root=copy(small, folder, MASKS.file))
    assert sources.plan(MASKS).action == "missing"
    copy(small, output, "12_object_activations.h5")
    made = Sources(mirror=MIRROR, output=output).fetch(MASKS)[MASKS.name]
    assert made == output / MASKS.file
    stamp = made.stat().st_mtime_ns
    assert Sources(mirror=MIRROR, output=output).fetch(MASKS)[MASKS.name].stat().st_mtime_ns == stamp
    forced = Sources(mirror=MIRROR, output=output, force=frozenset({"masks"})).fetch(MASKS)[MASKS.name]
    assert forced.stat().st_mtime_ns != stamp


def test_readers_use_the_same_sources(small: Atlas, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(small, folder, "12_object_activations.h5")
    monkeypatch.setenv("CSP_ATLAS_DATA_ROOT", str(folder))
    found, labels = csp_atlas.masks_array()
    with h5py.File(small.folder / MASKS.file) as file:
        for layer in range(8):
            for label, mask in zip(labels, found[:, layer], strict=True):
                assert (file[f"universal_masks/layer_{layer}/{label}"][:] == mask).all()


def test_a_regenerated_folder_is_not_completed_from_other_folders(
    tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    regenerated = tmp_path / "regenerated"
    regenerated.mkdir()
    (regenerated / "14_summary.csv.provenance.json").write_text("{}")
    monkeypatch.setenv("CSP_ATLAS_DATA_ROOT", str(atlas.folder))
    prompts = config("object_prompts")
    assert Sources(mirror=MIRROR).plan(prompts).action == "use"
    plan = Sources(mirror=MIRROR, data_root=regenerated).plan(prompts)
    assert plan.action == "missing"
    mini = Sources(mirror=catalog.mirror("csp-atlas-mini"), data_root=regenerated)
    plan = mini.plan(catalog.config("csp-atlas-mini", "object_prompts"))
    assert plan.action == "missing"
    assert any(f"because {regenerated} holds regenerated files" in attempt for attempt in plan.attempts)


def test_the_home_folder_and_relative_paths_are_understood(
    tmp_path: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(atlas.folder.parent))
    monkeypatch.chdir(atlas.folder.parent)
    for root in (Path("~") / atlas.folder.name, Path(atlas.folder.name)):
        assert Sources(mirror=MIRROR, data_root=root).plan(MASKS).location == atlas.folder / MASKS.file
