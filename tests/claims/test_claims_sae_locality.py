"""SAE locality: claims on files of every generation, and on runs that bear the published numbers out."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from locality_files import write_json
from locality_fixture import DEPTH, SMOKE, loaded, write_locality

from circuit_artifacts import catalog
from circuit_artifacts.claims import Verdict, evaluate
from circuit_artifacts.claims.sae_locality import claims
from circuit_artifacts.claims.sae_locality_printed import PYTHIA_STARTS
from circuit_artifacts.compute.locality.presets import PRESETS
from circuit_artifacts.compute.locality.windows import sample_starts
from circuit_artifacts.sae_locality import files
from circuit_artifacts.sources import Sources

TOKEN_VECTOR = (1.824, 2.484, 3.201, 3.537, 3.808, 3.966)
MEDIANS = (2.037, 2.818, 3.469, 3.816, 3.957, 4.109)


@pytest.fixture(autouse=True)
def _unknown_keys_are_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_noted", set())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locality(tmp_path_factory.mktemp("claims") / "published")


def verdicts(root: Path | None, *names: str, mirror: str = "sae-locality", **options: Any) -> dict[str, Verdict]:
    wanted = [claim for claim in claims() if not names or claim.name in names]
    assert not names or len(wanted) == len(names)
    sources = Sources(mirror=catalog.mirror(mirror), data_root=root, regenerate=False, options=options)
    return {verdict.claim.name: verdict for verdict in evaluate(sources, wanted)}


def status(root: Path | None, name: str, **options: Any) -> str:
    return verdicts(root, name, **options)[name].status


def write_pythia(
    folder: Path,
    *,
    starts: Sequence[int] = tuple(PYTHIA_STARTS),
    token_vector: Sequence[float] = TOKEN_VECTOR,
    features: Sequence[float] = MEDIANS,
    run: str = DEPTH,
    hint: str = "relu",
    arch: str = "relu",
    total_features: int = 32_768,
) -> Path:
    """A depth run of pythia-70m whose entropies are as wished; the median of three features is the middle one."""
    (folder / run).mkdir(parents=True)
    for layer, (of_token, of_features) in enumerate(zip(token_vector, features, strict=True)):
        windows = [
            {
                "batch_idx": number,
                "start_idx": start,
                "feature_entropies": {1: of_features - 0.5, 2: of_features, 3: of_features + 0.5},
                "feature_influences": {feature: np.ones(64, np.float32) for feature in (1, 2, 3)},
                "feature_activations": {1: 0.5, 2: 0.5, 3: 0.5},
                "token_vector_entropy": of_token + (0.25 if number % 2 else -0.25),
                "num_active_features": 3,
                "token_vector_influence": np.ones(64, np.float32),
            }
            for number, start in enumerate(starts)
        ]
        config = {"preset": "pythia-70m", "threshold": 0.2, "context_len": 64, "total_features": total_features}
        config |= {"random_batches": True, "random_seed": 0, "sae_source": "ae.pt", "sae_arch": arch}
        summary = {"site": f"resid_out_layer{layer}", "preset": "pythia-70m", "layer": layer, "timestamp": run[-15:]}
        content = {
            "batch_results": windows,
            "summary": summary | {"dataset": "wikitext", "num_batches": len(windows)},
            "config": config,
            "plots_dir": "",
            "batch_start_indices": list(starts),
        }
        torch.save(content, folder / run / f"entropy_comparison_resid_out_layer{layer}.pt")
    write_json(
        folder / run / "run_config.json",
        {"preset": "pythia-70m", "sae_arch": hint, "layers": list(range(6)), "num_batches": len(starts)}
        | {"context_len": 64, "random_seed": 0, "timestamp": run[-15:]},
    )
    return folder


def test_the_rule_of_the_seed_is_that_of_the_compute_layer() -> None:
    tokens: Any = range(2_408_076)
    assert sample_starts(tokens, context_len=64, n_windows=50, seed=0) == PYTHIA_STARTS
    assert PYTHIA_STARTS[2] == 169_792


def test_arithmetic_of_printed_numbers() -> None:
    found = {name: v for name, v in verdicts(None).items() if v.claim.kind == "arithmetic"}
    assert {name for name, verdict in found.items() if verdict.status == "fails"} == {
        "architecture_of_presets",
        "sweep_lengths_of_presets",
        "paper_redrawn",
    }
    assert found["architecture_of_presets"].measured == 3
    assert found["sampled_features"].measured == 298
    assert found["paper_redrawn"].measured == pytest.approx(1.82 - 0.898)


def test_a_run_as_published_bears_its_numbers_out(tmp_path: Path) -> None:
    root = write_pythia(tmp_path)
    names = (
        "pythia_token_vector",
        "pythia_medians",
        "start_indices",
        "entropy_rises",
        "token_entropy_rises",
        "windows",
    )
    assert {name: v.status for name, v in verdicts(root, *names).items()} == dict.fromkeys(names, "holds")


def test_entropies_beyond_the_error_of_the_picture_are_found(tmp_path: Path) -> None:
    raised = [value + 0.03 for value in TOKEN_VECTOR]
    root = write_pythia(tmp_path, token_vector=raised, features=sorted(MEDIANS, reverse=True))
    found = verdicts(root, "pythia_token_vector", "pythia_medians", "entropy_rises")
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(found, "fails")
    assert found["entropy_rises"].measured == pytest.approx(-1)
    assert "0.030 apart" in found["pythia_token_vector"].sentence


def test_other_windows_are_found_and_another_number_of_them_tells_nothing(tmp_path: Path) -> None:
    others = sorted(random.Random(1).sample(range(0, 2_400_000, 64), 50))
    found = verdicts(write_pythia(tmp_path / "a", starts=others), "start_indices")["start_indices"]
    assert (found.status, found.measured) == ("fails", others[2])
    fewer = verdicts(write_pythia(tmp_path / "b", starts=PYTHIA_STARTS[:3]), "start_indices")["start_indices"]
    assert (fewer.status, fewer.sentence) == ("no data", "the run has 3 windows, not 50")


@pytest.mark.parametrize(("hint", "status_here"), [("topk", "no data"), ("relu", "fails")])
def test_a_wrong_hint_refutes_it_for_all_models(tmp_path: Path, hint: str, status_here: str) -> None:
    """That one model's hint is right says nothing of the others; that one is wrong settles it."""
    root = write_pythia(tmp_path, hint=hint, arch="topk")
    found = verdicts(root, "architecture_hints")["architecture_hints"]
    assert found.status == status_here
    assert found.measured == (hint != "topk")


