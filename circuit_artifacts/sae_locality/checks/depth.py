"""Depth runs: windows, their features, and what the file says of itself (spec 8, "Depth file")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited, note
from circuit_artifacts.sae_locality.checks.profiles import ENTROPY_TOLERANCE, Profile, check_profiles
from circuit_artifacts.sae_locality.checks.runs import read_configuration
from circuit_artifacts.sae_locality.depth import DepthFile, Window, read_depth
from circuit_artifacts.sae_locality.files import companion
from circuit_artifacts.validation import Finding

__all__ = ["check_depth"]

_MOST_ACTIVE = {"gpt2-small": 32}
"""Features that a top-k autoencoder leaves active at most, where that is known (spec 6)."""
_HINT_DIFFERS = {"gpt2-small", "qwen2-0.5b", "llama-3.2-1b"}
"""Presets whose run configuration names an architecture that is not the one of their autoencoder (spec 3)."""


def check_depth(contents: Contents) -> Iterator[Finding]:
    """Every layer of every depth run."""
    for file in contents.of_kind("depth"):
        findings: list[Finding] = []
        depth = attempt(read_depth, file, findings=findings)
        yield from findings
        if depth is None:
            continue
        windows, faults = _windows(depth)
        yield from limited(faults)
        yield from check_profiles(file, [profile for window in windows for profile in _profiles(depth, window)])
        for rule in (_active_counts, _feature_ids, _activations, _starts, _alignment):
            yield from limited(rule(depth, windows))
        yield from _check_summary(depth, windows, n_faults=len(faults))
        config = companion(file, contents.beside(file), "run_config")
        hint = attempt(read_configuration, config, findings=[]) if config else None
        yield from _check_identity(depth, hint or {})


def _windows(depth: DepthFile) -> tuple[list[Window], list[Finding]]:
    windows, faults = [], []
    for index in range(len(depth.entries)):
        try:
            windows.append(depth.window(index))
        except SchemaError as fault:
            faults.append(Finding.of(fault, "window", depth.file.name))
    return windows, faults


def _profiles(depth: DepthFile, window: Window) -> Iterator[Profile]:
    where, features = f"batch_results[{window.number}]", window.features
    yield Profile(f"{where}.token_vector_influence", window.token_entropy, window.token_influence, depth.context_len)
    for feature, bits, influence in zip(features.ids, features.entropies, features.influences or (), strict=True):
        yield Profile(f"{where}, feature {feature}", float(bits), influence, depth.context_len)


def _active_counts(depth: DepthFile, windows: Sequence[Window]) -> Iterator[Finding]:
    most = None
    if depth.config.get("sae_arch") == "topk":
        most = depth.config.get("k", _MOST_ACTIVE.get(str(depth.config.get("preset"))))
    for window in windows:
        where, found = f"batch_results[{window.number}]", len(window.features.ids)
        if window.n_active != found:
            message = f"num_active_features is {window.n_active}, but {found} features are listed"
            yield error("active-count", depth.file, where, message)
        elif isinstance(most, int) and found > most:
            yield error("active-count", depth.file, where, f"{found} active features; top-k leaves at most {most}")


def _feature_ids(depth: DepthFile, windows: Sequence[Window]) -> Iterator[Finding]:
    n_features = depth.config.get("total_features")
    if not isinstance(n_features, int):
        return
    for window in windows:
        ids = window.features.ids
        for feature in ids[(ids < 0) | (ids >= n_features)]:
            message = f"feature {feature} of an autoencoder with {n_features:,} features"
            yield error("feature-id", depth.file, f"batch_results[{window.number}]", message)


def _activations(depth: DepthFile, windows: Sequence[Window]) -> Iterator[Finding]:
    """A note, no error: activations come from a second pass through the model."""
    threshold = depth.config.get("threshold")
    if not isinstance(threshold, int | float):
        return
    for window in windows:
        features = window.features
        if features.activations is None:
            continue
        for index in np.flatnonzero(~(features.activations > threshold)):
            where = f"batch_results[{window.number}], feature {features.ids[index]}"
            message = f"activation {features.activations[index]:.6g} is not above the threshold {threshold}"
            yield note("activation-threshold", depth.file, where, message)


def _starts(depth: DepthFile, windows: Sequence[Window]) -> Iterator[Finding]:
    starts = [window.start for window in windows]
    for before, after in pairwise(windows):
        if after.start <= before.start:
            message = f"start_idx {after.start} follows {before.start}, expected ascending offsets"
            yield error("start-order", depth.file, f"batch_results[{after.number}]", message)
    if depth.starts is not None and len(windows) == len(depth.entries) and list(depth.starts) != starts:
        message = "the list is not that of the windows' start_idx"
        yield error("start-list", depth.file, "batch_start_indices", message)


def _alignment(depth: DepthFile, windows: Sequence[Window]) -> Iterator[Finding]:
    """A note, no error: a filter may choose other windows."""
    length = depth.context_len
    if not length or not depth.config.get("random_batches") or depth.file.place.dataset != "wikitext":
        return
    for window in windows:
        if window.start % length:
            message = f"start_idx {window.start} is no multiple of the context length {length}"
            yield note("start-alignment", depth.file, f"batch_results[{window.number}]", message)


def _check_summary(depth: DepthFile, windows: Sequence[Window], *, n_faults: int) -> Iterator[Finding]:
    n_windows = depth.summary.get("num_batches")
    if n_windows is not None and n_windows != len(depth.entries):
        message = f"{n_windows}, but the file has {len(depth.entries)} windows"
        yield error("summary-count", depth.file, "summary.num_batches", message)
    if n_faults:
        return
    for name, candidates in _means(windows).items():
        stored = depth.summary.get(name)
        if isinstance(stored, int | float) and not any(
            abs(stored - value) <= ENTROPY_TOLERANCE for value in candidates
        ):
            recomputed = " or ".join(f"{value:.6g}" for value in candidates) or "nothing to average"
            message = f"stored {stored:.6g}, recomputed {recomputed}"
            yield error("summary-mean", depth.file, f"summary.{name}", message)


def _means(windows: Sequence[Window]) -> dict[str, list[float]]:
    """Means as any of the writers defines them: over windows, or over all features of all windows (spec 4.1)."""
    per_window = [window.features.entropies for window in windows if len(window.features.entropies)]
    tokens = [window.token_entropy for window in windows if window.token_entropy is not None]
    of_windows = [float(np.mean([np.mean(entropies) for entropies in per_window]))] if per_window else []
    of_features = [float(np.mean(np.concatenate(per_window)))] if per_window else []
    of_tokens = [float(np.mean(tokens))] if tokens else []
    return {"mean_feature_entropy": of_windows + of_features, "mean_token_vector_entropy": of_tokens}


def _check_identity(depth: DepthFile, run_config: Mapping[str, Any]) -> Iterator[Finding]:
    place = depth.file.place
    expected = {
        "layer": place.layer,
        "preset": place.preset,
        "timestamp": place.timestamp,
        "dataset": place.dataset,
        "site": f"{place.site}_layer{place.layer}",
    }
    for name, value in expected.items():
        found = depth.summary.get(name)
        if found is not None and value is not None and found != value:
            yield error("path", depth.file, f"summary.{name}", f"{found!r}, but the path says {value!r}")
    found, hint = depth.config.get("sae_arch"), run_config.get("sae_arch")
    if found is not None and hint is not None and found != hint:
        message = f"{found!r}, but run_config.json says {hint!r}"
        make = note if place.preset in _HINT_DIFFERS else error
        yield make("sae-arch", depth.file, "config.sae_arch", message)
