"""`regenerate`: the plan, what is made and what is left alone, and a run that is killed with SIGKILL."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from atlas_fixture import write_atlas
from tiny_model import write_tiny_model

from circuit_artifacts import catalog, cli, provenance
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.regeneration import planned_steps, regenerate
from circuit_artifacts.sources import Sources

REFERENCE = "eps0.5_cons0.8"
MODEL_STEPS = [
    "object prompts",
    "checker prompts",
    "token-checker prompts",
    "object activations",
    "checker activations",
    "token-checker masks",
]
PARAMETERS = {
    "ast_nodes": ["For", "Return", "Pass"],
    "builtin_objs": ["list", "str", "int", "_isolated_"],
    "n_prompts": 8,
    "loss_threshold": 100,
    "batch_tokens": 256,
}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.atomic._synchronise", lambda _: None)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder of a made-up model, with provenance."""
    return write_atlas(tmp_path_factory.mktemp("small") / "atlas", width=24, n_layers=2).folder


@pytest.fixture
def root(small: Path, tmp_path: Path) -> Path:
    """A copy to work on."""
    return Path(shutil.copytree(small, tmp_path / "atlas"))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "the model was loaded"
        raise AssertionError(message)

    monkeypatch.setattr("circuit_artifacts.compute.models.load_model", refuse)
    monkeypatch.setattr("circuit_artifacts.compute.models.load_tokenizer", refuse)


def _state(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in folder.iterdir()
    }


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest for name, (_, digest) in _state(folder).items() if not name.endswith(provenance.SUFFIX)}


# Plans


def test_the_plan_lists_steps_inputs_first_and_which_need_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    steps = regenerate("csp-atlas", root=folder, plan_only=True)
    assert not folder.exists()
    names = [step.name for step in steps]
    assert len(names) == len(set(names)) == 13
    assert [step.name for step in steps if step.model] == [name for name in names if name in MODEL_STEPS]
    assert sorted(step.name for step in steps if step.model) == sorted(MODEL_STEPS)
    for step in catalog.mirror("csp-atlas").steps:
        for need in step.needs:
            family = need.removesuffix(f"_{REFERENCE}")
            maker = next(s.name for s in catalog.mirror("csp-atlas").steps if family in s.makes)
            assert names.index(maker) < names.index(step.name), (maker, step.name)
    files = {step.name: step.files for step in steps}
    assert files["object prompts"] == ("11A_object_prompts.parquet",)
    assert len(files["object masks"]) == len(files["checker masks"]) == len(files["decomposition"]) == 9
    assert files["relaxed modularity"] == ("relaxed_modularity_scores.csv", "relaxed_modularity_detail.csv")


def test_the_plan_of_one_family_holds_only_what_it_needs(tmp_path: Path) -> None:
    steps = regenerate("csp-atlas", ["modularity_scores"], root=tmp_path, plan_only=True)
    assert [(step.name, step.files) for step in steps] == [
        ("object prompts", ("11A_object_prompts.parquet",)),
        ("object activations", ("12_object_activations.h5",)),
        ("object masks", (f"13_object_masks_{REFERENCE}.h5",)),
        ("relaxed modularity", ("relaxed_modularity_scores.csv",)),
    ]
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_no_part_of_the_plan(root: Path) -> None:
    assert regenerate("csp-atlas", root=root, plan_only=True) == []
    (root / "14_summary.csv").unlink()
    (root / "13_checker_masks_eps0.1_cons0.5.h5").unlink()
    steps = regenerate("csp-atlas", root=root, plan_only=True)
    assert {(step.name, step.files, step.model) for step in steps} == {
        ("summary", ("14_summary.csv",), False),
        ("checker masks", ("13_checker_masks_eps0.1_cons0.5.h5",), False),
    }


def test_a_plan_merges_what_several_families_need(tmp_path: Path) -> None:
    sources = Sources(mirror=catalog.mirror("csp-atlas"), output=tmp_path, regenerate=True)
    configs = catalog.mirror("csp-atlas").configs
    plans = [sources.plan(configs[f"{family}_{REFERENCE}"]) for family in ("target_checker", "masks")]
    names = [step.name for step in planned_steps(plans)]
    assert names.count("object masks") == 1
    assert names[-1] == "decomposition"