def test_sizes_of_dictionaries(tmp_path: Path) -> None:
    root = write_pythia(tmp_path / "a")
    assert status(root, "dictionary_sizes") == "no data"  # right, and of one of four
    assert status(write_pythia(tmp_path / "b", total_features=24_576), "dictionary_sizes") == "fails"


def test_a_test_run_that_is_the_latest_speaks_against_the_rule(tmp_path: Path) -> None:
    root = write_pythia(tmp_path)
    assert status(root, "latest_run") == "holds"
    write_pythia(root, run=SMOKE, starts=PYTHIA_STARTS[:3])
    found = verdicts(root, "latest_run", "windows")
    assert (found["latest_run"].status, found["latest_run"].measured) == ("fails", 1)
    assert SMOKE in found["latest_run"].sentence
    assert found["windows"].status == "holds"  # of the largest run
    assert status(root, "start_indices") == "no data"
    assert status(root, "start_indices", run=Path(DEPTH).name) == "holds"


def test_a_part_of_the_cells_does_not_refute_them(tmp_path: Path) -> None:
    root = write_pythia(tmp_path)
    assert status(root, "cells") == "no data"
    for preset in PRESETS:
        for dataset in ("wikitext", "gsm8k", "code-python"):
            run = {"preset": preset, "num_batches": 50, "context_len": 64, "layers": [0]}
            write_json(root / preset / dataset / "20260601_000000" / "run_config.json", run)
    found = verdicts(root, "cells", "context_length")
    assert {name: v.measured for name, v in found.items()} == {"cells": 18, "context_length": 64}
    assert {v.status for v in found.values()} == {"holds"}


