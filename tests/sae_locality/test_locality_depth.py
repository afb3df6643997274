"""Depth files of every generation as rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from locality_fixture import CARD_DEPTH, CONTEXT, DEPTH, FIRST_DEPTH, FLAT, Read, loaded

from circuit_artifacts.errors import FormatError, SchemaError, UnsafeContentError
from circuit_artifacts.sae_locality.depth import read_depth
from circuit_artifacts.sae_locality.files import RepositoryFile

LAYER = f"{DEPTH}/entropy_comparison_resid_out_layer1.pt"


@pytest.fixture
def changed(published: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of one layer with something changed."""

    def change(edit: Callable[[dict[str, Any]], object]) -> Path:
        content = loaded(published / LAYER)
        edit(content)
        (tmp_path / LAYER).parent.mkdir(parents=True)
        torch.save(content, tmp_path / LAYER)
        return tmp_path

    return change


def test_features_are_rows_by_window_and_id(published: Path, read: Read) -> None:
    content = loaded(published / LAYER)
    rows = read("depth_features", LAYER).to_pylist()
    expected = [
        (window["batch_idx"], window["start_idx"], feature)
        for window in content["batch_results"]
        for feature in sorted(window["feature_entropies"])
    ]
    assert [(row["batch_idx"], row["start_idx"], row["feature_id"]) for row in rows] == expected
    assert len(rows) == 15
    window = content["batch_results"][3]
    row, feature = rows[-1], max(window["feature_entropies"])
    assert row["entropy_bits"] == window["feature_entropies"][feature]
    assert row["activation"] == np.float32(window["feature_activations"][feature])
    np.testing.assert_array_equal(row["influence"], window["feature_influences"][feature])
    assert row["J_sum"] == pytest.approx(window["feature_influences"][feature].sum(), rel=1e-6)
    assert (row["run"], row["preset"], row["dataset"], row["layer"]) == (DEPTH, "pythia-70m", "wikitext", 1)
    assert row["activation_trace"] is None


def test_windows_are_rows_also_where_nothing_is_active(published: Path, read: Read) -> None:
    content = loaded(published / LAYER)
    rows = read("depth_windows", LAYER).to_pylist()
    assert [row["num_active_features"] for row in rows] == [5, 5, 0, 5]
    window, row = content["batch_results"][2], rows[2]
    assert row["token_entropy_bits"] == window["token_vector_entropy"]
    np.testing.assert_array_equal(row["token_influence"], window["token_vector_influence"])
    assert (row["context_len"], row["threshold"], row["total_features"], row["sae_arch"]) == (
        CONTEXT,
        0.2,
        1024,
        "relu",
    )
    assert (row["sae_source"], row["extra"]) == ("ae.pt", None)


@pytest.mark.parametrize(
    "file",
    [f"{FIRST_DEPTH}/entropy_comparison_resid_out_layer0.pt", FLAT],
    ids=["float64 entropies, no corpus level", "before presets"],
)
def test_older_generations_give_the_same_columns(read: Read, file: str) -> None:
    windows = read("depth_windows", file).to_pylist()
    assert {(row["preset"], row["dataset"], row["context_len"]) for row in windows} == {("pythia-70m", "wikitext", 64)}
    assert {row["extra"] for row in windows} == {None}
    assert read("depth_features", file)["entropy_bits"].null_count == 0


def test_activations_at_every_token_are_kept(published: Path, read: Read) -> None:
    file = f"{CARD_DEPTH}/entropy_comparison_resid_post_layer3.pt"
    content = loaded(published / file)
    row = read("depth_features", file).to_pylist()[0]
    stored = content["batch_results"][0]["feature_activations"][row["feature_id"]]
    assert row["activation"] == stored[-1]
    np.testing.assert_array_equal(row["activation_trace"], stored)


def test_a_zero_dimensional_activation_is_a_number(changed: Callable[..., Path], read: Read) -> None:
    def edit(content: dict[str, Any]) -> None:
        activations = content["batch_results"][0]["feature_activations"]
        activations[min(activations)] = np.array(2.5, np.float32)

    row = read("depth_features", LAYER, folder=changed(edit)).to_pylist()[0]
    assert (row["activation"], row["activation_trace"]) == (2.5, None)


def test_unknown_keys_are_kept_and_noted_once(
    changed: Callable[..., Path], read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["config"]["window_filter"] = {"name": "prose", "script": "/home/alice/filters.py"}
        content["batch_results"][1]["note"] = np.float32("nan")

    folder = changed(edit)
    with caplog.at_level(logging.WARNING):
        rows = read("depth_windows", LAYER, folder=folder).to_pylist()
        read("depth_features", LAYER, folder=folder)
    own = '"config": {"window_filter": {"name": "prose", "script": "filters.py"}}'
    assert [row["extra"] for row in rows] == [f"{{{own}}}", f'{{{own}, "note": null}}', f"{{{own}}}", f"{{{own}}}"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("batch_results"), "batch_results: the file is not that of a depth run"),
        (lambda c: c["batch_results"][1].pop("start_idx"), r"batch_results\[1\]: the window has no whole batch_idx"),
        (
            lambda c: c["batch_results"][1]["feature_influences"].popitem(),
            r"batch_results\[1\]: feature_influences",
        ),
        (
            lambda c: c["batch_results"][1].pop("feature_influences"),
            r"batch_results\[1\]: the window has no feature",
        ),
        (
            lambda c: c["batch_results"][0]["feature_entropies"].update({"x": 1.0}),
            r"batch_results\[0\].feature_entropies: not a dictionary whose keys are integers",
        ),
        (
            lambda c: c["batch_results"][0].update(token_vector_influence=np.zeros((2, 2), np.float32)),
            r"batch_results\[0\].token_vector_influence: not a vector",
        ),
        (lambda c: c["batch_results"].append("window"), r"batch_results\[4\]: not the entry of a window"),
        (lambda c: c["config"].update(threshold="high"), "threshold: a value has another type"),
    ],
)
def test_content_of_another_form_is_refused_with_its_place(
    changed: Callable[..., Path], read: Read, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    folder = changed(edit)
    with pytest.raises(SchemaError, match=message) as caught:
        read("depth_windows", LAYER, folder=folder)
    assert caught.value.file == str(folder / LAYER)


def test_ragged_activations_are_refused(changed: Callable[..., Path], read: Read) -> None:
    def edit(content: dict[str, Any]) -> None:
        activations = content["batch_results"][0]["feature_activations"]
        activations[min(activations)] = [[1.0], [1.0, 2.0]]

    with pytest.raises(SchemaError, match="neither a number nor a vector"):
        read("depth_features", LAYER, folder=changed(edit))


def test_a_truncated_file_is_refused(published: Path, tmp_path: Path) -> None:
    data = (published / LAYER).read_bytes()
    (tmp_path / "half.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError):
        read_depth(RepositoryFile(tmp_path / "half.pt", LAYER))


def test_a_file_with_another_object_is_refused(changed: Callable[..., Path], read: Read) -> None:
    folder = changed(lambda content: content.update(plots_dir=Path("/tmp")))
    with pytest.raises(UnsafeContentError, match="pathlib"):
        read("depth_windows", LAYER, folder=folder)
