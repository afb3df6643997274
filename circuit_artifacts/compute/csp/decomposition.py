"""Stage 14: how much of a concept's circuit its keyword alone explains (csp_atlas spec 6).

A is the universal mask of a concept, B its checker mask: the circuit of texts that hold the concept's keyword but not
the concept. Both are over (concept, layer, dimension) and from the same setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.compute.csp.masks import MaskArray, require_masks
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, split_concept

__all__ = [
    "SUMMARY_COLUMNS",
    "Decomposition",
    "compare_concepts",
    "decompose",
    "parse_target_checker",
    "round_decimal",
    "select_testable",
    "summary_row",
    "summary_table",
    "target_checker_table",
]

SUMMARY_COLUMNS = (
    "epsilon",
    "consistency",
    "n_testable",
    "n_ast",
    "n_builtin",
    "mean_concept_fraction",
    "mean_token_fraction",
    "ast_concept_fraction",
    "ast_token_fraction",
    "blt_concept_fraction",
    "blt_token_fraction",
    "mean_A_size",
    "mean_B_size",
)
"""Columns of ``14_summary.csv`` (csp_atlas spec 1.8)."""

_FRACTION_DECIMALS = 4
_CELL = re.compile(r"([0-9]+) / ([0-9]+) / ([0-9]+)")


@dataclass(frozen=True)
class Decomposition:
    """Numbers of dimensions in the three parts of A and B, each int64 (concept, layer).

    Attributes:
        concept_only: in A and not in B.
        shared: in both.
        token_only: in B and not in A.
    """

    concept_only: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]
    token_only: npt.NDArray[np.int64]

    @property
    def concept_size(self) -> npt.NDArray[np.int64]:
        """|A|, int64 (concept, layer)."""
        return self.concept_only + self.shared

    @property
    def token_size(self) -> npt.NDArray[np.int64]:
        """|B|, int64 (concept, layer)."""
        return self.shared + self.token_only

    @property
    def concept_fraction(self) -> npt.NDArray[np.float64]:
        """Share of A outside B, float64 (concept, layer), 4 decimals; 0.0 where A is empty (csp_atlas spec 6)."""
        return self._fraction_of_concept(self.concept_only)

    @property
    def token_fraction(self) -> npt.NDArray[np.float64]:
        """Share of A inside B, float64 (concept, layer), 4 decimals; 0.0 where A is empty (csp_atlas spec 6)."""
        return self._fraction_of_concept(self.shared)

    def _fraction_of_concept(self, part: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        size = self.concept_size
        ratio = np.divide(part, size, out=np.zeros(part.shape), where=size > 0)
        return round_decimal(ratio, _FRACTION_DECIMALS)


def round_decimal(values: npt.NDArray[np.float64], decimals: int) -> npt.NDArray[np.float64]:
    """Round as Python's ``round`` does: by the exact binary value, ties to the even digit.

    `numpy.round` multiplies first, and so can turn a value just beside a tie into a tie.

    Args:
        values: finite float64 of any shape.
        decimals: digits after the point, 0 to 15.

    Returns:
        Array of the same shape, equal to ``round(float(value), decimals)`` everywhere.
    """
    scaled = values * 10.0**decimals
    rounded: npt.NDArray[np.float64] = np.rint(scaled) / 10.0**decimals
    near_tie = np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) < 1e-6
    # Far from ties the shortcut is exact, as long as the product's error stays below the width of that band.
    doubtful = near_tie | (np.abs(scaled) > 1e9)
    rounded[doubtful] = [round(value, decimals) for value in values[doubtful].tolist()]
    return rounded


def decompose(universal: MaskArray, checker: MaskArray) -> Decomposition:
    """Count the dimensions of A only, of both, and of B only.

    Args:
        universal: A, bool (concept, layer, dimension).
        checker: B, of the same shape.

    Raises:
        SchemaError: not two stacks of masks of one shape.
    """
    require_masks("universal", universal, "concept, layer, dimension")
    require_masks("checker", checker, "concept, layer, dimension")
    if universal.shape != checker.shape:
        problem = "universal and checker masks must have the same shape"
        raise SchemaError(problem, where="checker", found=checker.shape, expected=universal.shape)
    shared = np.count_nonzero(universal & checker, axis=-1).astype(np.int64)
    return Decomposition(
        concept_only=np.count_nonzero(universal, axis=-1) - shared,
        shared=shared,
        token_only=np.count_nonzero(checker, axis=-1) - shared,
    )


def select_testable(concepts: Iterable[str], checker_concepts: Iterable[str]) -> list[str]:
    """Concepts that have a universal mask, a checker mask and a keyword, in ASCII order (csp_atlas spec 6)."""
    return sorted(set(concepts) & set(checker_concepts) & KEYWORDS.keys())


def compare_concepts(
    concepts: Sequence[str], universal: MaskArray, checker_concepts: Sequence[str], checker: MaskArray
) -> tuple[list[str], Decomposition]:
    """Decompose every testable concept; the two stacks may hold different concepts.

    Args:
        concepts: keys of the universal masks.
        universal: bool (C, L, W). A layer that a file lacks is an all-false mask (csp_atlas spec 6).
        checker_concepts: keys of the checker masks.
        checker: bool (K, L, W).

    Returns:
        The testable concepts in ASCII order and their decomposition.

    Raises:
        SchemaError: not stacks of masks with one key each, or with different layers or widths.
    """
    require_masks("universal", universal, "concept, layer, dimension", concepts)
    require_masks("checker", checker, "concept, layer, dimension", checker_concepts)
    testable = select_testable(concepts, checker_concepts)
    return testable, decompose(_rows(universal, concepts, testable), _rows(checker, checker_concepts, testable))


def _rows(masks: MaskArray, names: Sequence[str], wanted: Sequence[str]) -> MaskArray:
    index = {name: row for row, name in enumerate(names)}
    return masks[np.array([index[name] for name in wanted], dtype=np.intp)]


def target_checker_table(concepts: Sequence[str], decomposition: Decomposition) -> pd.DataFrame:
    """The table of ``14_target_checker_*.csv`` (csp_atlas spec 1.8).

    Args:
        concepts: one key per row of the decomposition.
        decomposition: counts (concept, layer).

    Returns:
        Index ``target``, columns ``L0``, ``L1``, ..., cells ``concept_only / shared / token_only``.
    """
    parts = (decomposition.concept_only, decomposition.shared, decomposition.token_only)
    cells = [
        [f"{concept_only} / {shared} / {token_only}" for concept_only, shared, token_only in row]
        for row in np.stack(parts, axis=-1).tolist()
    ]
    columns = [f"L{layer}" for layer in range(decomposition.shared.shape[1])]
    return pd.DataFrame(cells, index=pd.Index(list(concepts), name="target"), columns=columns)


def parse_target_checker(frame: pd.DataFrame) -> tuple[list[str], Decomposition]:
    """The inverse of `target_checker_table`.

    Args:
        frame: the table; ``target`` may be the index or a column. Layer columns may come in any order.

    Returns:
        The targets and their decomposition, layers in numeric order.

    Raises:
        SchemaError: a column or a cell is not as declared; the error names the row and the column.
    """
    if "target" in frame.columns:
        frame = frame.set_index("target")
    columns = [f"L{layer}" for layer in range(len(frame.columns))]
    if set(frame.columns) != set(columns) or not columns:
        problem = "a decomposition table has one column per layer"
        raise SchemaError(problem, found=list(frame.columns), expected="target, L0, L1, ... without a gap")
    targets = [str(target) for target in frame.index]
    cells = frame[columns].to_numpy(dtype=object)
    matches = [_CELL.fullmatch(cell) if isinstance(cell, str) else None for cell in cells.ravel()]
    if None in matches:
        row, column = divmod(matches.index(None), len(columns))
        problem = "this cell is not three counts"
        where = f"row {targets[row]}, column {columns[column]}"
        raise SchemaError(problem, where=where, found=repr(cells[row, column]), expected="'12 / 3 / 45'")
    counts = np.array([match.groups() for match in matches if match], dtype=np.str_).astype(np.int64)
    concept_only, shared, token_only = np.moveaxis(counts.reshape(*cells.shape, 3), -1, 0)
    return targets, Decomposition(concept_only, shared, token_only)


def summary_row(frame: pd.DataFrame, *, epsilon: float, consistency: float) -> dict[str, float | int | None] | None:
    """One row of ``14_summary.csv``, from the cells of one decomposition table alone (csp_atlas spec 6).

    Fractions are means over (concept, layer) of fractions already rounded to 4 decimals, rounded again as numpy does;
    empty circuits count as 0 in both. Sizes have 1 decimal.

    Args:
        frame: a decomposition table.
        epsilon: of its setting.
        consistency: of its setting.

    Returns:
        Values by `SUMMARY_COLUMNS`, None for means over no concept; or None if the table has no row.

    Raises:
        SchemaError: the table is not as declared.
    """
    targets, decomposition = parse_target_checker(frame)
    if not targets:
        return None
    kinds = np.array([split_concept(target)[0] for target in targets])
    everything, is_ast, is_builtin = np.ones(len(targets), dtype=np.bool_), kinds == "ast", kinds == "builtin"
    concept_fraction, token_fraction = decomposition.concept_fraction, decomposition.token_fraction
    values = (
        epsilon,
        consistency,
        len(targets),
        int(is_ast.sum()),
        int(is_builtin.sum()),
        _rounded_mean(concept_fraction[everything], _FRACTION_DECIMALS),
        _rounded_mean(token_fraction[everything], _FRACTION_DECIMALS),
        _rounded_mean(concept_fraction[is_ast], _FRACTION_DECIMALS),
        _rounded_mean(token_fraction[is_ast], _FRACTION_DECIMALS),
        _rounded_mean(concept_fraction[is_builtin], _FRACTION_DECIMALS),
        _rounded_mean(token_fraction[is_builtin], _FRACTION_DECIMALS),
        _rounded_mean(decomposition.concept_size, 1),
        _rounded_mean(decomposition.token_size, 1),
    )
    return dict(zip(SUMMARY_COLUMNS, values, strict=True))


def _rounded_mean(values: npt.NDArray[np.float64] | npt.NDArray[np.int64], decimals: int) -> float | None:
    return float(np.round(values.mean(), decimals)) if values.size else None


def summary_table(frames: Mapping[tuple[float, float], pd.DataFrame]) -> pd.DataFrame:
    """``14_summary.csv``: one row per setting, settings without a testable concept left out (csp_atlas spec 1.8).

    Args:
        frames: decomposition tables by (epsilon, consistency), in the order of the rows.

    Returns:
        Columns `SUMMARY_COLUMNS`; means over no concept are NaN, which a CSV writes as blank.

    Raises:
        SchemaError: a table is not as declared.
    """
    rows = [summary_row(frame, epsilon=eps, consistency=cons) for (eps, cons), frame in frames.items()]
    table = pd.DataFrame([row for row in rows if row is not None], columns=list(SUMMARY_COLUMNS))
    return table.astype({column: "int64" if column.startswith("n_") else "float64" for column in SUMMARY_COLUMNS})
