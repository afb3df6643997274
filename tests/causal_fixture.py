"""A small causal-dimensionality folder in the published layout, for tests.

All 19 dictionaries, with 8 inputs and 32 features; results under key names that nobody has published, in folders such
as the card names; pictures, logs, drafts and sentences. Seeded::

    folder = write_causal(tmp_path / "published")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from locality_files import write_picture
from torch import Tensor

from circuit_artifacts.schemas.causal_dimensionality_mirror import SITES

__all__ = ["D_IN", "D_SAE", "RESULTS", "dictionary_path", "tensors", "write_causal", "write_dictionary"]

D_IN, D_SAE = 8, 32

_SWEEP = [(16384, 16000, 328), (65536, 60000, 620), (1048576, 249600, 1427)]
RESULTS: dict[str, Any] = {
    "exp0_atp_exact/summary.json": {"n_features": 500, "rho": 0.838, "pval": float("nan"), "layer": 12},
    "exp1_width_sweep/layer12.json": {
        "layer": 12,
        "tau": "0.00031",
        "widths": {
            str(width): {"n_firing": alive, "n_causal": causal, "inert_pct": 100 * (1 - causal / alive)}
            for width, alive, causal in _SWEEP
        },
    },
    "expB_fit/fit.json": {
        "d_model": 2304,
        "widths": [row[0] for row in _SWEEP],
        "n_causal": [row[2] for row in _SWEEP],
        "kappa": 1990,
        "bootstrap_ci": [545, 5130],
        "bootstrap_median": 1705,
        "model_form": "hill",
    },
    "exp5b/cells.json": {
        "cells": [
            {"encoder": e, "decoder": d, "n_alive": 16000, "n_causal": count}
            for (e, d), count in {
                ("trained", "trained"): 328,
                ("random", "trained"): 3041,
                ("trained", "random"): 300,
                ("random", "random"): 2900,
            }.items()
        ],
        "ratio": 9.27,
    },
    "exp9_rctrain/recall.json": {"task": "rc", "n_true": 56, "recall": {"p99": 42.9, "p98": 76.8, "p95": 98.2}},
    "llama_scope/summary.json": {
        "sae": "llama-scope",
        "width": 32768,
        "n_alive": 30600,
        "n_causal": 655,
        "inert": 0.97859,
    },
    "geometric_privilege/summary.json": {"anything": [1, 2]},
}
"""Result files by path below ``results/``."""


def tensors(seed: int, *, d_in: int = D_IN, d_sae: int = D_SAE) -> dict[str, Tensor]:
    """A state dict as published: decoder columns have norm 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    decoder = normal(d_in, d_sae)
    return {
        "bias": normal(d_in),
        "encoder.weight": normal(d_sae, d_in),
        "encoder.bias": normal(d_sae),
        "decoder.weight": decoder / decoder.norm(dim=0),
    }


def dictionary_path(site: str, *, d_sae: int = D_SAE, suffix: str = "pt") -> str:
    """Where a dictionary lies in the repository."""
    return f"pythia-70m-deduped/{site}/10_{d_sae}/ae.{suffix}"


def write_dictionary(folder: Path, site: str, content: object, **options: Any) -> Path:
    """Write what `torch.save` makes of some content as the dictionary of a site."""
    path = folder / dictionary_path(site)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def write_causal(folder: Path) -> Path:
    """Write the folder; some 35 files."""
    for seed, site in enumerate(SITES):
        write_dictionary(folder, site, tensors(seed), _use_new_zipfile_serialization=site != "resid_out_layer5")
    for name, content in RESULTS.items():
        _write(folder / "results" / name, json.dumps(content))
    write_picture(folder / "results/exp1_width_sweep/wedge.png")
    write_picture(folder / "results/expB_fit/figures/fit.png")
    _write(
        folder / "logs/exp1.log",
        "2026-04-01 10:00:00,123 INFO start\nstep 1\n[2026-04-01T10:05:07Z] half\n2026-04-01 11:59:59 done\n",
    )
    _write(folder / "logs/empty.log", "")
    _write(folder / "paper_draft/main.tex", "\\documentclass{article}\n")
    item = {"clean_prefix": "The ship", "patch_prefix": "The ships", "clean_answer": " is", "patch_answer": " are"}
    other = {"clean_prefix": "The cats", "patch_prefix": "The cat", "clean_answer": " do", "patch_answer": " does"}
    for split, items in {"train": [item, other, item], "test": [other]}.items():
        _write(folder / f"data/simple_{split}.json", "".join(f"{json.dumps(one)}\n" for one in items))
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
