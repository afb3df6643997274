"""One window of one layer: where its features look, and how widely (locality spec 4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.locality.statistics import shares
from circuit_artifacts.reports.locality.tables import Floats, Frame, columns, matrix
from circuit_artifacts.reports.style import GREY, INK, PALETTE, RED, faint_lines, maximum_entropy

__all__ = ["Batch", "draw_batch", "figure_batch", "read_batch"]

_SIZE = (14.0, 5.0)
_DPI = 150
_N_COLOURED, _N_GREY = 5, 200


@dataclass(frozen=True)
class Batch:
    """One window at one layer; its n features from the most active on, those of unknown activation last.

    Attributes:
        preset: None if unknown.
        start: offset of its first token, as the file has it.
        token_shares: float64 (T,), of the token-vector influence.
        token_entropy: bits; NaN if unknown.
        ids: int64 (n,).
        activation: float64 (n,), at the last token; NaN if unknown.
        entropy: bits, float64 (n,).
        shares: float64 (n, T), of each feature's influence.
    """

    preset: str | None
    dataset: str
    start: int
    token_shares: Floats
    token_entropy: float
    ids: npt.NDArray[np.int64]
    activation: Floats
    entropy: Floats
    shares: Floats


def read_batch(features: Frame, windows: Frame, *, layer: int, batch_idx: int) -> Batch:
    """The numbers of one window; of equally active features, the lower id is first.

    Args:
        features: rows of `DepthFeature` of one run; other windows and layers are not looked at.
        windows: rows of `DepthWindow` of the same run.
        layer: which layer.
        batch_idx: which window.

    Raises:
        SchemaError: no such window, several of them, or influences that do not fit the window.
    """
    where = {"layer": layer, "batch_idx": batch_idx}
    names = ("preset", "dataset", "start_idx", "token_entropy_bits", "token_influence")
    window = columns(windows, names, **where)
    if len(window) != 1:
        problem = "the figure shows one window"
        place = f"layer {layer}, batch_idx {batch_idx}"
        raise SchemaError(problem, where=place, found=f"{len(window)} rows", remedy="Select the rows of one run.")
    row = window.iloc[0]
    length = len(row["token_influence"])
    found = columns(features, ("feature_id", "activation", "entropy_bits", "influence"), **where)
    found = found.astype({"activation": np.float64, "entropy_bits": np.float64})
    found = found.sort_values(["activation", "feature_id"], ascending=[False, True], na_position="last")
    return Batch(
        preset=None if pd.isna(row["preset"]) else str(row["preset"]),
        dataset=str(row["dataset"]),
        start=int(row["start_idx"]),
        token_shares=shares(matrix([row["token_influence"]], length)[0]),
        token_entropy=float("nan") if pd.isna(row["token_entropy_bits"]) else float(row["token_entropy_bits"]),
        ids=found["feature_id"].to_numpy(np.int64),
        activation=found["activation"].to_numpy(),
        entropy=found["entropy_bits"].to_numpy(),
        shares=shares(matrix(found["influence"], length)),
    )


@default_settings()
def figure_batch(
    features: Frame, windows: Frame, *, layer: int, batch_idx: int, title: str | None = None, note: str | None = None
) -> Figure:
    """The shares of influence over the window on the left; activation and entropy of its features on the right.

    The five most active features are coloured alike in both. At most 200 others are grey on the left: the next most
    active (which of them the published pictures show is unknown). Features of unknown activation are grey, and not on
    the right. A window without an active feature shows its token vector only.

    Args:
        features: rows of `DepthFeature` of one run.
        windows: rows of `DepthWindow` of the same run.
        layer: which layer.
        batch_idx: which window.
        title: in place of one that names preset, dataset, layer and window.
        note: small, in the corner.

    Raises:
        SchemaError: as :func:`read_batch`.
    """
    batch = read_batch(features, windows, layer=layer, batch_idx=batch_idx)
    unknown = int(np.isnan(batch.activation).sum())
    n_coloured = min(len(batch.ids) - unknown, _N_COLOURED)
    n_grey = min(len(batch.ids) - n_coloured, _N_GREY)
    place = ", ".join(filter(None, (batch.preset, batch.dataset, f"layer {layer}", f"window {batch_idx}")))
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or f"Influence on one token: {place} (start_idx {batch.start})",
        numbers=f"n = {len(batch.ids)} active features: most active in colour ({n_coloured}), next in grey ({n_grey})"
        + (f"; activation of {unknown} unknown" if unknown else ""),
        note=note,
    )
    left, right = figure.subplots(1, 2)
    _draw_shares(left, batch, n_coloured, n_grey)
    _draw_entropies(right, batch, n_coloured)
    return figure


def draw_batch(
    features: Frame,
    windows: Frame,
    path: Path,
    *,
    layer: int,
    batch_idx: int,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Save `figure_batch`, cut to what is drawn; arguments and errors as there."""
    figure = figure_batch(features, windows, layer=layer, batch_idx=batch_idx, title=title, note=note)
    save(figure, path, tight=True)


def _draw_shares(axes: Axes, batch: Batch, n_coloured: int, n_grey: int) -> None:
    tokens = np.arange(len(batch.token_shares))
    faint_lines(axes, tokens, batch.shares[n_coloured : n_coloured + n_grey], color=GREY, alpha=0.35)
    for position in range(n_coloured):
        label = f"feature {batch.ids[position]}, activation {batch.activation[position]:.3g}"
        axes.plot(tokens, batch.shares[position], color=PALETTE[position], linewidth=1.4, label=label)
    axes.plot(tokens, batch.token_shares, color=INK, linestyle="--", linewidth=1.6, label="token vector")
    axes.margins(x=0.01)
    axes.set_ylim(0, None)
    axes.set_xlabel("token of the window; the last is the one that the features are active on")
    axes.set_ylabel("share of the influence, J / sum J")
    axes.legend(loc="upper left")


def _draw_entropies(axes: Axes, batch: Batch, n_coloured: int) -> None:
    others = slice(n_coloured, None)
    axes.scatter(batch.activation[others], batch.entropy[others], s=12, color=GREY, alpha=0.5, linewidths=0)
    for position in range(n_coloured):
        axes.scatter(
            batch.activation[position], batch.entropy[position], s=40, color=PALETTE[position], edgecolors=INK, zorder=3
        )
    if np.isfinite(batch.token_entropy):
        label = f"token vector, {batch.token_entropy:.2f} bits"
        axes.axhline(batch.token_entropy, color=RED, linestyle="--", label=label)
    maximum_entropy(axes, len(batch.token_shares))
    axes.set_xlim(min(0, axes.get_xlim()[0]), None)
    axes.set_xlabel("activation at the last token")
    axes.set_ylabel("entropy of the influence (bits)")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
