"""Which run is read under each policy, and the inventory of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from locality_fixture import CARD_DEPTH, DEPTH, EVENTS, FIRST_DEPTH, FLAT, LEGACY_EVENTS, SMOKE, names_in

from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.sae_locality.json_files import read_json
from circuit_artifacts.sae_locality.runs import choose, inventory

LAYER = "entropy_comparison_resid_out_layer{}.pt"
RUNS = [
    *(f"{run}/{LAYER.format(layer)}" for run in (DEPTH, FIRST_DEPTH) for layer in (0, 1)),
    f"{SMOKE}/{LAYER.format(0)}",
]


def runs_of(names: list[str]) -> set[str]:
    return {name.rpartition("/")[0] for name in names}


def test_the_latest_run_is_the_greatest_timestamp_even_if_it_is_a_smoke_run() -> None:
    assert runs_of(choose(RUNS)) == {SMOKE}


def test_the_most_complete_run_has_the_most_layers_and_is_the_latest_of_equals() -> None:
    assert runs_of(choose(RUNS, "most_complete")) == {DEPTH}


def test_all_runs() -> None:
    assert choose(RUNS, "all") == sorted(RUNS)


def test_a_run_by_timestamp() -> None:
    assert runs_of(choose(RUNS, "20260419_062602")) == {FIRST_DEPTH}


def test_a_run_by_folder_name() -> None:
    runs = [f"cherry_picked_feature_entropy/20260501_120000{variant}/ctx064.csv" for variant in ("", "_neuronpedia")]
    assert choose(runs, "20260501_120000_neuronpedia") == [runs[1]]
    assert choose(runs, "20260501_120000") == runs


def test_of_one_timestamp_the_longer_name_is_later() -> None:
    runs = [f"cherry_picked_feature_entropy/20260501_120000{variant}/ctx064.csv" for variant in ("_b", "", "_a")]
    assert choose(runs) == [runs[0]]


def test_presets_and_corpora_do_not_compete() -> None:
    names = [f"{run}/{LAYER.format(0)}" for run in (DEPTH, CARD_DEPTH, "pythia-70m/gsm8k/20260101_000000")]
    assert choose(names) == sorted(names)


def test_an_aborted_run_without_files_of_the_kind_does_not_count() -> None:
    assert runs_of(choose([*RUNS[:2]])) == {DEPTH}


def test_a_run_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match="there is no run '20250101_000000'") as caught:
        choose(RUNS, "20250101_000000")
    assert caught.value.found == "20260419_062602, 20260427_105943, 20260502_000000"


def test_files_of_no_run_are_always_read() -> None:
    names = [f"neuronpedia_cache/m/s/{feature}.json" for feature in (1, 2)]
    assert choose(names, "20250101_000000") == names


def test_superseded_runs_are_read_on_demand_only() -> None:
    names = [f"{EVENTS}/ctx064.csv", f"{LEGACY_EVENTS}/ctx064_token.csv"]
    assert choose(names, "all") == names[:1]
    assert choose(names, legacy=True) == names[1:]


def test_the_inventory_lists_runs_and_unknown_files(published: Path) -> None:
    table = inventory(names_in(published), lambda name: read_json(published / name))
    rows = {row["path"]: row for row in table.to_pylist()}
    run = rows[DEPTH]
    assert (run["strand"], run["preset"], run["dataset"], run["timestamp"], run["n_files"], run["complete"]) == (
        "depth",
        "pythia-70m",
        "wikitext",
        "20260427_105943",
        7,
        True,
    )
    # Side files of older runs still say batch_size, newer ones ctx_len.
    assert (run["context_len"], rows[CARD_DEPTH]["context_len"]) == (64, 64)
    assert (run["seed"], run["threshold"], run["sae_arch"], run["torch_version"]) == (0, 0.2, "relu", "2.7.0+cu126")
    assert rows[CARD_DEPTH]["complete"] is False  # no bench.json, and a layer is missing
    assert rows[EVENTS]["variant"] == "neuronpedia"
    assert rows[EVENTS]["preset"] == "gemma-2-2b"  # from its manifest
    assert rows[LEGACY_EVENTS]["legacy"] is True
    assert rows[FLAT.rpartition("/")[0] + "/20260414_053350"]["n_files"] == 1
    unknown = [path for path, row in rows.items() if row["strand"] == "unknown"]
    assert unknown == ["topact_all_features/20260701_000000/run_config.json"]


def test_the_inventory_holds_the_configuration_without_the_machine(published: Path) -> None:
    table = inventory(names_in(published), lambda name: read_json(published / name))
    config = {row["path"]: row["config"] for row in table.to_pylist()}
    assert "host" not in json.loads(config[DEPTH])
    assert json.loads(config[DEPTH])["layers"] == [0, 1]
    geometry = json.loads(config["feature_geometry_vs_entropy/20260502_130000"])
    assert geometry["source_experiment_dir"] == "20260501_120000_neuronpedia"
    assert geometry["spearman_r"] is None  # a bare NaN


def test_the_inventory_of_a_listing_reads_nothing() -> None:
    row = inventory([f"{DEPTH}/run_config.json", f"{DEPTH}/{LAYER.format(0)}"]).to_pylist()[0]
    assert (row["path"], row["n_files"], row["complete"], row["context_len"], row["config"]) == (
        DEPTH,
        2,
        None,
        None,
        None,
    )


def test_a_broken_configuration_does_not_hide_its_run(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    row = inventory([f"{DEPTH}/run_config.json"], lambda _: read_json(tmp_path / "broken.json")).to_pylist()[0]
    assert (row["path"], row["config"]) == (DEPTH, None)
