"""A geometry run that is written, checked and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from circuit_artifacts import provenance
from circuit_artifacts.compute.locality.geometry import feature_means
from circuit_artifacts.compute.locality.geometry_files import Geometry, GeometryRun, write_comparison, write_vectors
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.provenance import Provenance
from circuit_artifacts.sae_locality.checks import check_folder
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES
from circuit_artifacts.sae_locality.torch_files import load_tensor

NAME = "feature_geometry_vs_entropy/20260601_000000"
RECORD = Provenance(mirror="sae-locality", step="geometry", parameters={"ctx": 128})
RUN = GeometryRun(
    timestamp="20260601_000000",
    preset="gemma-2-2b",
    layer=12,
    sae_id="12-gemmascope-res-16k",
    ctx_len=128,
    source_experiment_dir="cherry_picked_feature_entropy/20260501_120000_neuronpedia",
)
FILES = {
    "cosine_matrix.pt",
    "decoder_vectors.pt",
    "feature_neighbour_summary.csv",
    "manifest.json",
    "neuronpedia_xcheck.csv",
    "pairwise.csv",
    "per_feature.csv",
}


def measured(n: int, *, answers: dict[int, Any] | None = None, **columns: Any) -> Geometry:
    random = np.random.default_rng(5)
    ids = np.concatenate([np.arange(n), np.arange(n // 2)]) * 7  # some have one event only
    given: dict[str, Any] = {"ctx": 128, "tier": "token", "description": 'a, "b"\nnull', "status": "ok"}
    events = pd.DataFrame({**given, "feature_id": ids, "H_pos_bits": random.uniform(0, 7, len(ids))} | columns)
    return Geometry.measure(feature_means(events), random.standard_normal((n, 6)), answers)


def written(folder: Path, geometry: Geometry) -> Path:
    write_vectors(folder / NAME, geometry.features, geometry.decoder, RECORD)
    write_comparison(folder / NAME, geometry, RUN, RECORD)
    return folder


def rows(folder: Path, table: str, file: str) -> pa.Table:
    beside = [RepositoryFile(folder / NAME / "per_feature.csv", f"{NAME}/per_feature.csv")]
    return TABLES[table].read(RepositoryFile(folder / NAME / file, f"{NAME}/{file}"), beside)


def faults(folder: Path) -> list[str]:
    return [str(finding) for finding in check_folder(folder) if finding.level == "error"]


@pytest.mark.parametrize("n", [0, 1, 2, 25])
def test_what_is_written_is_read_back(tmp_path: Path, n: int) -> None:
    answers = {0: {"topkCosSimIndices": [0, 7, 14, 8], "topkCosSimValues": [1.0, 0.5, -0.25, 0.125]}}
    geometry = measured(n, answers=answers)
    folder = written(tmp_path, geometry)
    assert faults(folder) == []
    tables = {
        "geometry_features": ("per_feature.csv", geometry.features),
        "geometry_pairs": ("pairwise.csv", geometry.pairs),
        "geometry_neighbours": ("feature_neighbour_summary.csv", geometry.neighbours),
        "neuronpedia_xcheck": ("neuronpedia_xcheck.csv", geometry.neuronpedia),
    }
    for name, (file, frame) in tables.items():
        table = rows(folder, name, file)
        assert len(table) == len(frame)
        for column in frame:
            expected = [None if value != value else value for value in frame[column].tolist()]
            assert table[column].to_pylist() == expected, (name, column)
    vectors = rows(folder, "decoder_vectors", "decoder_vectors.pt")
    assert vectors["vector"].to_pylist() == geometry.decoder.tolist()
    assert vectors["feature_id"].to_pylist() == geometry.features["feature_id"].tolist()
    matrix = load_tensor(RepositoryFile(folder / NAME / "cosine_matrix.pt", ""), n_dims=2)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, geometry.cosines)


def test_the_manifest_has_the_names_of_the_code_and_of_the_card(tmp_path: Path) -> None:
    geometry = measured(25, answers={0: {"topkCosSimIndices": [7, 14], "topkCosSimValues": [0.5, -0.25]}})
    manifest = json.loads((written(tmp_path, geometry) / NAME / "manifest.json").read_text())
    primary, signed = geometry.correlations["abs"], geometry.correlations["signed"]
    statistics = {
        name: getattr(primary, name)
        for name in (
            "spearman_r",
            "spearman_p",
            "pearson_r",
            "pearson_p",
            "permutation_null_mean",
            "permutation_null_std",
            "permutation_z",
            "permutation_p_two_sided",
        )
    } | {"n_perm": 200}
    assert manifest.pop("stats_by_predictor")["abs"] == statistics
    assert manifest == {
        "experiment": "feature_geometry_vs_entropy",
        **vars(RUN),
        "n_features": 25,
        "n_pairs": 300,
        "primary_predictor": "abs_cosine",
        **statistics,
        "per_feature_neighbour": vars(geometry.neighbour_correlation),
        "neuronpedia_xcheck": {
            "n_overlap": 2,
            "mean_abs_diff": geometry.neuronpedia["abs_diff"].mean(),
            "max_abs_diff": geometry.neuronpedia["abs_diff"].max(),
        },
        "correlation_decoder_cos_vs_abs_dH_pos": primary.spearman_r,
        "null_distribution_quantiles": {
            str(share): np.quantile(primary.null, share) for share in (0.025, 0.25, 0.5, 0.75, 0.975)
        },
    }
    assert primary.spearman_r != signed.spearman_r


def test_what_is_not_defined_is_null(tmp_path: Path) -> None:
    """Equal entropies: a bare NaN would not be JSON."""
    text = (written(tmp_path, measured(6, H_pos_bits=2.5)) / NAME / "manifest.json").read_text()
    assert "NaN" not in text
    manifest = json.loads(text)
    assert manifest["spearman_r"] is None
    assert manifest["stats_by_predictor"]["signed"]["permutation_p_two_sided"] is None
    assert manifest["per_feature_neighbour"] == {"k": 5, "spearman_r": None, "spearman_p": None}
    assert manifest["neuronpedia_xcheck"] == {"n_overlap": 0, "mean_abs_diff": None, "max_abs_diff": None}
    assert set(manifest["null_distribution_quantiles"].values()) == {None}


def test_without_overlap_the_cross_check_is_a_header(tmp_path: Path) -> None:
    folder = written(tmp_path, measured(4))
    assert (folder / NAME / "neuronpedia_xcheck.csv").read_bytes() == (
        b"fid,neighbour_fid,cosine_local,cosine_neuronpedia,abs_diff\n"
    )
    assert len(rows(folder, "neuronpedia_xcheck", "neuronpedia_xcheck.csv")) == 0


@pytest.mark.parametrize("text", ["a\rb", "\r\n", "", "NA", '"', "#", " x ", "é\N{SNOWMAN}"])
def test_descriptions_survive(tmp_path: Path, text: str) -> None:
    """Python's writer leaves a lone carriage return unquoted, which Arrow takes for the end of a line."""
    folder = written(tmp_path, measured(3, description=text))
    assert rows(folder, "geometry_features", "per_feature.csv")["description"].to_pylist() == [text] * 3
    assert faults(folder) == []


def test_lines_end_as_in_published_files(tmp_path: Path) -> None:
    folder = written(tmp_path, measured(3, description="plain")) / NAME
    lines = (folder / "per_feature.csv").read_bytes().split(b"\n")
    assert lines[0] == b"feature_id,tier,description,n_events,H_pos_mean,H_pos_std,row_idx"
    assert lines[2].startswith(b"7,token,plain,1,")
    assert lines[2].endswith(b",,1")  # no deviation of one event
    assert b"\r" not in (folder / "pairwise.csv").read_bytes()


def test_equal_runs_give_equal_bytes_with_provenance(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, measured(9)) / NAME for name in ("a", "b"))
    assert {path.name for path in first.iterdir() if not path.name.endswith(provenance.SUFFIX)} == FILES
    for file in FILES:
        assert (first / file).read_bytes() == (second / file).read_bytes()
        record = provenance.read(first / file)
        assert record is not None
        assert record.parameters == {"ctx": 128}


def test_decoder_rows_of_other_features_are_refused() -> None:
    table = measured(3).features
    with pytest.raises(SchemaError, match=r"not one decoder row per feature .*found \(4, 6\), expected \(3, width"):
        Geometry.measure(table, np.zeros((4, 6)))
