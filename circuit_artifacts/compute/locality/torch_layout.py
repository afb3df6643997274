"""The published ``.pt`` files of depth runs and sweeps, written from measured windows (locality spec 4.1, 4.2).

Depth files hold numpy arrays and scalars, as the paper's scripts expect them; sweeps hold plain Python values only.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuit_artifacts.compute.locality.depth_run import mean_entropies
from circuit_artifacts.compute.locality.influence import WindowInfluence
from circuit_artifacts.provenance import KEY, Provenance, derived_file

__all__ = ["write_depth", "write_sweep"]


def write_depth(
    path: Path,
    windows: Sequence[WindowInfluence],
    starts: Sequence[int],
    *,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    record: Provenance,
) -> None:
    """Write ``entropy_comparison_<site>_layer<L>.pt``.

    Args:
        path: final path.
        windows: with token-vector influence, in ascending order of their starts.
        starts: token offset of each in the corpus.
        summary: identity of the run; numbers are added here.
        config: its parameters.
        record: provenance, which the file holds too.
    """
    results = [
        {
            "batch_idx": number,
            "start_idx": start,
            "feature_entropies": {int(f): np.float32(bits) for f, bits in zip(w.features, w.entropy_bits, strict=True)},
            "token_vector_entropy": np.float32(w.token_entropy_bits),
            "num_active_features": len(w.features),
            "feature_influences": {int(f): influence for f, influence in zip(w.features, w.influence, strict=True)},
            "feature_activations": {int(f): float(value) for f, value in zip(w.features, w.activation, strict=True)},
            "token_vector_influence": w.token_influence,
        }
        for number, (start, w) in enumerate(zip(starts, windows, strict=True))
    ]
    content = {
        "batch_results": results,
        "summary": {**summary, "num_batches": len(results), **mean_entropies(windows)},
        "config": dict(config),
        "plots_dir": path.stem.replace("entropy_comparison", "entropy_plots"),
        "batch_start_indices": list(starts),
    }
    _write(path, content, record)


def write_sweep(
    path: Path,
    lengths: Mapping[int, WindowInfluence],
    *,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    record: Provenance,
) -> None:
    """Write ``entropy_vs_context_len_<site>_layer<L>_<timestamp>.pt``.

    Args:
        path: final path.
        lengths: what each length of context gave. With token-vector influence, its entropy is written too, which the
            card has and the published code has not.
        summary: the prompt, and identity of the run.
        config: its parameters.
        record: provenance, which the file holds too.
    """
    results = {}
    for length, window in lengths.items():
        features = window.features.tolist()
        results[length] = {
            "feature_entropies": dict(zip(features, window.entropy_bits.tolist(), strict=True)),
            "feature_activations": dict(zip(features, window.activation.tolist(), strict=True)),
            "feature_influences": dict(zip(features, window.influence.tolist(), strict=True)),
            "num_active_features": len(features),
        }
        if window.token_entropy_bits is not None:
            results[length]["token_vector_entropy"] = window.token_entropy_bits
    content = {
        "results_by_context_len": results,
        "summary": dict(summary),
        "config": dict(config),
        "plots_dir": path.stem,
    }
    _write(path, content, record)


def _write(path: Path, content: dict[str, Any], record: Provenance) -> None:
    stream = io.BytesIO()  # written to a path, the file would hold its name
    torch.save({**content, KEY: record.embedded()}, stream)
    with derived_file(path, record) as temporary:
        temporary.write_bytes(stream.getvalue())
