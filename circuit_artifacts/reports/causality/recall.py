"""How much of a circuit attribution patching finds above a percentile (causal-dimensionality spec 2.8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, extra, heading, number, numbers
from circuit_artifacts.reports.style import GREY, INK, PALETTE, span
from circuit_artifacts.reports.text import fitting
from circuit_artifacts.schemas.causal_results import SvaRecall

__all__ = ["RecallCurve", "draw_recall", "figure_recall", "recall_curve"]

_PANEL: Final = 5.5  # inches
_LEAST_WIDTH: Final = 7.5
_HEIGHT: Final = 5.0
_DPI: Final = 160
_SCOPES: Final = {
    "per_submodule": "percentile of the scores of a submodule",
    "global": "percentile of all scores",
    "unknown": "percentile, of what is unknown",
}


@dataclass(frozen=True)
class RecallCurve:
    """One circuit; all arrays are float64 (n,), NaN if unknown.

    Attributes:
        percentile: ascending, from 0 to 100.
        recall: share of the circuit at or above it.
        random: expected of features drawn at random.
        firing: expected of features drawn at random among those that fire.
        activation: of activations in place of scores.
        ceiling: the most that any score could reach.
        n_true: features of the circuit, the least and the greatest number.
    """

    percentile: Floats
    recall: Floats
    random: Floats
    firing: Floats
    activation: Floats
    ceiling: Floats
    n_true: tuple[int, int]


def recall_curve(result: SvaRecall) -> RecallCurve:
    """The numbers of one result, with what its points may hold beyond their declared fields.

    These are ``firing_baseline``, ``activation_recall`` and ``n_most``, which is divided by the circuit's size.

    Raises:
        SchemaError: there is no point.
    """
    points = sorted(result.points, key=lambda point: point.q)
    if not points:
        problem = "there is no percentile to draw the recall at"
        raise SchemaError(problem, where="points", found="none", expected="at least one")
    sizes = numbers(point.n_true for point in points)
    firing, activation, most = (
        numbers(extra(point, name) for point in points) for name in ("firing_baseline", "activation_recall", "n_most")
    )
    true = [point.n_true for point in points]
    return RecallCurve(
        percentile=100 * numbers(point.q for point in points),
        recall=numbers(point.recall for point in points),
        random=numbers(point.random_baseline for point in points),
        firing=firing,
        activation=activation,
        ceiling=np.minimum(most / sizes, 1),
        n_true=(min(true), max(true)),
    )


@default_settings()
def figure_recall(results: Sequence[SvaRecall], *, title: str | None = None, note: str | None = None) -> Figure:
    """Recall against the percentile, one panel per scope of percentiles and one colour per result, with baselines.

    Args:
        results: at most five of a scope.
        title: in place of one that names the model, if all results are of one.
        note: small, in the corner.

    Raises:
        SchemaError: there is no result, one has no point, or there are more than five of a scope.
    """
    curves = [(result, recall_curve(result)) for result in results]
    panels = {
        scope: [pair for pair in curves if pair[0].percentile_scope == scope]
        for scope in _SCOPES
        if any(result.percentile_scope == scope for result in results)
    }
    most = max(map(len, panels.values()), default=0)
    if not 0 < most <= len(PALETTE):
        problem = "the figure shows some results, each in a colour of its own"
        remedy = "Select the results to compare."
        raise SchemaError(problem, found=f"{most} results", expected=f"1 to {len(PALETTE)} per scope", remedy=remedy)
    models = {result.provenance.model for result in results}
    one_model = results[0].provenance if len(models) == 1 else type(results[0].provenance)()
    sizes = span(size for _, curve in curves for size in curve.n_true)
    figure = new_figure(
        (max(_PANEL * len(panels), _LEAST_WIDTH), _HEIGHT),
        dpi=_DPI,
        title=title or heading("Recall of circuits for subject-verb agreement", one_model),
        numbers=f"n = {sizes} features of a circuit{_above(results)}",
        note=note,
    )
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for one, (scope, pairs) in zip(axes, panels.items(), strict=True):
        _draw_panel(one, pairs)
        one.set_title(_SCOPES[scope])
    axes[0].set_ylabel("share of the circuit's features found")
    return figure


def draw_recall(results: Sequence[SvaRecall], path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_recall`; arguments and errors as there."""
    save(figure_recall(results, title=title, note=note), path)


def _draw_panel(axes: Axes, pairs: Sequence[tuple[SvaRecall, RecallCurve]]) -> None:
    for color, (result, curve) in zip(PALETTE, pairs, strict=False):
        axes.plot(curve.percentile, curve.recall, color=color, marker="o", label=_label(result), zorder=3)
    for label, linestyle, marker, values_of in _COMPANIONS:
        for color, (_, curve) in zip(PALETTE, pairs, strict=False):
            shade = GREY if values_of is _random else color  # the same for all circuits
            axes.plot(
                curve.percentile, values_of(curve), color=shade, linestyle=linestyle, marker=marker, linewidth=1.1
            )
        if any(np.isfinite(values_of(curve)).any() for _, curve in pairs):
            shade = GREY if values_of is _random else INK
            axes.plot([], [], color=shade, linestyle=linestyle, marker=marker, linewidth=1.1, label=label)
    axes.set_ylim(-0.02, 1.05)
    shown = sorted({float(one) for _, curve in pairs for one in curve.percentile})
    if len(shown) <= 8:
        axes.set_xticks(shown, labels=[f"p{one:g}" for one in shown])
    axes.set_xlabel("percentile that a score must reach")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _random(curve: RecallCurve) -> Floats:
    return curve.random


_COMPANIONS: Final[tuple[tuple[str, str, str, Callable[[RecallCurve], Floats]], ...]] = (
    ("the most that any score reaches", "", "v", lambda curve: curve.ceiling),
    ("activation alone", "--", "", lambda curve: curve.activation),
    ("random firing features", ":", "", lambda curve: curve.firing),
    ("random features", "-", "", _random),
)


def _above(results: Sequence[SvaRecall]) -> str:
    known = sorted({value for result in results if (value := number(result.node_threshold)) is not None})
    return f", effect above {' or '.join(f'{value:.3g}' for value in known)}" if known else ""


def _label(result: SvaRecall) -> str:
    scored_on = extra(result, "scored_on")
    parts = [
        f"task {fitting(result.task, inches=1.0, points=8)}",
        None if result.split == "unknown" else result.split,
        f"scored on {fitting(str(scored_on), inches=1.0, points=8)}" if scored_on else None,
    ]
    return ", ".join(part for part in parts if part)
