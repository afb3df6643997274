"""Windows of a corpus at one layer, measured in groups that survive a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.locality.checkpoint import load_arrays, save_arrays, work_digest
from circuit_artifacts.compute.locality.entropy import influence_entropy
from circuit_artifacts.compute.locality.influence import WindowInfluence, window_influences
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.progress import track

__all__ = ["MeasuredWindows", "measure"]

_GROUP = 4  # windows per call: fixed, so that rounding does not depend on where a run was resumed


@dataclass(frozen=True)
class MeasuredWindows:
    """Windows and how long they took.

    Attributes:
        windows: one per window, in order.
        seconds: per window, of those that were measured now and not in an earlier process.
    """

    windows: list[WindowInfluence]
    seconds: list[float]


def measure(
    model: nn.Module,
    sae: SparseAutoencoder,
    windows: Sequence[Tensor],
    *,
    checkpoint: Path,
    identity: str,
    description: str,
    **options: Any,
) -> MeasuredWindows:
    """Influence in windows of any lengths, each group of equal length kept on disk as soon as it is measured.

    Args:
        model: as in `window_influences`.
        sae: as in `window_influences`.
        windows: token ids (T,), int64, each.
        checkpoint: folder for finished groups; the caller removes it when the result is safe.
        identity: of model and autoencoder. Groups of other work, or damaged ones, are measured again.
        description: for the progress bar.
        options: the other arguments of `window_influences`.
    """
    found: list[WindowInfluence] = []
    seconds: list[float] = []
    groups = list(_groups(windows))
    for group in track(groups, description, total=len(windows), step=len):
        ids = torch.stack(list(group))
        digest = work_digest({"ids": ids.numpy()}, identity, sorted(options.items()))
        path = checkpoint / f"{digest}.npz"
        measured = _load(path)
        if measured is None:
            started = time.monotonic()
            measured = window_influences(model, sae, ids, **options)
            seconds += [(time.monotonic() - started) / len(group)] * len(group)
            _save(path, measured)
        found += measured
    return MeasuredWindows(found, seconds)


def _groups(windows: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    start = 0
    while start < len(windows):
        stop = start + 1
        while stop < min(start + _GROUP, len(windows)) and len(windows[stop]) == len(windows[start]):
            stop += 1
        yield windows[start:stop]
        start = stop


def _save(path: Path, measured: Sequence[WindowInfluence]) -> None:
    arrays: dict[str, Any] = {}
    for number, window in enumerate(measured):
        arrays[f"features_{number}"] = window.features
        arrays[f"activation_{number}"] = window.activation
        arrays[f"influence_{number}"] = window.influence
        if window.token_influence is not None:
            arrays[f"tokens_{number}"] = window.token_influence
    save_arrays(path, arrays)


def _load(path: Path) -> list[WindowInfluence] | None:
    arrays = load_arrays(path)
    if arrays is None:
        return None
    windows = []
    for number in range(sum(name.startswith("features_") for name in arrays)):
        influence, tokens = arrays[f"influence_{number}"], arrays.get(f"tokens_{number}")
        windows.append(
            WindowInfluence(
                features=arrays[f"features_{number}"],
                activation=arrays[f"activation_{number}"],
                influence=influence,
                entropy_bits=influence_entropy(influence),
                token_influence=tokens,
                token_entropy_bits=None if tokens is None else float(influence_entropy(tokens)),
            )
        )
    return windows


def mean_entropies(windows: Sequence[WindowInfluence]) -> dict[str, float | None]:
    """Means as summaries have them: over windows of means over features, and of token vectors (locality spec 4.1)."""
    of_windows = [float(np.mean(window.entropy_bits)) for window in windows if len(window.features)]
    of_tokens = [window.token_entropy_bits for window in windows if window.token_entropy_bits is not None]
    return {
        "mean_feature_entropy": float(np.mean(of_windows)) if of_windows else None,
        "mean_token_vector_entropy": float(np.mean(of_tokens)) if of_tokens else None,
    }
