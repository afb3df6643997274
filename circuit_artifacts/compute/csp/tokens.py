"""Token independence: the decomposition of stage 14 as one row per concept and layer (csp_atlas spec 7.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit_artifacts.compute.csp.decomposition import compare_concepts
from circuit_artifacts.compute.csp.masks import MaskArray
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, split_concept

__all__ = ["TokenIndependence", "no_keyword_table", "token_independence"]

_KEYS = ["object", "type", "keyword"]
_MEANS = ["concept_fraction", "token_fraction", "A_size", "A_and_B", "A_only", "B_only"]


class TokenIndependence(NamedTuple):
    """The three ``token_independence_*.csv`` tables, columns and row order of csp_atlas spec 1.8.

    Attributes:
        summary: one row per testable concept, means over its layers with 4 decimals, most independent concept first.
        detail: one row per testable concept (ASCII order) and layer.
        no_keyword: one row per concept that has a universal mask but no keyword.
    """

    summary: pd.DataFrame
    detail: pd.DataFrame
    no_keyword: pd.DataFrame


def token_independence(
    concepts: Sequence[str], universal: MaskArray, checker_concepts: Sequence[str], checker: MaskArray
) -> TokenIndependence:
    """Compare universal masks (A) with token-checker masks (B).

    Both should come from the same setting; the arrays cannot tell.

    Args:
        concepts: keys of the universal masks.
        universal: A, bool (C, L, W).
        checker_concepts: keys of the checker masks.
        checker: B, bool (K, L, W).

    Raises:
        SchemaError: not stacks of masks with one key each, or with different layers or widths. Unlike stage 14, this
            comparison does not fill in a layer that is missing.
    """
    testable, parts = compare_concepts(concepts, universal, checker_concepts, checker)
    n_concepts, n_layers = parts.shared.shape
    detail = pd.DataFrame(
        {
            "A_size": parts.concept_size.ravel(),
            "B_size": parts.token_size.ravel(),
            "A_only": parts.concept_only.ravel(),
            "A_and_B": parts.shared.ravel(),
            "B_only": parts.token_only.ravel(),
            "token_fraction": parts.token_fraction.ravel(),
            "concept_fraction": parts.concept_fraction.ravel(),
            "object": np.repeat(np.array(testable, dtype=object), n_layers),
            "type": np.repeat(np.array([split_concept(name)[0] for name in testable], dtype=object), n_layers),
            "keyword": np.repeat(np.array([KEYWORDS[name].keyword for name in testable], dtype=object), n_layers),
            "layer": np.tile(np.arange(n_layers), n_concepts),
        }
    )
    means = detail.groupby(_KEYS, as_index=False)[_MEANS].mean().round(4)
    # The published sort is unstable; a stable one makes ties come out in ASCII order every time.
    summary = means.sort_values("concept_fraction", ascending=False, kind="stable", ignore_index=True)
    return TokenIndependence(summary, detail, no_keyword_table(concepts))


def no_keyword_table(concepts: Iterable[str]) -> pd.DataFrame:
    """The concepts that no single word names, in ASCII order (csp_atlas spec 1.8, 2.5)."""
    unnamed = sorted(set(concepts) - KEYWORDS.keys())
    return pd.DataFrame({"object": unnamed, "status": ["no_keyword"] * len(unnamed)}, dtype=object)