def test_names_that_do_not_exist_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean masks"):
        regenerate("csp-atlas", ["mask"], root=tmp_path / "atlas")
    with pytest.raises(UnknownNameError, match="csp-atlas"):
        regenerate("csp-atlass", root=tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


# What is made, and what is left alone


@pytest.mark.usefixtures("no_model")
def test_nothing_is_touched_when_everything_is_there(root: Path) -> None:
    before = _state(root)
    assert regenerate("csp-atlas", root=root) == []
    assert _state(root) == before


@pytest.mark.usefixtures("no_model")
def test_missing_files_are_made_from_their_inputs_without_the_model(root: Path, small: Path) -> None:
    for pattern in ("13_*", "14_*", "relaxed*", "token_independence*", "universal*"):
        for path in root.glob(pattern):
            path.unlink()
    before = _state(root)
    regenerate("csp-atlas", root=root)
    assert _digests(root) == _digests(small)
    assert {name: state for name, state in _state(root).items() if name in before} == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("family", ["masks", "target_checker", "summary"])
def test_force_makes_only_the_named_family_anew(root: Path, small: Path, family: str) -> None:
    before = _state(root)
    steps = regenerate("csp-atlas", [family], root=root, force=True)
    names = {config.file for config in catalog.family("csp-atlas", family).configs}
    assert {name for step in steps for name in step.files} == names
    after = _state(root)
    changed = {name for name in after if after[name][0] != before[name][0]}
    assert changed == names | {f"{name}{provenance.SUFFIX}" for name in names}
    assert _digests(root) == _digests(small)


@pytest.mark.usefixtures("no_model")
def test_a_step_that_fails_leaves_no_half_file_and_the_rest_in_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "14_summary.csv").unlink()
    (root / f"14_summary.csv{provenance.SUFFIX}").unlink()
    before = _state(root)

    def full(_frame: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_text("epsilon,consis")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(pd.DataFrame, "to_csv", full)
        regenerate("csp-atlas", ["summary"], root=root)
    assert _state(root) == before
    regenerate("csp-atlas", ["summary"], root=root)
    assert set(_state(root)) - set(before) == {"14_summary.csv", f"14_summary.csv{provenance.SUFFIX}"}


def test_the_command_prints_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "atlas"
    arguments = ["regenerate", "csp-atlas", "checker_masks", "--root", str(folder), "--plan", "--json"]
    monkeypatch.setattr(sys, "argv", ["circuit-artifacts", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["step"], row["runs a model"], row["files"]) for row in rows] == [
        ("checker prompts", True, 1),
        ("checker activations", True, 1),
        ("checker masks", False, 9),
    ]
    assert not folder.exists()


# Killed


_KILLED_COMMAND = """
import os, signal
from circuit_artifacts import cli
from circuit_artifacts.compute.csp import activations

activations._CHECKPOINT_SECONDS = -1.0
save = activations._Sums.save

def save_then_die(self, path, digest, done):
    save(self, path, digest, done)
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

activations._Sums.save = save_then_die
cli.main()
"""


def test_a_run_killed_in_stage_12_is_finished_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_tiny_model(tmp_path / "models" / "tiny", afrac=0.25)
    parameters = {**PARAMETERS, "model": str(model)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    regenerate("csp-atlas", ["object_activations"], root=whole, parameters=parameters)

    options = [f"--set={name}={json.dumps(value)}" for name, value in PARAMETERS.items()]
    command = ["regenerate", "csp-atlas", "object_activations", "--root", str(killed), "--model", str(model), *options]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_COMMAND, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as in this process
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {path.name for path in killed.iterdir()} == {
        "11A_object_prompts.parquet",
        f"11A_object_prompts.parquet{provenance.SUFFIX}",
        ".12_object_activations.h5.checkpoint",
    }

    from circuit_artifacts.compute.csp import activations

    resumed: list[int] = []
    load = activations._Sums.load

    def counted(self: activations._Sums, path: Path, digest: str) -> int:
        resumed.append(load(self, path, digest))
        return resumed[-1]

    monkeypatch.setattr(activations._Sums, "load", counted)
    prompts = (killed / "11A_object_prompts.parquet").stat().st_mtime_ns
    steps = regenerate("csp-atlas", ["object_activations"], root=killed, parameters=parameters)
    assert [step.name for step in steps] == ["object activations"]
    assert resumed == [3]
    assert (killed / "11A_object_prompts.parquet").stat().st_mtime_ns == prompts
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    assert _digests(killed) == _digests(whole)


def test_the_checkpoint_outlives_a_failure_to_write_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny_model(tmp_path / "models" / "tiny")
    parameters = {**PARAMETERS, "model": str(model)}
    folder = tmp_path / "atlas"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("circuit_artifacts.compute.csp.layout.write_scalars", full)
        regenerate("csp-atlas", ["object_activations"], root=folder, parameters=parameters)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "12"))) == [
        ".12_object_activations.h5.checkpoint"
    ]
    regenerate("csp-atlas", ["object_activations"], root=folder, parameters=parameters)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "12"))) == [
        "12_object_activations.h5",
        f"12_object_activations.h5{provenance.SUFFIX}",
    ]
