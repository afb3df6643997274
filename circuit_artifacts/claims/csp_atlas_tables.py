"""Checks of claims about CSP-Atlas's tables: concepts, prompts, and how much of a concept its keyword explains."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Interval, Outcome, few, no_data_if
from circuit_artifacts.compute.csp.decomposition import summary_table
from circuit_artifacts.csp_atlas.tables import read_target_checker

__all__ = [
    "cells_give_summary",
    "concepts_of",
    "count_rows",
    "keyword_counts",
    "largest_concept_share",
    "lowest_ratio",
    "no_keyword_counts",
    "pairs",
    "prompts_per_pair",
    "ratios_within",
    "real_builtins",
    "table_shape",
]

_ROUNDED_AGAIN = 1.001e-4
"""Between a mean of four digits and one that was rounded to the other side of a tie."""


# Concepts


def concepts_of(kind: str | None) -> Check:
    """How many concepts of a kind there are; None counts all."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        concepts = data.frame(configs[0])
        count = len(concepts) if kind is None else int((concepts["kind"] == kind).sum())
        return Outcome(f"{count} are listed", count)

    return check


def real_builtins(data: Data, configs: Sequence[str]) -> Outcome:
    """How many of the "builtins" Python has."""
    concepts = data.frame(configs[0])
    names = concepts.loc[concepts["kind"] == "builtin", "name"]
    others = [name for name in names if not hasattr(builtins, name)]
    count = len(names) - len(others)
    return Outcome(f"{count} of {len(names)} are Python's" + f"; {few(others)} is not" * bool(others), count)


# Concept and token


def largest_concept_share(published: Interval) -> Check:
    """Of AST concepts in percent, at any setting: of one concept at one layer, or of the mean of a layer."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        found: dict[str, float] = {}
        for config in configs:
            cells, setting = data.frame(config), config.removeprefix("target_checker_")
            cells = cells[cells["target"].str.startswith("ast__")]
            if len(cells):
                shares = 100 * cells["concept_fraction"]
                found[f"one concept at one layer, at {setting}"] = float(shares.max())
                found[f"the mean of a layer, at {setting}"] = float(shares.groupby(cells["layer"]).mean().max())
        no_data_if(not found, "no AST concept is in the tables")
        what = min(found, key=lambda what: abs(published.distance(found[what])))
        return Outcome(f"{found[what]:.1f} % for {what}, the nearest of {len(found)} readings", found[what])

    return check


def ratios_within(published: Interval) -> Check:
    """The concept share of AST concepts over that of builtins, at every setting."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        ratios = _ratios(data, configs)
        inside = sum(ratio in published for ratio in ratios)
        sentence = f"{ratios.min():.2f} to {ratios.max():.2f}, and {inside} of {len(ratios)} settings are in the range"
        return Outcome(sentence, published.farthest(ratios))

    return check


def lowest_ratio(data: Data, configs: Sequence[str]) -> Outcome:
    """The same ratio is above 1."""
    ratios = _ratios(data, configs)
    lowest = float(min(ratios))
    return Outcome(f"{lowest:.2f} times as large at least, in {len(ratios)} settings", lowest, holds=lowest > 1)


def _ratios(data: Data, configs: Sequence[str]) -> npt.NDArray[np.float64]:
    summary = data.frame(configs[0]).dropna(subset=["ast_concept_fraction", "blt_concept_fraction"])
    no_data_if(summary.empty, "no setting has concepts of both kinds")
    ast, blt = (summary[f"{kind}_concept_fraction"].to_numpy() for kind in ("ast", "blt"))
    ratios: npt.NDArray[np.float64] = np.divide(ast, blt, out=np.full(len(ast), np.inf), where=blt > 0)
    return ratios


def cells_give_summary(data: Data, configs: Sequence[str]) -> Outcome:
    """The table of means is that of the cells, up to a last digit."""
    summary, *cells = configs
    settings = [data.mirror.configs[config].setting for config in cells]
    tables = {
        (setting["eps"], setting["cons"]): read_target_checker(data.path(config))
        for setting, config in zip(settings, cells, strict=True)
    }
    keys = ["epsilon", "consistency"]
    expected = summary_table(tables).set_index(keys)
    found = data.frame(summary).set_index(keys)
    if sorted(found.index) != sorted(expected.index):
        return Outcome(f"{len(found)} settings in the table, {len(expected)} with cells", holds=False)
    fractions = [column for column in expected.columns if column.endswith("fraction")]
    gap = float((found.loc[expected.index, fractions] - expected[fractions]).abs().to_numpy().max())
    return Outcome(f"fractions differ by {gap:.1g} at most", gap, holds=gap <= _ROUNDED_AGAIN)


# Rows


def count_rows(data: Data, configs: Sequence[str]) -> Outcome:
    """Rows of a table."""
    rows = len(data.frame(configs[0]))
    return Outcome(f"{rows:,} rows", rows)


def keyword_counts(data: Data, configs: Sequence[str]) -> Outcome:
    """Testable concepts, of which AST nodes, of which builtins."""
    summary = data.frame(configs[0])[["n_testable", "n_ast", "n_builtin"]]
    found = summary.drop_duplicates().to_numpy().tolist()
    counts = " or ".join(f"{n} = {n_ast} + {n_builtin}" for n, n_ast, n_builtin in found)
    return Outcome(f"{counts} in {len(summary)} settings", holds=found == [[58, 24, 34]])


def no_keyword_counts(data: Data, configs: Sequence[str]) -> Outcome:
    """Concepts without a keyword, of which AST nodes, of which builtins."""
    names = data.frame(configs[0])["object"].str
    found = [int(names.startswith(kind).sum()) for kind in ("ast__", "builtin__")]
    return Outcome(f"{sum(found)} = {found[0]} + {found[1]}", holds=found == [19, 29])


def table_shape(data: Data, configs: Sequence[str]) -> Outcome:
    """Rows and layers of every decomposition table."""
    shapes = {(cells["target"].nunique(), cells["layer"].nunique()) for cells in map(data.frame, configs)}
    found = " or ".join(f"{targets} concepts by {layers} layers" for targets, layers in sorted(shapes))
    return Outcome(f"{found} in {len(configs)} setting(s)", holds=shapes == {(58, 8)})


def pairs(data: Data, configs: Sequence[str]) -> Outcome:
    """Pairs that have prompts."""
    count = len(_prompts_of_pairs(data, configs))
    return Outcome(f"{count:,} pairs", count)


def prompts_per_pair(data: Data, configs: Sequence[str]) -> Outcome:
    """Prompts of each pair."""
    sizes = _prompts_of_pairs(data, configs)
    least, most = int(sizes.min()), int(sizes.max())
    return Outcome(
        f"{least} to {most} prompts" if least < most else f"{least} prompts", least, holds=least == most == 50
    )


def _prompts_of_pairs(data: Data, configs: Sequence[str]) -> pd.Series[int]:
    prompts = data.frame(configs[0], ["ast_node", "builtin_obj"])
    no_data_if(prompts.empty, "the table has no rows")
    return prompts.groupby(["ast_node", "builtin_obj"]).size()
