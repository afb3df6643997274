"""The path grammar: every published name, names that only look alike, and copies of links."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.sae_locality.paths import UNKNOWN, classify, is_link


def said(path: str) -> dict[str, Any]:
    place = classify(path)
    return {
        name: value
        for name, value in vars(place).items()
        if value is not None and value is not False and name != "path"
    }


DEPTH = {"strand": "depth", "kind": "depth", "preset": "pythia-70m", "site": "resid_out", "layer": 3}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "pythia-70m/wikitext/20260427_105943/entropy_comparison_resid_out_layer3.pt",
            DEPTH
            | {"dataset": "wikitext", "timestamp": "20260427_105943", "run": "pythia-70m/wikitext/20260427_105943"},
        ),
        (
            "pythia-70m/20260419_062602/entropy_comparison_resid_out_layer3.pt",
            DEPTH | {"dataset": "wikitext", "timestamp": "20260419_062602", "run": "pythia-70m/20260419_062602"},
        ),
        (
            "pythia-70m/entropy_comparison_resid_out_layer3_20260414_053350.pt",
            DEPTH | {"dataset": "wikitext", "timestamp": "20260414_053350", "run": "pythia-70m/20260414_053350"},
        ),
        (
            "mini/stdlib/20260427_105943/entropy_comparison_resid_post_layer11.pt",
            DEPTH
            | {"preset": "mini", "dataset": "stdlib", "site": "resid_post", "layer": 11}
            | {"timestamp": "20260427_105943", "run": "mini/stdlib/20260427_105943"},
        ),
        (
            "gemma-2-2b/code-python/20260427_105943/entropy_plots_resid_layer25/batch_007.png",
            {"strand": "depth", "kind": "batch_plot", "preset": "gemma-2-2b", "dataset": "code-python"}
            | {"site": "resid", "layer": 25, "batch_idx": 7, "timestamp": "20260427_105943"}
            | {"run": "gemma-2-2b/code-python/20260427_105943"},
        ),
        (
            "ctxlen_xmodel_fineweb/20260510_101010/gpt2-small/entropy_vs_context_len_resid_post_layer0_20260510_111111.pt",
            {"strand": "context_length", "kind": "sweep", "preset": "gpt2-small", "dataset": "fineweb", "layer": 0}
            | {"site": "resid_post", "timestamp": "20260510_101010", "started": "20260510_111111"}
            | {"run": "ctxlen_xmodel_fineweb/20260510_101010"},
        ),
        (
            "ctxlen_xmodel/20260428_090909/gpt2-small/entropy_vs_batch_size_resid_post_layer2_20260428_091000.pt",
            {"strand": "context_length", "kind": "sweep", "preset": "gpt2-small", "dataset": "wikitext", "layer": 2}
            | {"site": "resid_post", "timestamp": "20260428_090909", "started": "20260428_091000"}
            | {"run": "ctxlen_xmodel/20260428_090909"},
        ),
        (
            "cherry_picked_feature_entropy/20260501_120000_neuronpedia_anchor6_topk10/ctx064.csv",
            {"strand": "events", "kind": "events", "ctx": 64, "timestamp": "20260501_120000"}
            | {"variant": "neuronpedia_anchor6_topk10"}
            | {"run": "cherry_picked_feature_entropy/20260501_120000_neuronpedia_anchor6_topk10"},
        ),
        (
            "legacy/cherry_picked_feature_entropy/20260430_235742/influences_ctx128_abstract.npz",
            {"strand": "events", "kind": "influences", "ctx": 128, "tier": "abstract", "legacy": True}
            | {"timestamp": "20260430_235742", "run": "legacy/cherry_picked_feature_entropy/20260430_235742"},
        ),
        (
            "neuronpedia_cache/gemma-2-2b/12-gemmascope-res-16k/10360.json",
            {"strand": "neuronpedia", "kind": "neuronpedia", "model": "gemma-2-2b", "sae": "12-gemmascope-res-16k"}
            | {"feature_id": 10360, "run": "neuronpedia_cache/gemma-2-2b/12-gemmascope-res-16k"},
        ),
        (
            "figures/entropy_vs_depth_crossmodel_grid_violin__gsm8k.png",
            {"strand": "figures", "kind": "figure", "dataset": "gsm8k", "run": "figures"},
        ),
        (
            "figures/entropy_vs_depth__llama-3.2-1b__code-python.png",
            {"strand": "figures", "kind": "figure", "preset": "llama-3.2-1b", "dataset": "code-python"}
            | {"run": "figures"},
        ),
        (
            "gemma-2-2b/candidate_features_l18.md",
            {"strand": "curation", "kind": "candidates", "preset": "gemma-2-2b", "layer": 18, "run": "gemma-2-2b"},
        ),
    ],
)
def test_a_published_path_says(path: str, expected: dict[str, Any]) -> None:
    assert said(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "feature_autocorr/20260601_000000/autocorr_curves.csv",  # of a later card: another strand, with other columns
        "feature_autocorr/20260601_000000/run_config.json",
        "topact_all_features/wikitext/20260601_000000/run_config.json",
        "autocorr_vs_entropy/x/20260601_000000/bench.json",
        "pythia-70m/wikitext/20260427_105943/entropy_comparison_resid_out_layer3.pt.bak",
        "pythia-70m/wikitext/20260427_10594/run_config.json",
        "pythia-70m/wikitext/20260427_105943/notes.txt",
        "cherry_picked_feature_entropy/latest/ctx064.csv",
        "cherry_picked_feature_entropy/20260501_120000/ctx064_other.csv",
        "unknown_preset/20260427_105943/run_config.json",
        "feature_geometry_vs_entropy/20260501_120000/per_feature.csv/x",
        "",
    ],
)
def test_a_path_outside_the_grammar_is_not_guessed(path: str) -> None:
    place = classify(path)
    assert (place.strand, place.kind, place.run) == (UNKNOWN, UNKNOWN, path)


@given(st.text(alphabet="ab/_.0123456789-lctx", max_size=60))
def test_any_path_is_classified(path: str) -> None:
    assert classify(path).path == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("cherry_picked_feature_entropy/latest_neuronpedia_full", True),
        ("cherry_picked_feature_entropy/latest/ctx064.csv", True),
        ("figures/latest.png", False),
        ("latest-run/ctx064.csv", False),
    ],
)
def test_copies_of_links_are_recognised(path: str, expected: bool) -> None:
    assert is_link(path) is expected
