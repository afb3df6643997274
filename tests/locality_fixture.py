"""A small, fully consistent SAE-locality folder in the published layout, for tests.

Every strand, and every generation of files that is known, seeded and written with the libraries that the authors used.
The numbers obey the rules of sae_locality spec 8; entropies come from scipy, as there. ``LEAKS`` are the texts of the
machine that "wrote" it, none of which may reach a row::

    folder = write_locality(tmp_path / "published")
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.stats
import torch
from locality_files import Floats, random_influence, save, write_csv, write_json, write_picture
from locality_small_strands import write_autocorrelation, write_curation, write_figures, write_neuronpedia

from circuit_artifacts.formats.torch_pickle import NUMPY_ARRAYS, load_torch

__all__ = [
    "CARD_EVENTS",
    "DEPTH",
    "EVENTS",
    "FIRST_DEPTH",
    "GEOMETRY",
    "LEAKS",
    "LEGACY_EVENTS",
    "OLD_SWEEP",
    "SMOKE",
    "SWEEP",
    "TRACES",
    "Read",
    "entropy",
    "loaded",
    "names_in",
    "write_locality",
]

DEPTH = "pythia-70m/wikitext/20260427_105943"
SMOKE = "pythia-70m/wikitext/20260502_000000"
FIRST_DEPTH = "pythia-70m/20260419_062602"
CARD_DEPTH = "gpt2-small/gsm8k/20260601_000000"
FLAT = "pythia-70m/entropy_comparison_resid_out_layer0_20260414_053350.pt"
SWEEP = "ctxlen_xmodel_fineweb/20260510_101010"
OLD_SWEEP = "ctxlen_xmodel/20260428_090909"
EVENTS = "cherry_picked_feature_entropy/20260501_120000_neuronpedia"
CARD_EVENTS = "cherry_picked_feature_entropy/20260507_120000"
LEGACY_EVENTS = "legacy/cherry_picked_feature_entropy/20260430_235742"
GEOMETRY = "feature_geometry_vs_entropy/20260502_130000"
TRACES = "feature_activation_autocorr/20260520_140000"
LEAKS = ("gpu-node-07", "/home/", "/scratch/", "C:\\Users", "alice")
"""What the files say of the machine that wrote them."""

CONTEXT = 64
_HOST, _HOME = "gpu-node-07", "/home/alice/sae-analysis"
_FEATURES = (3, 17, 40, 71, 90)  # of the event and geometry strands
_BOS = 2

Read = Callable[..., pa.Table]
"""What the fixture ``read`` gives: a reader of one table from one file."""


def entropy(influence: Floats) -> np.float32:
    """Bits, as the authors' code computes them (spec 5.1)."""
    share = (influence + np.float32(1e-12)) / (influence.sum() + np.float32(1e-12))
    return np.float32(scipy.stats.entropy(share, base=2))


def loaded(path: Path) -> Any:
    """What a torch file holds, copied from it, so that it can be written anew."""
    return copy.deepcopy(load_torch(path, allowed=NUMPY_ARRAYS))


