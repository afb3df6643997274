"""What every page starts from: the events of one context length that have an entropy, with their influences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.errors import SchemaError

__all__ = ["Measured", "check_one_run", "feature_texts", "measured_events"]

Floats = npt.NDArray[np.float64]

_ORDER = [("feature_id", "ascending"), ("top_act_rank", "ascending")]
_ONE_RUN = "Give the rows of one run, and of one tier where a run has several."


@dataclass(frozen=True)
class Measured:
    """Events by feature, then by rank.

    Attributes:
        ctx: context length in tokens.
        features: ids of all features that have events, measured or not, int64, ascending.
        table: rows of `Event` with an entropy, n of them.
        ids: their features, int64 (n,), ascending.
        entropy: bits, float64 (n,).
        influence: raw J, float32 (n, ctx), NaN where an event has none; None if no influences were given.
    """

    ctx: int
    features: npt.NDArray[np.int64]
    table: pa.Table
    ids: npt.NDArray[np.int64]
    entropy: Floats
    influence: npt.NDArray[np.float32] | None

    def rows_of(self, feature: int) -> slice:
        """Where the events of a feature are."""
        return slice(*np.searchsorted(self.ids, [feature, feature + 1]).tolist())

    def numbers(self, column: str) -> Floats:
        """A column as float64 (n,), NaN for null."""
        values: Floats = self.table[column].cast(pa.float64()).to_numpy()
        return values

    def shares(self, rows: slice) -> Floats:
        """J / sum J of some events, float64 (k, ctx): 0 where J is 0 everywhere, NaN where an event has no J."""
        if self.influence is None:
            return np.full((rows.stop - rows.start, self.ctx), np.nan)
        influence = self.influence[rows].astype(np.float64)
        total = influence.sum(axis=1, keepdims=True)
        shares: Floats = influence / np.where(total == 0, 1, total)
        return shares


def measured_events(events: pa.Table, influences: pa.Table | None = None, *, ctx: int) -> Measured:
    """Choose the events of a context length and join their influences.

    Args:
        events: rows of `Event` of one run; other context lengths are left out.
        influences: rows of `Influence` of the same run.
        ctx: context length in tokens.

    Raises:
        SchemaError: rows of several runs, two rows of one event, an influence of another length, or one that is
            negative or not finite.
    """
    check_one_run(events, influences)
    chosen = events.filter(pc.equal(events["ctx"], ctx)).sort_by(_ORDER)
    _check_unique(chosen, "events")
    features = np.unique(chosen["feature_id"].to_numpy()).astype(np.int64)
    is_ok = pc.fill_null(pc.is_finite(chosen["H_pos_bits"]), fill_value=False)
    if chosen["status"].null_count < len(chosen):
        is_ok = pc.and_(is_ok, pc.equal(pc.fill_null(chosen["status"], "ok"), "ok"))
    table = chosen.filter(is_ok).combine_chunks()
    vectors = None if influences is None else _influence_rows(influences, table, ctx=ctx)
    ids = table["feature_id"].to_numpy().astype(np.int64)
    return Measured(ctx, features, table, ids, table["H_pos_bits"].to_numpy(), vectors)


def check_one_run(*tables: pa.Table | None) -> None:
    """Refuse tables whose rows do not belong together.

    Raises:
        SchemaError: they name more than one run.
    """
    runs = {run for table in tables if table is not None for run in table["run"].unique().to_pylist()}
    if len(runs) > 1:
        problem = "these rows are of several runs"
        raise SchemaError(problem, found=", ".join(sorted(runs)), expected="one run", remedy=_ONE_RUN)


def feature_texts(events: pa.Table, column: str) -> dict[int, str]:
    """The first text of a column that each feature has, by feature id; features without one are missing."""
    texts: dict[int, str] = {}
    for feature, text in zip(events["feature_id"].to_pylist(), events[column].to_pylist(), strict=True):
        if text:
            texts.setdefault(feature, text)
    return texts


def _influence_rows(influences: pa.Table, table: pa.Table, *, ctx: int) -> npt.NDArray[np.float32]:
    chosen = influences.filter(pc.equal(influences["ctx"], ctx)).combine_chunks()
    _check_unique(chosen, "influences")
    lengths = pc.list_value_length(chosen["influence"])
    if not pc.all(pc.equal(lengths, ctx), min_count=0).as_py():
        problem = "an influence has not one value per token of the window"
        raise SchemaError(problem, where="influences", found=sorted(set(lengths.to_pylist())), expected=ctx)
    vectors: npt.NDArray[np.float32] = pc.list_flatten(chosen["influence"]).to_numpy().reshape(-1, ctx)
    if not (np.isfinite(vectors).all() and (vectors >= 0).all()):
        problem = "an influence is negative or not finite"
        raise SchemaError(problem, where="influences", expected="squared gradients")
    place = {key: row for row, key in enumerate(_keys(chosen))}
    found = np.array([place.get(key, -1) for key in _keys(table)], np.int64)
    rows = np.full((len(table), ctx), np.nan, np.float32)
    rows[found >= 0] = vectors[found[found >= 0]]
    return rows


def _keys(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(table["feature_id"].to_pylist(), table["top_act_rank"].to_pylist(), strict=True))


def _check_unique(table: pa.Table, name: str) -> None:
    for (feature, rank), times in Counter(_keys(table)).most_common(1):
        if times > 1:
            problem = f"{times} rows are of the same event"
            raise SchemaError(problem, where=name, found=f"feature {feature}, rank {rank}", remedy=_ONE_RUN)
