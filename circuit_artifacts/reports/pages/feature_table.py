"""The table of a run's features at one context length, to sort and filter (locality spec 4.12)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from circuit_artifacts.reports.pages.measured import feature_texts, measured_events
from circuit_artifacts.reports.pages.rendering import file_text, render_page, write_text
from circuit_artifacts.reports.pages.text import visible

__all__ = ["FeatureRow", "build_feature_rows", "render_feature_table", "write_feature_table"]

_STRETCHES = 64
_HEIGHTS = 100


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One feature. Statistics are over its events that have an entropy; None without such, or if unknown.

    Attributes:
        feature_id: its number in the autoencoder.
        description: in words.
        tier: retired label of the feature set.
        n_events: number of events that have an entropy.
        mean: of the entropies, bits.
        std: their population standard deviation, bits.
        least: smallest entropy, bits.
        greatest: greatest entropy, bits.
        influence: mean of sum J.
        activation: mean activation at the peaks.
        diversity: distinct peak tokens over peak tokens that are known, 0 to 1.
        recall: score of the description.
        density: part of all tokens on which the feature is active.
        profile: mean of J / sum J, summed in at most 64 stretches of the window, oldest first.
    """

    feature_id: int
    description: str | None
    tier: str | None
    n_events: int
    mean: float | None
    std: float | None
    least: float | None
    greatest: float | None
    influence: float | None
    activation: float | None
    diversity: float | None
    recall: float | None
    density: float | None
    profile: tuple[float, ...] | None


@dataclass(frozen=True)
class _Column:
    """How the page shows one field.

    Attributes:
        field: of `FeatureRow`.
        label: the head of the column.
        help: what the head says when the pointer rests on it.
        kind: ``text``, ``profile``, ``fixed`` (digits after the point) or ``significant`` (digits in all).
        digits: see kind.
        optional: left out if no feature has it.
    """

    field: str
    label: str
    help: str
    kind: str
    digits: int = 0
    optional: bool = False


_COLUMNS = (
    _Column("feature_id", "Feature", "number of the feature in the autoencoder", "fixed"),
    _Column("description", "Description", "in words", "text", optional=True),
    _Column("tier", "Tier", "retired label of the feature set", "text", optional=True),
    _Column("n_events", "Events", "events that have an entropy", "fixed"),
    _Column("mean", "H mean", "mean entropy of influence over the events, bits", "fixed", 2),
    _Column("std", "H std", "its population standard deviation, bits", "fixed", 2),
    _Column("least", "H min", "smallest entropy of an event, bits", "fixed", 2),
    _Column("greatest", "H max", "greatest entropy of an event, bits", "fixed", 2),
    _Column("influence", "Sum J", "mean over the events of the sum of J", "significant", 3),
    _Column("activation", "Activation", "mean activation at the peaks", "significant", 3),
    _Column("diversity", "Diversity", "distinct peak tokens over all peak tokens", "fixed", 2),
    _Column("recall", "Recall", "score of the description", "fixed", 2, optional=True),
    _Column("density", "Density", "part of all tokens on which the feature is active", "significant", 2, optional=True),
    _Column(
        "profile",
        "Mean profile",
        "square root of the mean of J / sum J along the window, against its greatest value; the last token is right",
        "profile",
        optional=True,
    ),
)


def build_feature_rows(
    events: pa.Table, influences: pa.Table | None = None, *, ctx: int, neuronpedia: pa.Table | None = None
) -> list[FeatureRow]:
    """One row per feature that has events, ascending.

    Args:
        events: rows of `Event` of one run.
        influences: rows of `Influence` of the same run, for the profiles.
        ctx: context length in tokens.
        neuronpedia: rows of `NeuronpediaFeature` of one autoencoder, for recall and density, and for descriptions that
            the events lack.

    Raises:
        SchemaError: rows of several runs, two rows of one event, or an influence of another length.
    """
    measured = measured_events(events, influences, ctx=ctx)
    descriptions, tiers = feature_texts(events, "description"), feature_texts(events, "tier")
    known = {} if neuronpedia is None else {row["feature_id"]: row for row in neuronpedia.drop(["raw"]).to_pylist()}
    influence, activation = measured.numbers("J_sum"), measured.numbers("activation_value")
    peaks = measured.table["peak_token_str"].to_pylist()
    rows = []
    for feature in measured.features.tolist():
        own = measured.rows_of(feature)
        entropy = measured.entropy[own]
        cached = known.get(feature, {})
        rows.append(
            FeatureRow(
                feature_id=feature,
                description=descriptions.get(feature) or cached.get("description"),
                tier=tiers.get(feature),
                n_events=len(entropy),
                mean=_mean(entropy),
                std=float(entropy.std()) if len(entropy) else None,
                least=float(entropy.min()) if len(entropy) else None,
                greatest=float(entropy.max()) if len(entropy) else None,
                influence=_mean(influence[own]),
                activation=_mean(activation[own]),
                diversity=_diversity(peaks[own]),
                recall=cached.get("recall"),
                density=cached.get("density"),
                profile=_profile(measured.shares(own)),
            )
        )
    return rows


def render_feature_table(rows: Sequence[FeatureRow], *, title: str, note: str) -> str:
    """The page as text.

    Args:
        rows: in the order in which the page shows them at first.
        title: of the page.
        note: where the numbers are from.
    """
    shown = [column for column in _COLUMNS if not column.optional or any(getattr(row, column.field) for row in rows)]
    return render_page(
        "feature_table.html.j2",
        title=title,
        note=note,
        styles=[file_text("feature_table.css")],
        scripts=[file_text("feature_table.js")],
        columns=shown,
        table={
            "columns": [{"field": c.field, "kind": c.kind, "digits": c.digits} for c in shown],
            "rows": [[_cell(getattr(row, column.field)) for column in shown] for row in rows],
        },
    )


def write_feature_table(rows: Sequence[FeatureRow], path: str | os.PathLike[str], *, title: str, note: str) -> None:
    """Write the page; arguments as :func:`render_feature_table`.

    Raises:
        OSError: it cannot be written.
    """
    write_text(render_feature_table(rows, title=title, note=note), path)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _diversity(tokens: Sequence[str | None]) -> float | None:
    known = [token for token in tokens if token is not None]
    return len(set(known)) / len(known) if known else None


def _profile(shares: npt.NDArray[np.float64]) -> tuple[float, ...] | None:
    known = shares[~np.isnan(shares).any(axis=1)]
    if not len(known):
        return None
    return tuple(float(part.sum()) for part in np.array_split(known.mean(axis=0), min(_STRETCHES, shares.shape[1])))


def _cell(value: Any) -> Any:
    """What the script gets: six digits of a number, heights 0 to 100 of a profile, text that can be seen."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, tuple):
        heights = np.sqrt(np.array(value) / (max(value) or 1.0))
        return np.rint(_HEIGHTS * heights).astype(int).tolist()
    return value
