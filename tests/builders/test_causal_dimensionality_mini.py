"""The bundled results of causal dimensionality: offline, said to be no published data, and their numbers."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from circuit_artifacts import catalog, load_dataset, provenance
from circuit_artifacts.filesets import list_files
from circuit_artifacts.schemas.causal_results import KINDS, parse_result
from circuit_artifacts.validation import mirror_of, validate

MIRROR = catalog.mirror("causal-dimensionality-mini")
FOLDER = Path(str(resources.files("circuit_artifacts.data") / "mini_causality"))
D_MODEL, N_LAYERS = 64, 8


@pytest.fixture(scope="module")
def results() -> dict[str, list[Any]]:
    """By kind."""
    found: dict[str, list[Any]] = {}
    for row in load_dataset("causal-dimensionality-mini", "results", split="train", streaming=True):
        assert (row["status"], row["errors"]) == ("typed", [])
        found.setdefault(row["kind"], []).append(parse_result(json.loads(row["typed"])))
    return found


def test_every_experiment_has_results(results: dict[str, list[Any]]) -> None:
    assert results.keys() == KINDS.keys() - {"unknown"}


def test_the_bundle_is_consistent_small_and_says_what_it_is(results: dict[str, list[Any]]) -> None:
    assert [finding for finding in validate(FOLDER) if finding.level == "error"] == []
    assert mirror_of(FOLDER) is MIRROR
    names = [name for name in list_files(FOLDER) if not name.endswith(provenance.SUFFIX)]
    assert sum((FOLDER / name).stat().st_size for name in names) < 3e5
    for name in names:
        record = provenance.read(FOLDER / name)
        assert record is not None, name
        assert "not the published data" in record.statement
    assert {r.provenance.origin for found in results.values() for r in found} == {"regenerated"}


def test_kappa_is_an_effective_rank_at_every_layer(results: dict[str, list[Any]]) -> None:
    found = results["kappa_direct"]
    assert sorted(result.layer for result in found) == list(range(N_LAYERS))
    for result in found:
        assert result.d_model == len(result.eigenvalues) == D_MODEL
        assert 1 < result.kappa_pr < result.kappa <= D_MODEL


def test_firing_features_grow_with_the_width_as_causal_ones_by_the_published_rule_do_not(
    results: dict[str, list[Any]],
) -> None:
    (sweep,) = results["exp1_width_sweep"]
    assert [row.width for row in sweep.rows] == [64, 128, 256, 512, 1024]
    assert sweep.rows[0].n_causal == (1 - sweep.threshold.q) * 64  # by calibration, not by measurement
    assert sweep.repr_growth > 10
    assert sweep.causal_growth < 1
    for row in sweep.rows:
        assert row.n_causal <= row.n_repr <= row.width


def test_random_firing_never_beats_the_ceiling(results: dict[str, list[Any]]) -> None:
    for result in results["exp9_sva_recall"]:
        for point in result.points:
            assert point.n_hit <= point.n_most <= point.n_true


def test_random_dictionaries_recover_none_of_the_planted_directions(results: dict[str, list[Any]]) -> None:
    """But trained ones do, where causes are used one by one: the experiment can tell them apart."""
    by_dictionary: dict[str, list[int]] = {}
    for result in results["exp_synthetic_gt"]:
        by_dictionary.setdefault(result.dictionary, []).append(result.n_recovered)
    assert set(by_dictionary["random"]) == {0}
    assert set(by_dictionary["oracle"]) == {16}
    assert max(by_dictionary["trained"]) > 0
