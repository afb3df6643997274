"""The numbers of the figures of events: which events count, and what they say of a feature and of a context length."""

from __future__ import annotations

import numpy as np
import pandas as pd

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.statistics import quartiles, shares
from circuit_artifacts.reports.locality.tables import Floats, Frame, columns, distinct, matrix, only

__all__ = ["at_context_length", "event_profiles", "feature_entropies", "measured_events"]

_COLUMNS = ("ctx", "feature_id", "tier", "description", "H_pos_bits", "status")


def measured_events(events: Frame) -> pd.DataFrame:
    """The events that have an entropy: status ``ok``, or none in a table without statuses (locality spec 4.8).

    Args:
        events: rows of `Event` of one run, of any number of context lengths.

    Returns:
        ``ctx``, ``feature_id``, ``tier``, ``description`` and ``H_pos_bits``, in the order of the table.

    Raises:
        SchemaError: none has one, a column is missing, or the rows are of several runs.
    """
    only("run", events)
    rows = columns(events, _COLUMNS).astype({"H_pos_bits": np.float64})
    counted = rows["H_pos_bits"].notna() & (rows["status"].isna() | (rows["status"] == "ok"))
    if not counted.any():
        problem = "no event has an entropy"
        raise SchemaError(problem, where="H_pos_bits", found=f"{len(rows)} rows", expected="at least one of status ok")
    return rows.loc[counted, list(_COLUMNS[:-1])].reset_index(drop=True)


def at_context_length(measured: pd.DataFrame, ctx: int) -> pd.DataFrame:
    """The events of one context length.

    Raises:
        SchemaError: there are none.
    """
    rows = measured[measured["ctx"] == ctx].reset_index(drop=True)
    if rows.empty:
        problem = "no event of this context length has an entropy"
        expected = ", ".join(map(str, distinct(measured, "ctx")))
        raise SchemaError(problem, where="ctx", found=ctx, expected=expected)
    return rows


def feature_entropies(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean and quartiles over the events of every feature at every context length.

    Args:
        measured: as `measured_events` gives them.

    Returns:
        By context length, then from the most local feature to the most global, equal ones by id: ``ctx``,
        ``feature_id``, ``n`` events, ``mean``, ``lower``, ``median``, ``upper`` in bits, and the first ``tier`` and
        ``description`` that any event of the feature has, None if none has.
    """
    found = quartiles(measured, ("ctx", "feature_id"), "H_pos_bits")
    named = measured.groupby("feature_id")[["tier", "description"]].first().astype(object)
    named = named.where(named.notna(), None)
    return found.join(named, on="feature_id").sort_values(["ctx", "mean", "feature_id"], ignore_index=True)


def event_profiles(influences: Frame, *, ctx: int, feature_id: int) -> Floats:
    """Shares of influence by distance to the peak, for every event of a feature.

    The window ends with the peak token, so column d is the token d before it.

    Args:
        influences: rows of `Influence` of one run.
        ctx: context length.
        feature_id: which feature.

    Returns:
        float64 (events, ctx), rows sum to 1.

    Raises:
        SchemaError: an influence vector is not as long as the context.
    """
    rows = columns(influences, ("influence",), ctx=ctx, feature_id=feature_id)
    return shares(matrix(rows["influence"], ctx)[:, ::-1])
