"""Event tables and the influences beside them (spec 8, "Events")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited
from circuit_artifacts.sae_locality.checks.profiles import Profile, check_profiles
from circuit_artifacts.sae_locality.checks.runs import read_configuration
from circuit_artifacts.sae_locality.events import events, influence_vectors
from circuit_artifacts.sae_locality.files import RepositoryFile, companion
from circuit_artifacts.sae_locality.torch_files import Floats
from circuit_artifacts.validation import Finding

__all__ = ["check_events"]

_OK = "ok"
_SUM_TOLERANCE = 1e-4  # relative, of a sum of float32
_ORDER_TOLERANCE = 1e-6  # relative: a sum of one term can round to less than its maximum
Vectors = Mapping[tuple[int, int], tuple[str, Floats]]


def check_events(contents: Contents) -> Iterator[Finding]:
    """Every event table, with its archive of influences."""
    for file in contents.of_kind("events"):
        findings: list[Finding] = []
        beside = contents.beside(file)
        table = attempt(events, file, findings=findings)
        archive = companion(file, beside, "influences")
        vectors = attempt(influence_vectors, archive, beside, findings=findings) if archive and table else None
        yield from findings
        if table is None:
            continue
        rows = table.to_pandas()
        # Tables as the card describes them have no status: a row with an entropy is a good one.
        rows["is_ok"] = rows["status"].eq(_OK) | (rows["status"].isna() & rows["H_pos_bits"].notna())
        yield from limited(_check_unique(file, rows))
        yield from limited(_check_good_rows(file, rows[rows["is_ok"]]))
        yield from limited(_check_other_rows(file, rows[~rows["is_ok"]]))
        manifest = companion(file, beside, "manifest")
        config = attempt(read_configuration, manifest, findings=[]) if manifest else None
        yield from limited(_check_number_of_events(file, rows, (config or {}).get("top_k")))
        if archive is not None and vectors is not None:
            yield from _check_influences(file, archive, rows, vectors)


def _check_unique(file: RepositoryFile, rows: pd.DataFrame) -> Iterator[Finding]:
    for index in np.flatnonzero(rows.duplicated(["feature_id", "top_act_rank"])):
        row = rows.iloc[index]
        message = f"a second row of feature {row.feature_id}, rank {row.top_act_rank}"
        yield error("event-key", file, f"row {index}", message)


def _check_good_rows(file: RepositoryFile, rows: pd.DataFrame) -> Iterator[Finding]:
    ctx, lengths = rows["ctx"], rows["abs_peak"] - rows["ctx_start"] + 1
    is_enough = rows["J_max"].isna() | (rows["J_max"] <= rows["J_sum"] * (1 + _ORDER_TOLERANCE))
    rules = (
        ("n_positions", rows["n_positions"], rows["n_positions"] == ctx, "the context length"),
        ("abs_peak - ctx_start + 1", lengths, lengths == ctx, "the context length"),
        ("J_argmax", rows["J_argmax"], (rows["J_argmax"] >= 0) & (rows["J_argmax"] < ctx), "a position in the window"),
        ("J_max", rows["J_max"], rows["J_max"] > 0, "more than 0"),
        ("J_sum", rows["J_sum"], is_enough, "at least J_max"),
    )
    for name, values, holds, expected in rules:
        for index in rows.index[values.notna() & ~holds]:
            yield error("event-row", file, f"{name}, row {index}", f"{values[index]:g}, expected {expected}")


def _check_other_rows(file: RepositoryFile, rows: pd.DataFrame) -> Iterator[Finding]:
    for name in ("H_pos_bits", "J_max", "J_sum"):
        for index in rows.index[rows[name].notna()]:
            message = f"{rows[name][index]:g}, although the status is {rows['status'][index]!r}"
            yield error("event-row", file, f"{name}, row {index}", message)


def _check_number_of_events(file: RepositoryFile, rows: pd.DataFrame, most: Any) -> Iterator[Finding]:
    if not isinstance(most, int):
        return
    for feature, count in rows["feature_id"].value_counts(sort=False).items():
        if count > most:
            yield error("top-k", file, f"feature {feature}", f"{count} events, but the manifest says top_k {most}")


def _check_influences(
    file: RepositoryFile, archive: RepositoryFile, rows: pd.DataFrame, vectors: Vectors
) -> Iterator[Finding]:
    is_ok, entropies, sums = (rows[name].to_numpy() for name in ("is_ok", "H_pos_bits", "J_sum"))
    keys = zip(rows["feature_id"].tolist(), rows["top_act_rank"].tolist(), strict=True)
    good = {event: row for row, event in enumerate(keys) if is_ok[row]}
    yield from limited(
        error("influence-key", archive, key, "the event has no row with status ok")
        for event, (key, _) in vectors.items()
        if event not in good
    )
    yield from limited(
        error("influence-key", file, f"row {row}", f"{archive.name} has no array of this event")
        for event, row in good.items()
        if event not in vectors
    )
    common = [(row, *vectors[event]) for event, row in good.items() if event in vectors]
    yield from check_profiles(
        archive,
        [
            Profile(key, None if np.isnan(entropies[row]) else float(entropies[row]), influence, file.place.ctx)
            for row, key, influence in common
        ],
    )
    totals = [(row, key, float(influence.sum(dtype=np.float64))) for row, key, influence in common]
    yield from limited(
        error(
            "influence-sum", archive, key, f"the array sums to {total:.6g}, but J_sum of row {row} is {sums[row]:.6g}"
        )
        for row, key, total in totals
        if abs(total - sums[row]) > _SUM_TOLERANCE * abs(sums[row])  # never true of NaN
    )
