"""Synthetic tables for the pages: code as tokens, influences that fall off at each feature's own pace, hostile text."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.stats

from circuit_artifacts.sae_locality.files import make_table
from circuit_artifacts.schemas.sae_locality import (
    CaseStudy,
    DecoderVector,
    Event,
    GeometryFeature,
    Influence,
    NeuronpediaFeature,
    TopContext,
)

__all__ = ["HOSTILE", "NOTE", "PageData", "page_data"]

NOTE = "regenerated with the bundled model; not the published data"
HOSTILE = (
    "<script>window.stolen = 1</script>",
    '"><img src=x onerror="window.stolen = 1">',
    "</script><script>window.stolen = 1</script>",
    "${window.stolen = 1}{{ 7 * 7 }}%{customdata}",
    "<b>bold</b><br>&lt;i&gt;<a href='javascript:window.stolen = 1'>x</a>",
    "a\u2028b\u2029c",
    "\u202egnp.exe\u2066",
    "\u200b\ufeff\u00ad",
    "\x00\x07\x1b[31m",
    " \t\r\n  ",
    "\u0301e",
    "",
)
"""Texts that do harm, vanish, or turn their neighbours round, where they are not treated as text."""

_DESCRIPTIONS = (
    "closing bracket of a call",
    "name after `def`",
    "indentation of a block, feature 2",
    "indentation of a block, feature 10",
    "colon that ends a condition",
    "docstrings: the second sentence and whatever follows it, up to the list of arguments",
    "operator inside an index",
    None,
    "return of a value that was computed several lines before",
    "string quotes",
)
_GROUPS = ("anchor 1033", "anchor 6810", "anchor 15979", None)
_RUN = "cherry_picked_feature_entropy/20260501_120000"
_STORED = 60  # tokens of a stored context


@dataclass(frozen=True)
class PageData:
    """Tables of one run; every fifth event was not above the threshold, and the last feature has no other."""

    events: pa.Table
    influences: pa.Table
    contexts: pa.Table
    studies: pa.Table
    features: pa.Table
    vectors: pa.Table
    neuronpedia: pa.Table
    groups: dict[int, str]


def page_data(n_features: int, n_events: int, ctx: int, *, hostile: bool = False, seed: int = 0) -> PageData:
    """Feature ids are not in order of anything else.

    Args:
        n_features: number of features.
        n_events: events per feature.
        ctx: context length in tokens.
        hostile: put hostile text in place of tokens, descriptions and tiers.
        seed: of the numbers.
    """
    random = np.random.default_rng(seed)
    ids = sorted(random.choice(10 * n_features, n_features, replace=False).tolist())
    described = [_DESCRIPTIONS[number % len(_DESCRIPTIONS)] for number in range(n_features)]
    tiers: list[str | None] = [("token", "phrase", "concept")[number % 3] for number in range(n_features)]
    if hostile:
        described = [HOSTILE[number % len(HOSTILE)] for number in range(n_features)]
        tiers = [HOSTILE[number % 5] for number in range(n_features)]
    source = re.findall(r" ?\w+|\n *|[^\w\s]| +", inspect.getsource(textwrap))
    events: list[dict[str, Any]] = []
    influences, contexts = [], []
    start = 0
    for number, feature in enumerate(ids):
        reach = float(np.exp(random.uniform(0, np.log(ctx))))
        for rank in range(n_events):
            first = int(random.integers(len(source) - _STORED))
            tokens = ["<bos>", *source[first : first + _STORED]]
            place = int(random.integers(min(ctx, _STORED) // 2, _STORED))
            if hostile:
                tokens[place - len(HOSTILE) : place] = HOSTILE
                tokens[place] = HOSTILE[(number + rank) % len(HOSTILE)]
            back = np.arange(ctx)[::-1]
            influence = (np.exp(-back / reach) * random.gamma(0.6, 1e-3, ctx)).astype(np.float32)
            is_ok = rank % 5 != 4 and (number < n_features - 1 or n_features == 1)
            activation = round(20.0 - rank + float(random.normal()), 3)
            events.append(
                {
                    "feature_id": feature,
                    "tier": tiers[number],
                    "description": described[number],
                    "top_act_rank": rank,
                    "activation_value": activation,
                    "abs_peak": start + place,
                    "ctx_start": start + place - ctx + 1,
                    "H_pos_bits": float(scipy.stats.entropy(influence, base=2)) if is_ok else None,
                    "n_positions": ctx if is_ok else 0,
                    "J_sum": float(influence.sum()) if is_ok else None,
                    "peak_token_str": tokens[place],
                    "status": "ok" if is_ok else "feature_below_threshold_at_peak",
                }
            )
            contexts.append(
                {
                    "feature_id": feature,
                    "rank": rank,
                    "activation": activation,
                    "token_idx": place,
                    "window_start_token": start,
                    "tokens": tokens,
                }
            )
            if is_ok:
                influences.append({"feature_id": feature, "top_act_rank": rank, "influence": influence})
            start += len(tokens)
    keys = [f"{row['feature_id']}_{row['top_act_rank']}" for row in influences]
    measured = ids[:-1] if n_features > 1 else ids
    centres = random.standard_normal((4, 24))
    vectors = [(centres[number % 4] + 0.4 * random.standard_normal(24)).tolist() for number in range(len(measured))]
    return PageData(
        events=_table(Event, events, ctx=ctx),
        influences=_table(Influence, influences, ctx=ctx, key=keys),
        contexts=_table(TopContext, contexts, layer=12),
        studies=_table(
            CaseStudy,
            [{"feature_id": f, "description": d} for f, d in zip(ids[::-1], described[::-1], strict=True)],
            ctx=ctx,
            recall_alt=[None if f % 3 == 0 else round(f % 7 / 7, 3) for f in ids[::-1]],
            run="feature_case_studies/20260503_000000_first",
        ),
        features=_table(
            GeometryFeature,
            [
                {"feature_id": f, "tier": t, "description": d}
                for f, t, d in zip(measured, tiers, described, strict=False)
            ],
            row_idx=list(range(len(measured))),
            n_events=n_events,
            H_pos_mean=3.0,
        ),
        vectors=_table(
            DecoderVector,
            [{"feature_id": f, "vector": v} for f, v in zip(measured, vectors, strict=True)],
            row_idx=list(range(len(measured))),
        ),
        neuronpedia=_table(
            NeuronpediaFeature,
            [{"feature_id": f, "density": 1e-4 * (f % 11), "recall": (f % 5) / 5} for f in ids[::2]],
            model="gemma-2-2b",
            sae="12-gemmascope-res-16k",
            n_activations=n_events,
            raw="{}",
        ),
        groups={f: g for n, f in enumerate(measured) if (g := _GROUPS[n % 4])},
    )


def _table(row: Any, rows: list[dict[str, Any]], *, run: str = _RUN, **columns: Any) -> pa.Table:
    given = {name: [one[name] for one in rows] for name in (rows[0] if rows else ())}
    if row is not NeuronpediaFeature:
        given["run"] = run
    return make_table(row, given | columns, len(rows), width=24)
