"""Rows of SAE locality with chosen numbers, for tests of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.text
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

from circuit_artifacts.schemas.common import ArtifactModel, arrow_schema
from circuit_artifacts.schemas.sae_locality import (
    DepthFeature,
    DepthWindow,
    Event,
    Influence,
    SweepFeature,
    SweepLength,
)

__all__ = [
    "CONTEXT",
    "HOSTILE",
    "SEED",
    "depth_features",
    "depth_windows",
    "events",
    "influences",
    "lengths",
    "random_depth",
    "random_events",
    "sweep",
    "texts",
]

SEED, CONTEXT = 0, 8
RUN = "pythia-70m/wikitext/20260427_105943"
HOSTILE = (
    "$x^2$ and $\\frac{1}{0}$ and a lone $",
    "\\alpha \\$5 %s {0} ^_~#&",
    "_leading underscore",
    "line\nbreak\r\ttab\x00null\x1b[31m\x7f\u2028",
    "汉字 🎉 \U0010ffff \u202eright to left \u200b",
    "W" * 5000,
    "a\u0301" * 300,
    "𒐫" * 50,
    "null",
    "",
    None,
)
"""Descriptions and names that matplotlib would read as mathematics, warn of, or push out of the picture."""


def depth_features(rows: Sequence[tuple[int, int, int, float, float | None]], **changes: Any) -> pa.Table:
    """`DepthFeature` from (layer, batch_idx, feature_id, entropy, activation); all look at the last token only."""
    names = ("layer", "batch_idx", "feature_id", "entropy_bits", "activation")
    common = {"run": RUN, "preset": "pythia-70m", "dataset": "wikitext", "start_idx": 0, "J_sum": 1.0}
    influence = [0.0] * (CONTEXT - 1) + [1.0]
    return _table(
        DepthFeature, [common | {"influence": influence} | dict(zip(names, row, strict=True)) | changes for row in rows]
    )


def depth_windows(rows: Sequence[tuple[int, int, float | None]], **changes: Any) -> pa.Table:
    """`DepthWindow` from (layer, batch_idx, token-vector entropy)."""
    common = {"run": RUN, "preset": "pythia-70m", "dataset": "wikitext", "context_len": CONTEXT, "sae_arch": "relu"}
    common |= {"start_idx": 640, "num_active_features": 0, "token_influence": [1.0] * CONTEXT}
    names = ("layer", "batch_idx", "token_entropy_bits")
    return _table(DepthWindow, [common | dict(zip(names, row, strict=True)) | changes for row in rows])


def random_depth(layers: Sequence[int], *, n_features: int = 30, **changes: Any) -> tuple[pa.Table, pa.Table]:
    """Three windows per layer, in each of which every feature is active."""
    random = np.random.default_rng(SEED)
    most = np.log2(CONTEXT)
    features = [
        (layer, batch, feature, random.uniform(0, most), random.uniform(0, 5))
        for layer in layers
        for batch in range(3)
        for feature in range(n_features)
    ]
    windows = [(layer, batch, random.uniform(0, most)) for layer in layers for batch in range(3)]
    return depth_features(features, **changes), depth_windows(windows, **changes)


def events(rows: Sequence[tuple[int, int, float | None]], **changes: Any) -> pa.Table:
    """`Event` from (ctx, feature_id, H_pos); ranks count up within a feature, no entropy means a failed event."""
    found, ranks = [], dict[tuple[int, int], int]()
    for ctx, feature, entropy in rows:
        rank = ranks[ctx, feature] = ranks.get((ctx, feature), -1) + 1
        status = "ok" if entropy is not None else "feature_below_threshold_at_peak"
        row = {"run": "events/20260501_120000", "ctx": ctx, "feature_id": feature, "top_act_rank": rank}
        found.append(row | {"H_pos_bits": entropy, "status": status} | changes)
    return _table(Event, found)


def influences(rows: Sequence[tuple[int, int, Sequence[float]]], **changes: Any) -> pa.Table:
    """`Influence` from (ctx, feature_id, J)."""
    found = []
    for rank, (ctx, feature, influence) in enumerate(rows):
        row = {"run": "events/20260501_120000", "ctx": ctx, "feature_id": feature, "top_act_rank": rank}
        found.append(row | {"key": f"{feature}_{rank}", "influence": list(influence)} | changes)
    return _table(Influence, found)


def random_events(n_features: int, *, ctxs: Sequence[int] = (CONTEXT,), n_events: int = 4) -> pd.DataFrame:
    """Features whose entropies grow with their id on the whole."""
    random = np.random.default_rng(SEED)
    rows = [
        (ctx, feature, float(np.clip(random.normal((feature + 1) / (n_features + 1), 0.1), 0, 1) * np.log2(ctx)))
        for ctx in ctxs
        for feature in range(n_features)
        for _ in range(n_events)
    ]
    return events(rows).to_pandas()


def sweep(rows: Sequence[tuple[int, int, int, float]], **changes: Any) -> pa.Table:
    """`SweepFeature` from (layer, context_len, feature_id, entropy)."""
    names = ("layer", "context_len", "feature_id", "entropy_bits")
    common = {"run": "ctxlen_xmodel_fineweb/20260510_101010", "preset": "gpt2-small", "dataset": "fineweb"}
    return _table(SweepFeature, [common | dict(zip(names, row, strict=True)) | changes for row in rows])


def lengths(rows: Sequence[tuple[int, int, float | None]], **changes: Any) -> pa.Table:
    """`SweepLength` from (layer, context_len, token-vector entropy)."""
    names = ("layer", "context_len", "token_entropy_bits")
    common = {"run": "ctxlen_xmodel_fineweb/20260510_101010", "preset": "gpt2-small", "dataset": "fineweb"}
    common |= {"num_active_features": 0}
    return _table(SweepLength, [common | dict(zip(names, row, strict=True)) | changes for row in rows])


def texts(figure: Figure) -> str:
    """Everything that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def _table(row: type[ArtifactModel], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(row))
