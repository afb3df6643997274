"""The page of case studies: a card per feature, with its entropies and where it looks in its strongest contexts.

Each token is tinted by its influence (locality spec 4.13).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.pages.greens import N_TINTS, tint_level, tint_rules
from circuit_artifacts.reports.pages.measured import Measured, check_one_run, feature_texts, measured_events
from circuit_artifacts.reports.pages.rendering import file_text, render_page, write_text

__all__ = ["Card", "Context", "Token", "build_cards", "render_feature_cards", "write_feature_cards"]

N_BINS = 24


@dataclass(frozen=True)
class Token:
    """One token of a window.

    Attributes:
        text: what it says; None if that is not stored.
        share: its part of the influence of the window, J / sum J.
        tint: sqrt(J / max J), 0 to 1.
    """

    text: str | None
    share: float
    tint: float

    @property
    def level(self) -> int:
        """Which of the page's greens it gets."""
        return tint_level(self.tint)


@dataclass(frozen=True)
class Context:
    """One event of a feature.

    Attributes:
        rank: of the event among the feature's, from 0.
        activation: of the feature at the last token; None if unknown.
        entropy: of the influence, bits.
        tokens: of the window, oldest first; the last is the one on which the feature is active.
    """

    rank: int
    activation: float | None
    entropy: float
    tokens: tuple[Token, ...]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One feature.

    Attributes:
        feature_id: its number in the autoencoder.
        description: in words; None if it has none.
        tier: retired label of the feature set; None if it has none.
        ctx: context length in tokens.
        mean: of the entropies, bits; None if unknown.
        std: their population standard deviation, bits; None if unknown.
        n_events: number of events that have an entropy.
        recall: score of the description; None if unknown.
        histogram: number of events in each of 24 equal bins of [0, log2 ctx].
        contexts: the events of highest activation, highest first.
    """

    feature_id: int
    description: str | None
    tier: str | None
    ctx: int
    mean: float | None
    std: float | None
    n_events: int
    recall: float | None
    histogram: tuple[int, ...]
    contexts: tuple[Context, ...]

    @property
    def top(self) -> float:
        """The greatest possible entropy, bits."""
        return math.log2(self.ctx)


def build_cards(
    events: pa.Table,
    influences: pa.Table,
    top_contexts: pa.Table,
    case_studies: pa.Table | None = None,
    *,
    ctx: int,
    n_contexts: int = 5,
) -> list[Card]:
    """Put the cards together.

    The tokens of a window are those of the stored context, counted back from its peak. Where the window begins before
    the stored tokens do, the text stays unknown: in a corpus put together from events, foreign text stands there.

    Args:
        events: rows of `Event` of one run; an event without an entropy is left out.
        influences: rows of `Influence` of the same run; an event without one is not shown as a context.
        top_contexts: rows of `TopContext` of the same run.
        case_studies: rows of `CaseStudy` of one page: which features, in which order, with their recall, and the
            statistics of features that have no events here. Without it, all features, ascending.
        ctx: context length in tokens, above 1.
        n_contexts: most contexts per card.

    Raises:
        SchemaError: rows of several runs, two rows of one event, an influence of another length, case studies at
            another context length, or a stored context that is not that of its event.
    """
    check_one_run(events, influences, top_contexts)
    measured = measured_events(events, influences, ctx=ctx)
    texts = [feature_texts(events, "description"), feature_texts(events, "tier")]
    studies = _studies(case_studies, measured)
    stored = _stored_contexts(top_contexts, [study["feature_id"] for study in studies])
    return [
        _card(measured, stored, study, *(known.get(study["feature_id"]) for known in texts), n_contexts=n_contexts)
        for study in studies
    ]


def render_feature_cards(cards: Sequence[Card], *, title: str, note: str) -> str:
    """The page as text.

    Args:
        cards: in the order in which the page shows them at first.
        title: of the page.
        note: where the numbers are from.
    """
    return render_page(
        "feature_cards.html.j2",
        title=title,
        note=note,
        styles=[file_text("feature_cards.css"), tint_rules()],
        scripts=[file_text("feature_cards.js")],
        cards=cards,
        n_tints=N_TINTS,
        has_unknown=any(token.text is None for card in cards for context in card.contexts for token in context.tokens),
    )


def write_feature_cards(cards: Sequence[Card], path: str | os.PathLike[str], *, title: str, note: str) -> None:
    """Write the page; arguments as :func:`render_feature_cards`.

    Raises:
        OSError: it cannot be written.
    """
    write_text(render_feature_cards(cards, title=title, note=note), path)


def _studies(case_studies: pa.Table | None, measured: Measured) -> list[Mapping[str, Any]]:
    """One row of `CaseStudy` per card, or as much of it as is known."""
    if case_studies is None:
        return [{"feature_id": feature} for feature in measured.features.tolist()]
    check_one_run(case_studies)
    lengths = set(case_studies["ctx"].unique().drop_null().to_pylist())
    if not lengths <= {measured.ctx}:
        problem = "the case studies are at another context length"
        raise SchemaError(problem, where="ctx", found=sorted(lengths), expected=measured.ctx)
    rows: list[Mapping[str, Any]] = case_studies.to_pylist()
    return rows


def _card(
    measured: Measured,
    stored: Mapping[tuple[int, int], Mapping[str, Any]],
    study: Mapping[str, Any],
    description: str | None,
    tier: str | None,
    *,
    n_contexts: int,
) -> Card:
    feature = study["feature_id"]
    rows = measured.rows_of(feature)
    entropy = measured.entropy[rows]
    top = math.log2(measured.ctx)
    # Rounding can put an entropy a little outside; it is still that of the outermost bin.
    histogram, _ = np.histogram(entropy.clip(0, top), bins=N_BINS, range=(0, top))
    return Card(
        feature_id=feature,
        description=study.get("description") or description,
        tier=study.get("tier") or tier,
        ctx=measured.ctx,
        mean=float(entropy.mean()) if len(entropy) else study.get("mean_h_pos"),
        std=float(entropy.std()) if len(entropy) else study.get("std_h_pos"),
        n_events=len(entropy),
        recall=study.get("recall_alt"),
        histogram=tuple(histogram.tolist()),
        contexts=tuple(_contexts(measured, stored, rows, n_contexts)),
    )


def _contexts(
    measured: Measured, stored: Mapping[tuple[int, int], Mapping[str, Any]], rows: slice, n_contexts: int
) -> Iterator[Context]:
    events = measured.table.slice(rows.start, rows.stop - rows.start).to_pylist()
    shares = measured.shares(rows)
    tints = np.sqrt(shares / np.maximum(shares.max(axis=1, keepdims=True), np.finfo(np.float64).tiny))
    with_influence = np.flatnonzero(~np.isnan(shares).any(axis=1)).tolist()
    for number in sorted(with_influence, key=lambda number: _strength(events[number]))[:n_contexts]:
        event = events[number]
        texts = _token_texts(event, stored.get((event["feature_id"], event["top_act_rank"])), measured.ctx)
        yield Context(
            rank=event["top_act_rank"],
            activation=event["activation_value"],
            entropy=event["H_pos_bits"],
            tokens=tuple(map(Token, texts, shares[number].tolist(), tints[number].tolist())),
        )


def _strength(event: Mapping[str, Any]) -> float:
    """Sorts the strongest first, the unknown last, and equals by rank."""
    activation = event["activation_value"]
    return math.inf if activation is None else -activation


def _token_texts(event: Mapping[str, Any], context: Mapping[str, Any] | None, ctx: int) -> list[str | None]:
    """The text of every token of the window, oldest first."""
    if context is None:
        return [None] * (ctx - 1) + [event["peak_token_str"]]
    start, place, peak = context["window_start_token"], context["token_idx"], event["abs_peak"]
    if not 0 <= place < len(context["tokens"]) or (None not in (start, peak) and start + place != peak):
        problem = "the stored context is not that of the event"
        where = f"feature {event['feature_id']}, rank {event['top_act_rank']}"
        found = f"token {place} of {len(context['tokens'])}, window at {start}"
        raise SchemaError(problem, where=where, found=found, expected=f"its peak at {peak}")
    known: list[str | None] = context["tokens"][: place + 1][-ctx:]
    return [None] * (ctx - len(known)) + known


def _stored_contexts(top_contexts: pa.Table, features: Sequence[int]) -> dict[tuple[int, int], Mapping[str, Any]]:
    """Those of some features, by feature and rank."""
    chosen = top_contexts.filter(pc.is_in(top_contexts["feature_id"], pa.array(features, pa.int32())))
    columns = chosen.select(["feature_id", "rank", "token_idx", "window_start_token", "tokens"])
    return {(row["feature_id"], row["rank"]): row for row in columns.to_pylist()}
