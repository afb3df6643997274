"""The numbers of entropy figures: means per feature, top features by a named rule, quartiles (locality spec 5.9).

Everything is grouped by column, so that tables of millions of rows take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.reports.locality.tables import Floats, Frame, columns, distinct, only

__all__ = [
    "N_TOP",
    "RULES",
    "DepthSummary",
    "LayerEntropies",
    "Rule",
    "depth_summary",
    "per_feature_means",
    "quartiles",
    "shares",
    "token_means",
    "top_features",
]

Rule: TypeAlias = Literal["most_windows", "largest_activation_sum", "highest_entropy"]

RULES: Mapping[Rule, str] = MappingProxyType(
    {
        "most_windows": "active in most windows",
        "largest_activation_sum": "largest summed activation",
        "highest_entropy": "highest mean entropy",
    }
)
"""The three published rules for the "top" features of a layer, in words for a legend (locality spec 5.9 a, b, c)."""

N_TOP: Final = 20
_EPSILON: Final = 1e-12
_ORDER: Mapping[Rule, tuple[str, ...]] = MappingProxyType(
    {
        "most_windows": ("n_windows", "entropy_bits"),
        "largest_activation_sum": ("activation_sum",),
        "highest_entropy": ("entropy_bits",),
    }
)


def per_feature_means(features: Frame) -> pd.DataFrame:
    """The mean entropy of every feature over the windows in which it is active.

    Args:
        features: rows of `DepthFeature`, of any number of layers.

    Returns:
        One row per layer and feature, ascending: ``layer``, ``feature_id``; ``entropy_bits``, NaN if no window has one;
        ``n_windows`` in which it is active; ``activation_sum`` over them, NaN if no activation is known.
    """
    rows = columns(features, ("layer", "feature_id", "entropy_bits", "activation"))
    rows = rows.astype({"entropy_bits": np.float64, "activation": np.float64})
    grouped = rows.groupby(["layer", "feature_id"], sort=True)
    means = {
        "entropy_bits": grouped["entropy_bits"].mean(),
        "n_windows": grouped.size(),
        "activation_sum": grouped["activation"].sum(min_count=1),
    }
    return pd.DataFrame(means).reset_index()


def top_features(means: pd.DataFrame, rule: Rule, n: int = N_TOP) -> pd.DataFrame:
    """The first features of every layer by a rule; ties are broken by higher entropy (rule a), then by lower id (ours).

    Args:
        means: as `per_feature_means` gives them.
        rule: a name in `RULES`.
        n: how many of each layer.

    Returns:
        Their rows, in the order of the rule within each layer. A feature without a mean entropy, or without the value
        that the rule compares, is not among them.

    Raises:
        UnknownNameError: no such rule.
    """
    if rule not in _ORDER:
        problem = f"there is no rule {rule!r} for top features"
        raise UnknownNameError(problem, expected=", ".join(_ORDER))
    order = list(_ORDER[rule])
    comparable = means.dropna(subset=["entropy_bits", *order])
    ascending = [True, *(False for _ in order), True]
    ordered = comparable.sort_values(["layer", *order, "feature_id"], ascending=ascending, kind="stable")
    return ordered.groupby("layer", sort=False).head(n).reset_index(drop=True)


def token_means(windows: Frame) -> pd.Series:
    """The mean token-vector entropy of every layer over its windows, in bits: float64 by layer, NaN if none is known.

    Args:
        windows: rows of `DepthWindow`.
    """
    rows = columns(windows, ("layer", "token_entropy_bits")).astype({"token_entropy_bits": np.float64})
    return rows.groupby("layer", sort=True)["token_entropy_bits"].mean()


def quartiles(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean and quartiles within groups; percentiles are interpolated linearly.

    Args:
        rows: at least the columns named here; rows with a missing value do not count.
        by: columns whose values make a group.
        value: a column of numbers.

    Returns:
        One row per group that has a value, ascending: the columns of ``by``, ``n``, ``mean``, ``lower``, ``median`` and
        ``upper``.
    """
    grouped = rows.dropna(subset=[value]).groupby(list(by), sort=True)[value]
    found = {"n": grouped.size(), "mean": grouped.mean()}
    found |= {name: grouped.quantile(q) for name, q in (("lower", 0.25), ("median", 0.5), ("upper", 0.75))}
    return pd.DataFrame(found).reset_index()


