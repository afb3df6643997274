"""Sweep files of every generation as rows, ragged over context lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from locality_fixture import OLD_SWEEP, SWEEP, Read, loaded

from circuit_artifacts.errors import SchemaError

LAYER = f"{SWEEP}/gpt2-small/entropy_vs_context_len_resid_post_layer11_20260510_101111.pt"
OLD = f"{OLD_SWEEP}/gpt2-small/entropy_vs_batch_size_resid_post_layer2_20260428_091000.pt"


def test_influences_are_as_long_as_their_window(published: Path, read: Read) -> None:
    rows = read("sweep_features", LAYER).to_pylist()
    assert [(row["context_len"], len(row["influence"])) for row in rows] == [(8, 8)] * 3 + [(24, 24)] * 3
    content = loaded(published / LAYER)["results_by_context_len"]
    for row in rows:
        entry = content[row["context_len"]]
        assert row["entropy_bits"] == np.float32(entry["feature_entropies"][row["feature_id"]])
        assert row["activation"] == np.float32(entry["feature_activations"][row["feature_id"]])
        np.testing.assert_array_equal(row["influence"], np.float32(entry["feature_influences"][row["feature_id"]]))
    assert {(row["run"], row["preset"], row["dataset"], row["layer"]) for row in rows} == {
        (SWEEP, "gpt2-small", "fineweb", 11)
    }


def test_every_length_is_a_row_with_the_tokens_of_its_window(read: Read) -> None:
    rows = read("sweep_lengths", LAYER).to_pylist()
    assert [(row["context_len"], row["num_active_features"]) for row in rows] == [(8, 3), (16, 0), (24, 3)]
    assert rows[0]["prompt_token_ids"] == list(range(116, 124))
    assert rows[0]["prompt_tokens"][-1] == rows[2]["prompt_tokens"][-1] == "t23"
    assert all(0 < row["token_entropy_bits"] <= np.log2(row["context_len"]) for row in rows)


def test_the_first_generation_gives_the_same_columns(read: Read) -> None:
    rows = read("sweep_lengths", OLD).to_pylist()
    assert [(row["context_len"], row["token_entropy_bits"]) for row in rows] == [(8, None), (16, None), (24, None)]
    assert {(row["dataset"], row["layer"], row["extra"]) for row in rows} == {("wikitext", 2, None)}
    assert len(read("sweep_features", OLD)) == 6


@pytest.fixture
def changed(published: Path, tmp_path: Path) -> Callable[..., Path]:
    def change(edit: Callable[[dict[str, Any]], object]) -> Path:
        content = loaded(published / LAYER)
        edit(content)
        (tmp_path / LAYER).parent.mkdir(parents=True)
        torch.save(content, tmp_path / LAYER)
        return tmp_path

    return change


def test_a_file_as_sparse_as_the_card_shows_it_is_read(changed: Callable[..., Path], read: Read) -> None:
    def edit(content: dict[str, Any]) -> None:
        for entry in content["results_by_context_len"].values():
            del entry["feature_influences"], entry["feature_activations"]
        del content["summary"]["prompt_token_ids"], content["summary"]["prompt_token_strs"]
        content["summary"]["document"] = "fineweb-edu/1"

    folder = changed(edit)
    rows = read("sweep_features", LAYER, folder=folder).to_pylist()
    assert len(rows) == 6
    assert {(row["influence"], row["activation"]) for row in rows} == {(None, None)}
    lengths = read("sweep_lengths", LAYER, folder=folder).to_pylist()
    assert {(row["prompt_token_ids"], row["extra"]) for row in lengths} == {
        (None, '{"summary": {"document": "fineweb-edu/1"}}')
    }


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("summary"), "not that of a context-length sweep"),
        (lambda c: c.pop("results_by_context_len"), "not a dictionary whose keys are integers"),
        (lambda c: c["results_by_context_len"].update({8: None}), r"results_by_context_len\[8\]: not the entry"),
        (lambda c: c["results_by_context_len"][8].pop("feature_entropies"), "has no feature_entropies"),
    ],
)
def test_content_of_another_form_is_refused(
    changed: Callable[..., Path], read: Read, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        read("sweep_lengths", LAYER, folder=changed(edit))
