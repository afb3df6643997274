"""Neuronpedia answers, candidate lists, case studies and pictures as rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from locality_fixture import DEPTH, Read

from circuit_artifacts.errors import FormatError, SchemaError

CACHE = "neuronpedia_cache/gemma-2-2b/12-gemmascope-res-16k"
LIST = "gemma-2-2b/candidate_features_l12.md"
CASES = "feature_case_studies/20260503_000000_corners/manifest.json"
PICTURE = f"{DEPTH}/entropy_plots_resid_out_layer0/batch_001.png"


def test_an_answer_of_neuronpedia(published: Path, read: Read) -> None:
    row = read("neuronpedia", f"{CACHE}/3.json").to_pylist()[0]
    assert (row["model"], row["sae"], row["feature_id"]) == ("gemma-2-2b", "12-gemmascope-res-16k", 3)
    assert (row["density"], row["max_activation"], row["description"]) == (0.0125, 41.5, "null terms")
    assert (row["recall"], row["n_activations"]) == (0.9, 1)  # the best of all explanations
    assert json.loads(row["raw"]) == json.loads((published / CACHE / "3.json").read_text())


def test_an_answer_is_kept_word_for_word(tmp_path: Path, read: Read) -> None:
    answer = {"index": 3, "pos_str": ["/usr/bin", "~/x"], "user": "reader"}
    (tmp_path / CACHE).mkdir(parents=True)
    (tmp_path / CACHE / "3.json").write_text(json.dumps(answer))
    assert json.loads(read("neuronpedia", f"{CACHE}/3.json", folder=tmp_path)["raw"][0].as_py()) == answer


def test_every_field_of_an_answer_is_optional(read: Read) -> None:
    row = read("neuronpedia", f"{CACHE}/17.json").to_pylist()[0]
    assert (row["density"], row["description"], row["recall"], row["n_activations"]) == (None, None, None, 0)


def test_candidates(read: Read) -> None:
    rows = read("candidates", LIST).to_pylist()
    assert [(row["tier"], row["feature_id"], row["density"], row["recall"]) for row in rows] == [
        ("token", 3, 0.00125, 0.75),
        ("token", 17, 0.0002, None),
        ("abstract", 40, 0.03, 0.5),
    ]
    assert (rows[0]["explanation"], rows[0]["snippets"]) == ("pipes | and NA", "a / b / c")
    assert (rows[0]["preset"], rows[0]["layer"]) == ("gemma-2-2b", 12)


def test_a_candidate_with_missing_cells_is_refused(tmp_path: Path, read: Read) -> None:
    (tmp_path / "gemma-2-2b").mkdir()
    (tmp_path / LIST).write_text("## Tier: token\n\n| 3 | 0.5 |\n")
    with pytest.raises(SchemaError, match="line 3: not a candidate"):
        read("candidates", LIST, folder=tmp_path)


def test_case_studies(read: Read) -> None:
    rows = read("case_studies", CASES).to_pylist()
    assert [(row["feature_id"], row["mean_h_pos"], row["std_h_pos"], row["n_events"]) for row in rows] == [
        (3, 3.5, 0.5, 4),
        (17, 3.5, None, 4),  # a bare NaN
    ]
    assert {(row["preset"], row["layer"], row["ctx"], row["extra"]) for row in rows} == {("gemma-2-2b", 12, 128, None)}


def test_a_picture_is_passed_on_as_it_is(published: Path, read: Read) -> None:
    row = read("figures", PICTURE).to_pylist()[0]
    assert row["image"] == {"bytes": (published / PICTURE).read_bytes(), "path": "batch_001.png"}
    assert (row["run"], row["strand"], row["layer"], row["batch_idx"], row["file"]) == (DEPTH, "depth", 0, 1, PICTURE)


def test_a_page_in_the_place_of_a_picture_is_refused(tmp_path: Path, read: Read) -> None:
    (tmp_path / PICTURE).parent.mkdir(parents=True)
    (tmp_path / PICTURE).write_text("<!DOCTYPE html>")
    with pytest.raises(FormatError, match="not a PNG picture"):
        read("figures", PICTURE, folder=tmp_path)
