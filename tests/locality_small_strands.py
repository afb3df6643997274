"""Strands of an SAE-locality folder with few files: autocorrelation, Neuronpedia, curation lists, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from locality_files import write_csv, write_json, write_picture

__all__ = ["write_autocorrelation", "write_curation", "write_figures", "write_neuronpedia"]


def write_autocorrelation(run: Path, features: Sequence[int], random: np.random.Generator) -> None:
    write_json(run / "run_config.json", {"preset": "gemma-2-2b", "layer": 12, "corpus": "fineweb"})
    strips = {feature: random.random((2, 129)).astype(np.float32) for feature in features}
    for strip in strips.values():
        strip[:, 64] = 1.0
        strip[0, :10] = np.nan  # before the start of its document
    np.savez(run / "activation_traces.npz", **{f"L12_f{feature}": strip for feature, strip in strips.items()})
    examples = [
        {"feature_id": f, "doc_id": 7 * f + n, "peak_position": 54 + n, "peak_value": 3.5}
        for f in strips
        for n in (0, 1)
    ]
    write_csv(run / "top_examples.csv", list(examples[0]), examples)
    selected = [{"feature_id": f, "density": 0.001, "max_example": "null"} for f in strips]
    write_csv(run / "selected_features.csv", list(selected[0]), selected)
    write_csv(run / "feature_summary.csv", ["feature_id", "mean_H"], [{"feature_id": f, "mean_H": 4.5} for f in strips])
    curves = [{"feature_id": f, "lag": lag, "autocorr": 1.0 / (1 + lag)} for f in strips for lag in range(3)]
    write_csv(run / "autocorr_curves.csv", list(curves[0]), curves)
    targets = [{"feature_id": f, "doc_id": 7 * f, "position": 300, "H_pos": 4.5} for f in strips]
    write_csv(run / "entropy_targets.csv", list(targets[0]), targets)
    (run / "sanity_contexts.md").write_text("# Contexts\n")


def write_neuronpedia(folder: Path) -> None:
    answer = {
        "modelId": "gemma-2-2b",
        "index": "3",
        "frac_nonzero": 0.0125,
        "maxActApprox": 41.5,
        "explanations": [
            {"description": "null terms", "scores": [{"explanationScoreTypeName": "recall_alt", "value": 0.75}]},
            {"description": "second", "scores": [{"explanationScoreTypeName": "recall_alt", "value": 0.9}]},
        ],
        "activations": [{"tokens": ["null"], "maxValueTokenIndex": 0, "maxValue": 41.5}],
    }
    cache = folder / "neuronpedia_cache/gemma-2-2b/12-gemmascope-res-16k"
    write_json(cache / "3.json", answer)
    write_json(cache / "17.json", {"index": 17})


def write_curation(folder: Path) -> None:
    (folder / "gemma-2-2b").mkdir()
    (folder / "gemma-2-2b/candidate_features_l12.md").write_text(
        "# Candidates\n\n- width: 16k\n- | not a table |\n\n"
        "## Tier: token  (2 candidates)\n\n"
        "| feature_id | density | recall | explanation | snippets |\n|---|---|---|---|---|\n"
        "| 3 | 1.25e-03 | 0.75 | pipes \\| and NA | a / b / c |\n| 17 | 2.00e-04 | \N{EM DASH} | other | d |\n\n"
        "## Tier: abstract  (1 candidates)\n\n"
        "| feature_id | density | recall | explanation | snippets |\n|---|---|---|---|---|\n"
        "| 40 | 3.00e-02 | 0.50 | third | e |\n"
    )
    (folder / "gemma-2-2b/pilot_picks_l12.md").write_text("# Picks\n")
    feature = {"feature_id": 3, "tier": "token", "description": "d", "mean_h_pos": 3.5, "std_h_pos": 0.5, "n_events": 4}
    manifest = {"experiment": "feature_case_studies", "timestamp": "20260503_000000", "preset": "gemma-2-2b"}
    manifest |= {"layer": 12, "ctx_len": 128, "source_expt_dir": "C:\\Users\\alice\\runs\\one"}
    manifest["features"] = [feature | {"recall_alt": None}, feature | {"feature_id": 17, "std_h_pos": float("nan")}]
    write_json(folder / "feature_case_studies/20260503_000000_corners/manifest.json", manifest)


def write_figures(folder: Path) -> None:
    write_picture(folder / "figures/entropy_vs_depth__pythia-70m__wikitext.png")
    write_picture(folder / "figures/entropy_vs_depth_crossmodel_grid_violin__gsm8k.png")
    write_picture(folder / "figures/entropy_vs_depth_crossmodel_grid_boxplot.png")
    write_picture(folder / "_readme_assets/page.png")
