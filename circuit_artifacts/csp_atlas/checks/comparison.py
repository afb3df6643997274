"""A table against the same table recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from circuit_artifacts.csp_atlas.checks.contents import error, limited, note
from circuit_artifacts.validation import Finding

__all__ = ["compare_tables"]

_DECIMALS = {"mean_A_size": 1, "mean_B_size": 1}  # of rounded columns; all others have 4
_TOLERANCE = 1e-6  # beyond the digits of any column, and above the error of float32


def compare_tables(
    file: str, rule: str, found: pd.DataFrame, expected: pd.DataFrame, keys: Sequence[str]
) -> Iterator[Finding]:
    """Every cell of a table against its recomputed value; a last digit that differs may be a tie, and is a note."""
    found, expected = found.set_index(list(keys)), expected.set_index(list(keys))
    if found.index.has_duplicates:
        return  # reported when the table was read
    differing = found.index.symmetric_difference(expected.index)
    if len(differing):
        message = f"{len(differing)} rows are missing or too many, such as {differing[0]}"
        yield error(rule, file, ", ".join(keys), message)
    common = expected.index.intersection(found.index, sort=False)
    for column in expected.columns:
        here, there = found.loc[common, column], expected.loc[common, column]
        if pd.api.types.is_numeric_dtype(there) and not pd.api.types.is_bool_dtype(there):
            gap = np.abs(here.to_numpy(np.float64) - there.to_numpy(np.float64))
            gap[here.isna().to_numpy() & there.isna().to_numpy()] = 0
            unit = 1.001 * 10.0 ** -_DECIMALS.get(column, 4) if there.dtype.kind == "f" else 0.0
            wrong, close = ~(gap <= max(unit, _TOLERANCE)), (gap > _TOLERANCE) & (gap <= unit)
        else:
            wrong = (here != there).to_numpy()
            close = np.zeros(len(wrong), bool)
        for make, places in ((error, wrong), (note, close)):
            rows = np.flatnonzero(places)
            yield from limited(
                [
                    make(
                        rule,
                        file,
                        f"{_label(common[row])}, {column}",
                        f"found {here.iloc[row]}, recomputed {there.iloc[row]}",
                    )
                    for row in rows.tolist()
                ]
            )


def _label(key: object) -> str:
    return ", ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
