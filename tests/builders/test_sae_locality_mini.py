"""The bundled runs: every strand offline, said to be no published data, and the numbers that the model gives."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_artifacts import catalog, load_dataset, provenance
from circuit_artifacts.compute.locality.influence import window_influence
from circuit_artifacts.compute.models import load_model, load_tokenizer
from circuit_artifacts.compute.saes import load_sae
from circuit_artifacts.filesets import list_files
from circuit_artifacts.validation import mirror_of, validate

MIRROR = catalog.mirror("sae-locality-mini")
FOLDER = Path(str(resources.files("circuit_artifacts.data") / "mini_locality"))
DERIVED = {"figures"}


@pytest.mark.parametrize("name", [name for name in MIRROR.configs if name not in DERIVED])
def test_every_strand_loads_offline(name: str) -> None:
    for split, rows in load_dataset("sae-locality-mini", name).items():
        assert len(rows) > 0, split


def test_the_bundle_is_consistent_small_and_says_what_it_is() -> None:
    assert [finding for finding in validate(FOLDER) if finding.level == "error"] == []
    assert mirror_of(FOLDER) is MIRROR
    names = [name for name in list_files(FOLDER) if not name.endswith(provenance.SUFFIX)]
    assert sum((FOLDER / name).stat().st_size for name in names) < 3e6
    for name in names:
        record = provenance.read(FOLDER / name)
        assert record is not None, name
        assert record.mirror == "sae-locality-mini"
        assert "not the published data" in record.statement


def test_every_layer_has_windows_of_the_stated_length() -> None:
    windows = load_dataset("sae-locality-mini", "entropy_mini_stdlib", split="windows")
    assert set(windows["layer"]) == set(range(8))
    assert {len(influence) for influence in windows["token_influence"]} == {64}
    assert all(0 <= bits <= 6 + 1e-5 for bits in windows["token_entropy_bits"])


def test_entropy_rises_with_depth() -> None:
    """As the paper finds in six models, deeper features look further back, if not by much in so small a model."""
    rows = load_dataset("sae-locality-mini", "entropy_mini_stdlib", split="features").to_pandas()
    medians = rows.groupby("layer")["entropy_bits"].median()
    assert medians[1:].min() > 2 * medians[0]
    assert medians[7] > medians[1]


@pytest.mark.parametrize("layer", [0, 4, 7])
def test_the_sweep_is_what_the_bundled_model_gives(layer: int) -> None:
    lengths = load_dataset("sae-locality-mini", "ctxlen_mini", split="lengths").to_pandas()
    features = load_dataset("sae-locality-mini", "ctxlen_mini", split="features").to_pandas()
    model, sae = load_model("mini"), load_sae("mini", path=f"resid_post/layer_{layer}/relu_256")
    for row in lengths[(lengths["layer"] == layer) & (lengths["context_len"] <= 56)].itertuples():
        found = window_influence(model, sae, torch.tensor(row.prompt_token_ids), layer=layer, threshold=0.0)
        own = features[(features["layer"] == layer) & (features["context_len"] == row.context_len)]
        # Another machine's rounding can switch a feature that is barely active, or an activation among equals.
        stored = dict(zip(own["feature_id"], own["entropy_bits"], strict=True))
        both = [
            (bits, stored[f])
            for f, bits in zip(found.features.tolist(), found.entropy_bits, strict=True)
            if f in stored
        ]
        assert len(both) >= 0.8 * max(len(stored), len(found.features))
        assert np.median([abs(a - b) for a, b in both]) < 0.02


def test_events_peak_where_their_texts_do() -> None:
    events = load_dataset("sae-locality-mini", "events", split="train").to_pandas()
    contexts = load_dataset("sae-locality-mini", "top_contexts", split="train").to_pandas()
    joined = events[events["ctx"] == 64].merge(
        contexts, left_on=["feature_id", "top_act_rank"], right_on=["feature_id", "rank"]
    )
    assert len(joined) == len(contexts)
    assert (joined["peak_token_str"] == joined["activating_token"]).all()
    assert (joined["abs_peak"] == joined["window_start_token"] + joined["token_idx"]).all()
    encode = load_tokenizer("mini").encode
    assert all(len(encode(text)) == 1 for text in set(joined["peak_token_str"]) if text.isascii() and text.strip())


def test_figures_are_drawn_from_the_bundle_when_they_are_asked_for() -> None:
    rows = load_dataset("sae-locality-mini", "figures", split="train")
    names = {Path(name).name for name in rows["file"]}
    assert {"entropy_vs_depth__mini__stdlib.png", "h_pos_overview_ctx064.png", "h_pos_vs_ctxlen.png"} <= names
    assert rows[0]["image"].size[0] > 400