def names_in(folder: Path) -> list[str]:
    """Paths of all files, as the repository names them."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_locality(folder: Path, *, seed: int = 0) -> Path:
    """Write the folder; some 60 files, 0.3 MB."""
    random = np.random.default_rng(seed)
    _write_depth_runs(folder, random)
    _write_sweeps(folder, random)
    _write_events(folder, random)
    _write_geometry(folder, random)
    write_autocorrelation(folder / TRACES, _FEATURES[:3], random)
    write_neuronpedia(folder)
    write_curation(folder)
    write_figures(folder)
    (folder / "cherry_picked_feature_entropy/latest_neuronpedia").write_text("20260501_120000_neuronpedia")
    write_json(folder / "topact_all_features/20260701_000000/run_config.json", {"preset": "gemma-2-2b"})
    return folder


# Depth


def _write_depth_runs(folder: Path, random: np.random.Generator) -> None:
    for layer in (0, 1):
        _depth(folder, DEPTH, "resid_out", layer, random, dataset="wikitext")
        _depth(folder, FIRST_DEPTH, "resid_out", layer, random, scalar=np.float64)
    _depth(folder, SMOKE, "resid_out", 0, random, dataset="wikitext", n_windows=3)
    content = _depth(folder, CARD_DEPTH, "resid_post", 3, random, dataset="gsm8k", arch="topk")
    content["config"]["window_filter"] = "contains_answer"
    content["summary"]["host"] = _HOST
    for window in content["batch_results"]:
        window["feature_activations"] = {
            feature: np.append(random.random(CONTEXT - 1, np.float32), np.float32(value))
            for feature, value in window["feature_activations"].items()
        }
    torch.save(content, folder / CARD_DEPTH / "entropy_comparison_resid_post_layer3.pt")
    _run_config(folder / CARD_DEPTH, "gpt2-small", [3, 4], "relu", context={"ctx_len": CONTEXT})  # and was aborted
    # After the rename of April 29, only the .pt files of older runs say context_len.
    for run, layers, n_windows in ((DEPTH, [0, 1], 4), (FIRST_DEPTH, [0, 1], 4), (SMOKE, [0], 3)):
        _run_config(folder / run, "pythia-70m", layers, "relu", n_windows=n_windows, context={"batch_size": CONTEXT})
        bench = {"timestamp": run[-15:], "host": _HOST, "preset": "pythia-70m", "layers": layers, "std_batch_s": 0.5}
        write_json(folder / run / "bench.json", bench | {"batch_size": CONTEXT, "peak_gpu_mem_gib": None})
    _batch_plots(folder / DEPTH / "entropy_plots_resid_out_layer0")
    _batch_plots(folder / "legacy/figures/entropy_plots_resid_out_layer0_20260414_053350")
    before_presets = _depth(folder, DEPTH, "resid_out", 0, np.random.default_rng(9), write=False)
    summary, config = before_presets["summary"], before_presets["config"]
    summary.update(unique_id=summary.pop("timestamp"), std_feature_entropy=0.5)
    summary["unique_id"] = "20260414_053350"
    config["batch_size"] = config.pop("context_len")
    for name in ("preset", "sae_source", "sae_arch"):
        config.pop(name)
    summary.pop("preset")
    torch.save(before_presets, folder / FLAT)


def _depth(
    folder: Path,
    run: str,
    site: str,
    layer: int,
    random: np.random.Generator,
    *,
    dataset: str | None = None,
    scalar: type[np.floating[Any]] = np.float32,
    arch: str = "relu",
    n_windows: int = 4,
    write: bool = True,
) -> dict[str, Any]:
    """One layer, as the code writes it; the third window has no active feature."""
    preset = run.partition("/")[0]
    starts = sorted(random.choice(500, n_windows, replace=False) * CONTEXT)
    windows = []
    for number, start in enumerate(starts):
        features = [] if number == 2 else sorted(random.choice(1000, 5, replace=False).tolist())
        influences = {feature: random_influence(random, CONTEXT) for feature in features}
        token = random_influence(random, CONTEXT)
        windows.append(
            {
                "batch_idx": number,
                "start_idx": int(start),
                "feature_entropies": {feature: scalar(entropy(value)) for feature, value in influences.items()},
                "token_vector_entropy": scalar(entropy(token)),
                "num_active_features": len(features),
                "feature_influences": influences,
                "feature_activations": {feature: 0.25 + float(random.random()) for feature in features},
                "token_vector_influence": token,
            }
        )
    means = [np.mean(list(w["feature_entropies"].values())) for w in windows if w["feature_entropies"]]
    summary: dict[str, Any] = {
        "site": f"{site}_layer{layer}",
        "preset": preset,
        "timestamp": run[-15:],
        "layer": layer,
        "num_batches": n_windows,
        "mean_feature_entropy": float(np.mean(means)),
        "mean_token_vector_entropy": float(np.mean([w["token_vector_entropy"] for w in windows])),
    }
    if dataset:
        summary["dataset"] = dataset
    content = {
        "batch_results": windows,
        "summary": summary,
        "config": {
            "preset": preset,
            "threshold": 0.2,
            "context_len": CONTEXT,
            "total_features": 1024,
            "random_batches": True,
            "random_seed": 0,
            "sae_source": f"{_HOME}/dictionaries/pythia-70m-deduped/resid_out_layer{layer}/10_32768/ae.pt",
            "sae_arch": arch,
        },
        "plots_dir": f"{_HOME}/data/{run}/entropy_plots_{site}_layer{layer}",
        "batch_start_indices": [int(start) for start in starts],
    }
    if write:
        path = folder / run / f"entropy_comparison_{site}_layer{layer}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
    return content


def _run_config(
    run: Path, preset: str, layers: list[int], arch: str, *, context: Mapping[str, int], n_windows: int = 4
) -> None:
    config = {
        "preset": preset,
        "model_id": "EleutherAI/pythia-70m-deduped",
        "sae_arch": arch,
        "layers": layers,
        "threshold": 0.2,
        "num_batches": n_windows,
        **context,
        "random_batches": True,
        "random_seed": 0,
        "timestamp": run.name,
        "host": _HOST,
        "device": "cuda",
        "gpu_name": "NVIDIA GeForce RTX 2080 Ti",
        "torch_version": "2.7.0+cu126",
    }
    write_json(run / "run_config.json", config)


def _batch_plots(folder: Path) -> None:
    for number in range(2):
        write_picture(folder / f"batch_{number:03d}.png")
    write_json(folder / "batch_index.json", {"site": "resid_out_layer0", "batch_size": CONTEXT, "batches": []})


# Sweep


def _write_sweeps(folder: Path, random: np.random.Generator) -> None:
    for layer in (0, 11):
        content = _sweep(random, layer)
        name = f"entropy_vs_context_len_resid_post_layer{layer}_20260510_10111{layer % 10}"
        save(content, folder / SWEEP / "gpt2-small" / f"{name}.pt")
        write_picture(folder / SWEEP / "gpt2-small" / name / "entropy_vs_context_len.png")
    (folder / SWEEP / "prompt.txt").write_text("The prompt.\n")
    write_json(folder / SWEEP / "prompt.txt.meta.json", {"source": "fineweb-edu"})
    (folder / SWEEP / "gpt2-small" / "run.sh").write_text(f"cd {_HOME}\n")
    presets = {"gpt2-small": {"max_context_len": 24, "step": 8, "char_budget": 288}}
    config = {"experiment": "entropy_vs_context_len_xmodel", "seed": 42, "presets": ["gpt2-small"], "host": _HOST}
    write_json(
        folder / SWEEP / "run_config.json", config | {"preset_config": presets, "prompt_file": f"{_HOME}/prompt.txt"}
    )
    old = _sweep(random, 2)
    old["results_by_batch_size"] = old.pop("results_by_context_len")
    for entry in old["results_by_batch_size"].values():
        del entry["token_vector_entropy"]
    summary = old["summary"]
    for name in ("max_{}", "min_{}", "sub_{}s"):
        value = summary.pop(name.format("context_len"))
        summary[name.format("batch_size")] = value
    for name in ("char_start", "char_budget", "n_tokens_total"):
        del summary[name]
    summary["start_idx"] = 123
    summary["timestamp"] = "20260428_091000"
    save(old, folder / OLD_SWEEP / "gpt2-small" / "entropy_vs_batch_size_resid_post_layer2_20260428_091000.pt")
    write_json(folder / OLD_SWEEP / "run_config.json", config)


def _sweep(random: np.random.Generator, layer: int) -> dict[str, Any]:
    """One layer; the second length found no active feature."""
    lengths = [8, 16, 24]
    results: dict[int, dict[str, Any]] = {}
    for length in lengths:
        features = [] if length == 16 else sorted(random.choice(1000, 3, replace=False).tolist())
        influences = {feature: random_influence(random, length) for feature in features}
        results[length] = {
            "feature_entropies": {feature: float(entropy(value)) for feature, value in influences.items()},
            "feature_activations": {feature: 0.25 + float(random.random()) for feature in features},
            "feature_influences": {feature: value.tolist() for feature, value in influences.items()},
            "num_active_features": len(features),
            "token_vector_entropy": entropy(random_influence(random, length)),
        }
    return {
        "results_by_context_len": results,
        "summary": {
            "preset": "gpt2-small",
            "site": f"resid_post_layer{layer}",
            "layer": layer,
            "timestamp": f"20260510_10111{layer % 10}",
            "max_context_len": 24,
            "min_context_len": 8,
            "step": 8,
            "sub_context_lens": lengths,
            "char_start": 10_727_801,
            "char_budget": 288,
            "n_tokens_total": 60,
            "prompt_token_ids": list(range(100, 124)),
            "prompt_token_strs": [f"t{number}" for number in range(24)],
        },
        "config": {
            "preset": "gpt2-small",
            "threshold": 0.2,
            "random_seed": 42,
            "total_features": 1024,
            "sae_source": "sae_lens:gpt2-small-resid-post-v5-32k/blocks.0.hook_resid_post",
            "sae_arch": "topk",
        },
        "plots_dir": f"{_HOME}/data/{SWEEP}",
    }


# Events

_COLUMNS = (
    "feature_id",
    "tier",
    "description",
    "top_act_rank",
    "activation_value",
    "abs_peak",
    "ctx_len",
    "ctx_start",
    "H_pos_bits",
    "n_positions",
    "J_max",
    "J_sum",
    "J_argmax",
    "peak_token_str",
    "status",
)
_TOKENS = ("null", "NA", "None", "", "\n", 'a "b", c', "nan")
"""Pieces that a careless reader takes for missing values, or for the end of a cell."""


def _write_events(folder: Path, random: np.random.Generator) -> None:
    run = folder / EVENTS
    contexts, corpus, peaks = _contexts(random)
    save(torch.tensor(corpus), run / "corpus_tokens.pt")
    write_json(run / "top_contexts_layer12.json", contexts, indent=2)
    manifest = {
        "experiment": "cherry_picked_feature_entropy",
        "timestamp": "20260501_120000",
        "host": _HOST,
        "preset": "gemma-2-2b",
        "layer": 12,
        "sae_id": "12-gemmascope-res-16k",
        "ctx_len": 128,
        "top_k": 4,
        "corpus": "monology/pile-uncopyrighted via Neuronpedia",
        "gputype": None,
        "variant": "neuronpedia",
        "features": [{"feature_id": f, "tier": "token", "description": "reads /etc/passwd"} for f in _FEATURES],
    }
    write_json(run / "manifest.json", manifest)
    log = {str(f): {"tier": "token", "n_neuronpedia": 4, "n_kept": 4} for f in _FEATURES}
    write_json(run / "adapter_log.json", log)
    for ctx in (16, 128):
        rows, influences = _event_rows(peaks, ctx, random)
        write_csv(run / f"ctx{ctx:03d}.csv", _COLUMNS, rows)
        np.savez_compressed(run / f"influences_ctx{ctx:03d}.npz", **influences)
        write_picture(run / f"figures/feature_continuum_ctx{ctx:03d}.png")
    np.savez_compressed(run / "influences_ctx256.npz")
    (run / "figures/feature_table_ctx128_recall60_nobos.html").write_text(f"<p>{_HOME}</p>")
    _write_card_events(folder / CARD_EVENTS, peaks, random)
    legacy = folder / LEGACY_EVENTS
    rows, influences = _event_rows(peaks, 64, random)
    write_json(legacy / "manifest.json", manifest | {"timestamp": "20260430_235742", "variant": None, "top_k": 4})
    for tier in ("token", "concept"):
        write_csv(legacy / f"ctx064_{tier}.csv", _COLUMNS, [row | {"tier": tier} for row in rows])
        np.savez_compressed(legacy / f"influences_ctx064_{tier}.npz", **influences)


def _write_card_events(run: Path, peaks: Sequence[Mapping[str, Any]], random: np.random.Generator) -> None:
    """As the card describes them: other names, and arrays that are named by the row."""
    rows, influences = _event_rows(peaks, 64, random)
    names = {"top_act_rank": "event_idx", "H_pos_bits": "H_pos", "activation_value": "peak_value", "J_sum": "sum_J"}
    kept = ("feature_id", "top_act_rank", "H_pos_bits", "abs_peak", "activation_value", "J_sum", "description")
    names["abs_peak"] = "peak_token_idx"
    card = [{names.get(name, name): row[name] for name in kept} | {"recall_alt": "0.9"} for row in rows]
    card = [row for row, full in zip(card, rows, strict=True) if full["status"] == "ok"]
    write_csv(run / "ctx64.csv", list(card[0]), card)
    np.savez(run / "influences_ctx64.npz", **{str(row): value for row, value in enumerate(influences.values())})
    write_json(
        run / "manifest.json", {"timestamp": "20260507_120000", "preset": "gemma-2-2b", "layer": 12, "ctx_len": 64}
    )


def _contexts(random: np.random.Generator) -> tuple[dict[str, Any], list[int], list[dict[str, Any]]]:
    """Events of 40 tokens, put one behind the other, each after a BOS."""
    contexts: dict[str, Any] = {}
    corpus: list[int] = []
    peaks = []
    for feature in _FEATURES:
        examples = []
        for rank in range(4):
            start, index = len(corpus), int(random.integers(20, 40))
            corpus += [_BOS, *random.integers(3, 900, 40).tolist()]
            piece = _TOKENS[len(peaks) % len(_TOKENS)]
            tokens = ["<bos>", *(f"w{number}" for number in range(40))]
            tokens[index] = piece
            value = 9.0 - rank
            examples.append(
                {
                    "activation": value,
                    "token_idx": index,
                    "tokens": tokens,
                    "activating_token": piece,
                    "window_start_token": start,
                    "neuronpedia_data_index": None,
                    "neuronpedia_rank": rank,
                }
            )
            peaks.append({"feature": feature, "rank": rank, "peak": start + index, "value": value, "piece": piece})
        contexts[str(feature)] = {"max_activation": 9.0, "examples": examples}
    return contexts, corpus, peaks


def _event_rows(
    peaks: Sequence[Mapping[str, Any]], ctx: int, random: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """Windows that stick out of the corpus, and every seventh, have no influence."""
    rows, influences = [], {}
    for number, event in enumerate(peaks):
        start = event["peak"] - ctx + 1
        influence = random_influence(random, ctx)
        status = "feature_below_threshold_at_peak" if number % 7 == 6 else "ok"
        status = "peak_too_close_to_corpus_boundary" if start < 0 else status
        is_ok = status == "ok"
        if is_ok:
            influences[f"{event['feature']}_{event['rank']}"] = influence
        nothing = float("nan")
        rows.append(
            {
                "feature_id": event["feature"],
                "tier": "token",
                "description": "" if number % 3 else 'commas, "quotes"',
                "top_act_rank": event["rank"],
                "activation_value": event["value"],
                "abs_peak": event["peak"],
                "ctx_len": ctx,
                "ctx_start": start,
                "H_pos_bits": float(entropy(influence)) if is_ok else nothing,
                "n_positions": ctx if is_ok else 0,
                "J_max": float(influence.max()) if is_ok else nothing,
                "J_sum": float(influence.sum()) if is_ok else nothing,
                "J_argmax": int(influence.argmax()) if is_ok else -1,
                "peak_token_str": event["piece"],
                "status": status,
            }
        )
    return rows, influences


# Geometry


def _write_geometry(folder: Path, random: np.random.Generator) -> None:
    run = folder / GEOMETRY
    vectors = random.standard_normal((len(_FEATURES), 8)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    means = random.uniform(2, 6, len(_FEATURES))
    spread = [0.5, "", 0.25, 0.5, 0.75]  # a feature with one event has no sample deviation
    rows = [
        {"feature_id": f, "tier": "token", "description": "d", "n_events": 1 if s == "" else 4, "H_pos_mean": h}
        | {"H_pos_std": s, "row_idx": index}
        for index, (f, h, s) in enumerate(zip(_FEATURES, means.tolist(), spread, strict=True))
    ]
    run.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(run / "per_feature.csv", index=False)
    save(torch.from_numpy(vectors), run / "decoder_vectors.pt")
    save(torch.from_numpy(cosines), run / "cosine_matrix.pt")
    first, second = np.triu_indices(len(_FEATURES), 1)
    ids = np.array(_FEATURES)
    pairs = {
        "fid_a": ids[first],
        "fid_b": ids[second],
        "cosine": cosines[first, second],
        "H_a": means[first],
        "H_b": means[second],
        "dH": np.abs(means[first] - means[second]),
        "tier_a": "token",
        "tier_b": "token",
        "abs_cosine": np.abs(cosines[first, second]),
    }
    pd.DataFrame(pairs).to_csv(run / "pairwise.csv", index=False)
    neighbours = {"feature_id": ids, "tier": "token", "H_pos": means, "nbr10_H_mean": 3.5, "nbr10_abs_cos_mean": 0.25}
    pd.DataFrame(neighbours).to_csv(run / "feature_neighbour_summary.csv", index=False)
    (run / "neuronpedia_xcheck.csv").write_text("\n")
    manifest = {"experiment": "feature_geometry_vs_entropy", "timestamp": "20260502_130000", "preset": "gemma-2-2b"}
    manifest |= {"layer": 12, "ctx_len": 128, "source_experiment_dir": f"{_HOME}/data/{EVENTS}"}
    manifest |= {"n_features": len(ids), "n_pairs": len(first), "spearman_r": float("nan"), "n_perm": 200}
    write_json(run / "manifest.json", manifest)
    (run / "figures").mkdir()
    (run / "figures/clusters3d.html").write_text("<p></p>")
