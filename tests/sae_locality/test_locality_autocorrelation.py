"""Autocorrelation files: what the card says is read, and everything else is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from locality_fixture import TRACES, Read

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.npz import read_npz
from circuit_artifacts.sae_locality.autocorrelation import read_traces
from circuit_artifacts.sae_locality.files import RepositoryFile

STRIPS = f"{TRACES}/activation_traces.npz"
CURVES = f"{TRACES}/autocorr_curves.csv"


def put(folder: Path, file: str, text: str) -> Path:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    return folder


def test_strips_are_rows_with_their_document(published: Path, read: Read) -> None:
    rows = read("autocorr_examples", STRIPS).to_pylist()
    assert [(row["feature_id"], row["example"], row["doc_id"], row["peak_position"]) for row in rows] == [
        (3, 0, "21", 54),
        (3, 1, "22", 55),
        (17, 0, "119", 54),
        (17, 1, "120", 55),
        (40, 0, "280", 54),
        (40, 1, "281", 55),
    ]
    np.testing.assert_array_equal(rows[2]["trace"], read_npz(published / STRIPS)["L12_f17"][0])
    assert np.isnan(rows[2]["trace"][:10]).all()
    assert json.loads(rows[0]["extra"]) == {"peak_value": "3.5"}


@pytest.mark.parametrize("name", ["{}", "feature_{}", "f{}_layer12", "12_{}", "arr_{}"])
def test_the_feature_is_the_number_that_differs(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", **{name.format(feature): np.ones((1, 129), np.float32) for feature in (5, 12)})
    assert list(read_traces(RepositoryFile(tmp_path / "a.npz", STRIPS))) == [5, 12]


def test_names_are_held_against_the_features_that_there_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{f"{n}_f{feature}": np.ones((1, 129)) for n, feature in enumerate((5, 12))})
    file = RepositoryFile(tmp_path / "a.npz", STRIPS)
    assert list(read_traces(file, {5, 12, 13})) == [5, 12]
    with pytest.raises(SchemaError, match="the names of the arrays tell no features"):
        read_traces(file, {6})


def test_strips_of_another_width_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", f5=np.ones((2, 128), np.float32))
    with pytest.raises(SchemaError, match=r"f5: not strips.*\(2, 128\).*129"):
        read_traces(RepositoryFile(tmp_path / "a.npz", STRIPS))


def test_strips_can_be_read_without_their_table(published: Path, tmp_path: Path, read: Read) -> None:
    (tmp_path / TRACES).mkdir(parents=True)
    (tmp_path / STRIPS).write_bytes((published / STRIPS).read_bytes())
    rows = read("autocorr_examples", STRIPS, folder=tmp_path).to_pylist()
    assert {(row["doc_id"], row["peak_position"], row["extra"]) for row in rows} == {(None, None, None)}


def test_curves_in_long_form(read: Read) -> None:
    rows = read("autocorr_curves", CURVES).to_pylist()
    assert [(row["feature_id"], row["lag"], row["autocorrelation"]) for row in rows][:4] == [
        (3, 0, 1.0),
        (3, 1, 0.5),
        (3, 2, 1 / 3),
        (17, 0, 1.0),
    ]


@pytest.mark.parametrize("names", [("0", "1", "10"), ("lag_0", "lag_1", "lag_10"), ("lag0", "lag1", "lag10")])
def test_curves_with_a_column_per_lag(tmp_path: Path, read: Read, names: tuple[str, ...]) -> None:
    first, second, third = names
    text = f"feature_id,{third},n_docs,{first},{second}\n3,0.25,7,1.0,\n17,0.5,8,1.0,0.75\n"
    rows = read("autocorr_curves", CURVES, folder=put(tmp_path, CURVES, text)).to_pylist()
    assert [(row["feature_id"], row["lag"], row["autocorrelation"]) for row in rows] == [
        (3, 0, 1.0),
        (3, 1, None),
        (3, 10, 0.25),
        (17, 0, 1.0),
        (17, 1, 0.75),
        (17, 10, 0.5),
    ]
    assert json.loads(rows[0]["extra"]) == {"n_docs": "7"}


def test_curves_of_an_unknown_form_are_kept(tmp_path: Path, read: Read) -> None:
    folder = put(tmp_path, CURVES, "feature_id,half_life\n3,12.5\n")
    row = read("autocorr_curves", CURVES, folder=folder).to_pylist()[0]
    assert (row["feature_id"], row["lag"], row["extra"]) == (3, None, '{"half_life": "12.5"}')


def test_features_and_entropies_keep_all_columns(read: Read) -> None:
    selected = read("autocorr_features", f"{TRACES}/selected_features.csv").to_pylist()
    assert [(row["table"], row["feature_id"]) for row in selected] == [("selected_features", f) for f in (3, 17, 40)]
    assert json.loads(selected[0]["extra"]) == {"density": "0.001", "max_example": "null"}
    targets = read("entropy_targets", f"{TRACES}/entropy_targets.csv").to_pylist()
    assert (targets[0]["H_pos_bits"], json.loads(targets[0]["extra"])) == (4.5, {"doc_id": "21", "position": "300"})