def shares(influence: Floats) -> Floats:
    """Influences as shares of their sum, which is 1 (locality spec 5.1 step 6); all-zero influences give equal shares.

    Args:
        influence: float64 (..., T), not negative.
    """
    padded = influence + _EPSILON
    normalised: Floats = padded / padded.sum(axis=-1, keepdims=True)
    return normalised


@dataclass(frozen=True)
class LayerEntropies:
    """One layer of an entropy-versus-depth figure.

    Attributes:
        layer: its index in the model.
        features: bits, float64 (n,): per-feature means over windows, by feature id; those without a mean are left out.
        token: mean token-vector entropy over windows; NaN if unknown.
        top: mean of the top features; NaN if there are none.
    """

    layer: int
    features: Floats
    token: float
    top: float

    @property
    def median(self) -> float:
        """Median of ``features``; NaN if there are none."""
        return float(np.median(self.features)) if len(self.features) else np.nan


@dataclass(frozen=True)
class DepthSummary:
    """What an entropy-versus-depth figure shows of one run.

    Attributes:
        layers: in ascending order.
        n_windows: of the layer that has most.
        context_len: tokens per window; None if unknown.
        sae_arch: of the autoencoders, as found by the run; None if unknown.
        sae_encode: how features were computed, where the rows say so.
        rule: by which the top features were chosen.
        n_top: how many of each layer at most.
    """

    layers: tuple[LayerEntropies, ...]
    n_windows: int
    context_len: int | None
    sae_arch: str | None
    sae_encode: str | None
    rule: Rule
    n_top: int

    @property
    def n_features(self) -> list[int]:
        """Features with a mean entropy, by layer."""
        return [len(layer.features) for layer in self.layers]


def depth_summary(features: Frame, windows: Frame, *, rule: Rule, n_top: int = N_TOP) -> DepthSummary:
    """Summarise a depth run by layer.

    Args:
        features: rows of `DepthFeature` of one run.
        windows: rows of `DepthWindow` of the same run; they say which layers there are, with active features or not.
        rule: a name in `RULES`.
        n_top: how many top features to average.

    Raises:
        SchemaError: no windows, a missing column, or rows of several runs or context lengths.
        UnknownNameError: no such rule.
    """
    only("run", features, windows)
    tokens = token_means(windows)
    if tokens.empty:
        problem = "there is no window to draw"
        raise SchemaError(problem, where="windows", found="no rows", expected="at least one layer")
    means = per_feature_means(features)
    tops = top_features(means, rule, n_top).groupby("layer")["entropy_bits"].mean()
    known = means.dropna(subset=["entropy_bits"])
    layers = sorted({*tokens.index.tolist(), *known["layer"].unique().tolist()})
    context_len = only("context_len", windows)
    counts = columns(windows, ("layer", "batch_idx")).groupby("layer")["batch_idx"].nunique()
    return DepthSummary(
        layers=tuple(
            LayerEntropies(
                layer=layer,
                features=known.loc[known["layer"] == layer, "entropy_bits"].to_numpy(),
                token=float(tokens.get(layer, np.nan)),
                top=float(tops.get(layer, np.nan)),
            )
            for layer in layers
        ),
        n_windows=int(counts.to_numpy().max()),
        context_len=None if context_len is None else int(context_len),
        sae_arch=", ".join(distinct(windows, "sae_arch")) or None,
        sae_encode=", ".join(distinct(windows, "sae_encode")) or None,
        rule=rule,
        n_top=n_top,
    )
