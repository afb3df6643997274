"""An autocorrelation run that is written, checked and read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import event_fixture
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from event_fixture import RECORD, SILENT, autoencoder

from circuit_artifacts import provenance
from circuit_artifacts.compute.locality.autocorrelation import FORMULAS, curve_table
from circuit_artifacts.compute.locality.autocorrelation_files import write_autocorrelation
from circuit_artifacts.compute.locality.autocorrelation_model import (
    Autocorrelation,
    AutocorrelationSettings,
    measure_autocorrelation,
)
from circuit_artifacts.sae_locality.autocorrelation import read_traces
from circuit_artifacts.sae_locality.checks import check_folder
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

NAME = "feature_activation_autocorr/20260601_000000"
FILES = {
    "activation_traces.npz",
    "autocorr_curves.csv",
    "entropy_targets.csv",
    "feature_summary.csv",
    "fineweb_corpus_meta.json",
    "run_config.json",
    "selected_features.csv",
    "top_examples.csv",
}
DOC_IDS = ["null", "a, b", "7", ""]
SETTINGS = AutocorrelationSettings(
    threshold=0.25,
    min_density=0.0,
    max_density=1.0,
    min_documents=0,
    n_examples=3,
    max_lag=30,
    n_positions=4,
    lookback=16,
)


@pytest.fixture(scope="module")
def result() -> Autocorrelation:
    """A feature that is never active is among them."""
    documents = [part.tolist() for part in torch.split(event_fixture.corpus(), (90, 3, 70, 40))]
    found = measure_autocorrelation(
        event_fixture.model(), autoencoder(), documents, layer=1, features=[12, 0, SILENT, 23], settings=SETTINGS
    )
    assert SILENT not in found.strips
    assert found.targets["H_pos_bits"].isna().any()
    return found


def written(folder: Path, result: Autocorrelation) -> Path:
    write_autocorrelation(
        folder / NAME,
        result,
        RECORD,
        doc_ids=DOC_IDS,
        config={"preset": "mini", "layer": 1, **dataclasses.asdict(SETTINGS)},
        corpus={"corpus": "random tokens"},
    )
    return folder


def rows(folder: Path, table: str, file: str) -> pa.Table:
    beside = [RepositoryFile(folder / NAME / "top_examples.csv", f"{NAME}/top_examples.csv")]
    return TABLES[table].read(RepositoryFile(folder / NAME / file, f"{NAME}/{file}"), beside)


def extra(table: pa.Table) -> pd.DataFrame:
    return pd.DataFrame([json.loads(text) for text in table["extra"].to_pylist()])


def numbers(column: Any) -> list[float | None]:
    return [None if cell == "" else float(cell) for cell in column]


def plain(column: pd.Series[Any]) -> list[Any]:
    return [None if pd.isna(value) else value for value in column.tolist()]


def test_the_folder_passes_the_checks(tmp_path: Path, result: Autocorrelation) -> None:
    assert [finding for finding in check_folder(written(tmp_path, result)) if finding.level == "error"] == []


def test_strips_are_read_back_with_their_documents(tmp_path: Path, result: Autocorrelation) -> None:
    folder = written(tmp_path, result)
    traces = read_traces(RepositoryFile(folder / NAME / "activation_traces.npz", f"{NAME}/activation_traces.npz"))
    assert traces.keys() == result.strips.keys()
    for feature, strips in traces.items():
        assert strips.dtype == np.float32
        np.testing.assert_array_equal(strips, result.strips[feature])
    table = rows(folder, "autocorr_examples", "activation_traces.npz")
    for column, expected in {
        "feature_id": "feature_id",
        "example": "example",
        "peak_position": "peak_position",
    }.items():
        assert table[column].to_pylist() == result.peaks[expected].tolist()
    assert table["doc_id"].to_pylist() == [DOC_IDS[document] for document in result.peaks["document"]]
    assert numbers(extra(table)["activation"]) == result.peaks["activation"].tolist()


def test_curves_and_entropies_are_read_back(tmp_path: Path, result: Autocorrelation) -> None:
    folder = written(tmp_path, result)
    curves = rows(folder, "autocorr_curves", "autocorr_curves.csv")
    expected = curve_table(result.selected["feature_id"].tolist(), result.curves)
    for column in ("feature_id", "lag", "autocorrelation"):
        assert curves[column].to_pylist() == plain(expected[column])
    assert curves["extra"].null_count == len(curves)
    entropies = rows(folder, "entropy_targets", "entropy_targets.csv")
    assert entropies["feature_id"].to_pylist() == result.targets["feature_id"].tolist()
    assert entropies["H_pos_bits"].to_pylist() == plain(result.targets["H_pos_bits"])
    others = extra(entropies)
    assert others["doc_id"].tolist() == [DOC_IDS[document] for document in result.targets["document"]]
    assert numbers(others["position"]) == result.targets["position"].tolist()
    assert numbers(others["activation"]) == result.targets["activation"].tolist()


def test_features_are_read_back(tmp_path: Path, result: Autocorrelation) -> None:
    folder = written(tmp_path, result)
    selected = rows(folder, "autocorr_features", "selected_features.csv")
    assert selected["feature_id"].to_pylist() == [12, 0, SILENT, 23]
    for name in ("n_active", "n_documents", "density", "max_activation", "min_density", "max_density"):
        assert numbers(extra(selected)[name]) == result.selected[name].tolist()
    summary = extra(rows(folder, "autocorr_features", "feature_summary.csv"))
    assert summary["n_examples"].tolist() == ["3", "3", "0", "3"]
    assert summary["autocorr_lag1"][2] == ""
    assert numbers(summary["H_pos_mean"])[0] == pytest.approx(
        result.targets.query("feature_id == 12")["H_pos_bits"].mean()
    )


def test_a_run_says_whose_formulas_these_are(tmp_path: Path, result: Autocorrelation) -> None:
    folder = written(tmp_path, result) / NAME
    config = json.loads((folder / "run_config.json").read_text())
    assert config["formulas"] == FORMULAS
    assert (config["preset"], config["lookback"], config["seed"]) == ("mini", 16, 0)
    meta = json.loads((folder / "fineweb_corpus_meta.json").read_text())
    assert meta == {"corpus": "random tokens", "n_documents": 4}
    for file in FILES:
        record = provenance.read(folder / file)
        assert record is not None
        assert record.parameters["formulas"] == FORMULAS
    assert "formulas" not in RECORD.parameters


def test_equal_runs_give_equal_bytes(tmp_path: Path, result: Autocorrelation) -> None:
    first, second = (written(tmp_path / name, result) / NAME for name in ("a", "b"))
    assert {path.name for path in first.iterdir() if not path.name.endswith(provenance.SUFFIX)} == FILES
    for file in FILES:
        assert (first / file).read_bytes() == (second / file).read_bytes()