def test_claims_about_the_form_of_files(published: Path) -> None:
    names = {
        "depth_weights_only": "fails",
        "sweep_weights_only": "fails",
        "activations_are_arrays": "fails",  # of the first file; the card's form is in another one
        "sweep_token_vector": "fails",
        "sweep_lengths": "fails",
        "event_columns": "holds",  # of the latest run, which is in the card's form
        "influence_keys": "holds",
        "geometry_manifest": "fails",
        "pairs_of_features": "holds",
        "traces": "holds",
        "entropy_formula": "holds",
    }
    assert {name: v.status for name, v in verdicts(published, *names).items()} == names


def test_files_of_the_older_form_have_other_names(published: Path) -> None:
    found = verdicts(published, "event_columns", "influence_keys", run="20260501_120000_neuronpedia")
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(found, "fails")
    assert "H_pos" in found["event_columns"].sentence


def test_entropies_that_are_not_of_their_influences_are_found(published: Path, tmp_path: Path) -> None:
    run = tmp_path / DEPTH
    shutil.copytree(published / DEPTH, run)
    for path in run.glob("*.pt"):
        content = loaded(path)
        content["batch_results"][0]["feature_entropies"] = {
            feature: value + 0.01 for feature, value in content["batch_results"][0]["feature_entropies"].items()
        }
        torch.save(content, path)
    found = verdicts(tmp_path, "entropy_formula")["entropy_formula"]
    assert found.status == "fails"
    assert found.measured == pytest.approx(0.01, rel=1e-3)


def test_a_pair_that_is_missing_is_found(published: Path, tmp_path: Path) -> None:
    folder = "feature_geometry_vs_entropy/20260502_130000"
    shutil.copytree(published / folder, tmp_path / folder)
    pairs = pd.read_csv(tmp_path / folder / "pairwise.csv")
    pairs[1:].to_csv(tmp_path / folder / "pairwise.csv", index=False)
    found = verdicts(tmp_path, "pairs_of_features")["pairs_of_features"]
    assert (found.status, found.measured) == ("fails", len(pairs) - 1)


def test_extremes_need_the_features_they_are_about(tmp_path: Path) -> None:
    run = tmp_path / "cherry_picked_feature_entropy/20260501_120000"
    pilot = [2735, 4267, 11372, 10312, 5306, 2000, 4795, 12022, 9203, 9425]
    pilot += [2040, 15922, 10627, 11826, 13166, 13603, 16173, 6532, 10360, 12735]

    def write(entropies: dict[int, float]) -> None:
        columns = {"event_idx": 0, "peak_token_idx": 0, "peak_value": 1.0, "sum_J": 1.0}
        rows = [{"feature_id": f, "H_pos": h} | columns for f, h in entropies.items()]
        run.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(run / "ctx128.csv", index=False)

    entropies = dict.fromkeys(pilot, 3.0) | {11372: 0.5, 13603: 6.0}
    write(entropies)
    assert status(tmp_path, "continuum_extremes") == "holds"
    write(entropies | {2000: 0.25})
    assert status(tmp_path, "continuum_extremes") == "fails"
    write(dict.fromkeys(pilot[:5], 3.0))
    assert status(tmp_path, "continuum_extremes") == "no data"


def test_regenerated_runs_settle_no_published_number(tmp_path: Path) -> None:
    """A record beside the files says that they were made here, whatever they hold."""
    root = write_pythia(tmp_path)
    record = {"mirror": "sae-locality", "step": "depth run", "model": {"reference": "mini"}}
    for path in [*root.rglob("*.pt"), *root.rglob("*.json")]:
        path.with_name(f"{path.name}.provenance.json").write_text(json.dumps(record))
    names = ("pythia_token_vector", "start_indices", "context_length", "entropy_rises", "depth_weights_only")
    found = verdicts(root, *names)
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(names, "no data") | {"entropy_rises": "holds"}
    assert (found["start_indices"].distance, found["context_length"].distance) == (0, 0)


def test_the_bundled_run_is_measured_and_settles_no_published_number() -> None:
    names = ("context_length", "windows", "traces", "pairs_of_features", "start_indices")
    found = verdicts(None, *names, mirror="sae-locality-mini")
    expected = {"traces": "holds", "pairs_of_features": "holds"}
    assert {name: v.status for name, v in found.items()} == dict.fromkeys(names, "no data") | expected
    assert found["context_length"].distance == 0
    assert found["windows"].measured == 16
    assert found["start_indices"].sentence == "sae-locality-mini has no entropy_pythia-70m_wikitext"
