"""The cards' numbers against the tables, and what the page holds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from locality_fixture import EVENTS, LEAKS, names_in, write_locality
from page_data import HOSTILE, NOTE, page_data
from page_markup import parsed

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.pages.cards import Card, build_cards, render_feature_cards, write_feature_cards
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

CTX = 64
DATA = page_data(6, 12, CTX)
CARDS = build_cards(DATA.events, DATA.influences, DATA.contexts, ctx=CTX)


def ok_rows(feature: int) -> list[dict[str, object]]:
    return [row for row in DATA.events.to_pylist() if row["feature_id"] == feature and row["status"] == "ok"]


def changed(table: pa.Table, **columns: object) -> pa.Table:
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, table.schema.field(index), pa.array([value] * len(table), table.schema.field(index).type)
        )
    return table


def test_a_card_has_the_statistics_of_the_events_with_an_entropy() -> None:
    assert [card.feature_id for card in CARDS] == sorted(set(DATA.events["feature_id"].to_pylist()))
    for card in CARDS[:-1]:
        entropies = [row["H_pos_bits"] for row in ok_rows(card.feature_id)]
        assert card.n_events == len(entropies) == 10
        assert card.mean == pytest.approx(np.mean(entropies))
        assert card.std == pytest.approx(np.std(entropies))  # of the population
        edges = np.linspace(0, math.log2(CTX), 25)
        expected = [sum(low <= h < high for h in entropies) for low, high in pairwise(edges)]
        assert list(card.histogram) == expected
        assert card.description == ok_rows(card.feature_id)[0]["description"]


def test_a_feature_without_entropies_has_a_card_that_says_so() -> None:
    card = CARDS[-1]
    assert (card.n_events, card.mean, card.std, card.contexts) == (0, None, None, ())
    assert sum(card.histogram) == 0


def test_an_entropy_at_the_top_counts_in_the_last_bin() -> None:
    events = changed(DATA.events, H_pos_bits=math.log2(CTX) + 1e-6)
    card = build_cards(events, DATA.influences, DATA.contexts, ctx=CTX)[0]
    assert card.histogram == (0,) * 23 + (card.n_events,)


def test_contexts_are_the_five_of_highest_activation() -> None:
    for card in CARDS[:-1]:
        strongest = sorted(ok_rows(card.feature_id), key=lambda row: -row["activation_value"])[:5]
        assert [context.rank for context in card.contexts] == [row["top_act_rank"] for row in strongest]
        assert [context.activation for context in card.contexts] == [row["activation_value"] for row in strongest]
        assert [context.entropy for context in card.contexts] == [row["H_pos_bits"] for row in strongest]


def test_equal_activations_keep_the_order_of_ranks_and_unknown_ones_come_last() -> None:
    events = changed(DATA.events, activation_value=2.0)
    card = build_cards(events, DATA.influences, DATA.contexts, ctx=CTX)[0]
    assert [context.rank for context in card.contexts] == [0, 1, 2, 3, 5]  # 4 was below the threshold
    index = events.schema.get_field_index("activation_value")
    unknown = pc.if_else(pc.less(events["top_act_rank"], 2), None, events["activation_value"])
    events = events.set_column(index, events.schema.field(index), unknown)
    card = build_cards(events, DATA.influences, DATA.contexts, ctx=CTX, n_contexts=20)[0]
    assert [context.rank for context in card.contexts] == [2, 3, 5, 6, 7, 8, 10, 11, 0, 1]


def test_each_token_has_its_part_of_the_influence() -> None:
    vectors = {(r["feature_id"], r["top_act_rank"]): np.array(r["influence"]) for r in DATA.influences.to_pylist()}
    for card in CARDS[:-1]:
        for context in card.contexts:
            influence = vectors[card.feature_id, context.rank]
            assert len(context.tokens) == CTX
            np.testing.assert_allclose([t.share for t in context.tokens], influence / influence.sum(), rtol=1e-6)
            np.testing.assert_allclose(
                [t.tint for t in context.tokens], np.sqrt(influence / influence.max()), rtol=1e-6
            )


def test_tokens_are_aligned_at_the_peak_and_never_guessed() -> None:
    stored = {(row["feature_id"], row["rank"]): row for row in DATA.contexts.to_pylist()}
    unknown = 0
    for card in CARDS[:-1]:
        for context in card.contexts:
            row = stored[card.feature_id, context.rank]
            texts = [token.text for token in context.tokens]
            for back in range(CTX):
                place = row["token_idx"] - back
                assert texts[CTX - 1 - back] == (row["tokens"][place] if place >= 0 else None)
            unknown += texts.count(None)
    assert unknown > 0


def test_an_event_without_a_stored_context_shows_only_its_peak() -> None:
    card = build_cards(DATA.events, DATA.influences, DATA.contexts.slice(0, 0), ctx=CTX)[0]
    peak = {row["top_act_rank"]: row["peak_token_str"] for row in ok_rows(card.feature_id)}
    for context in card.contexts:
        assert [token.text for token in context.tokens] == [None] * (CTX - 1) + [peak[context.rank]]


def test_no_influence_at_all_tints_nothing() -> None:
    index = DATA.influences.schema.get_field_index("influence")
    field = DATA.influences.schema.field(index)
    nothing = DATA.influences.set_column(index, field, pa.array([[0.0] * CTX] * len(DATA.influences), field.type))
    card = build_cards(DATA.events, nothing, DATA.contexts, ctx=CTX)[0]
    assert {(token.share, token.level) for token in card.contexts[0].tokens} == {(0.0, 0)}


def test_case_studies_choose_the_features_and_their_order() -> None:
    studies = changed(DATA.studies.slice(0, 3), mean_h_pos=9.0, std_h_pos=0.5)
    cards = build_cards(DATA.events, DATA.influences, DATA.contexts, studies, ctx=CTX)
    assert [card.feature_id for card in cards] == studies["feature_id"].to_pylist()
    assert [card.recall for card in cards] == studies["recall_alt"].to_pylist()
    by_id = {card.feature_id: card for card in CARDS}
    assert cards[1].mean == by_id[cards[1].feature_id].mean  # of the events that the card shows
    assert (cards[0].n_events, cards[0].mean, cards[0].std) == (0, 9.0, 0.5)  # there are none: as stated


def test_tables_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(SchemaError, match="several runs"):
        build_cards(DATA.events, changed(DATA.influences, run="another"), DATA.contexts, ctx=CTX)
    with pytest.raises(SchemaError, match="2 rows are of the same event"):
        build_cards(pa.concat_tables([DATA.events, DATA.events]), DATA.influences, DATA.contexts, ctx=CTX)
    with pytest.raises(SchemaError, match="one value per token"):
        build_cards(changed(DATA.events, ctx=32), changed(DATA.influences, ctx=32), DATA.contexts, ctx=32)
    with pytest.raises(SchemaError, match="negative or not finite"):
        vectors = changed(DATA.influences, influence=[math.nan] * CTX)
        build_cards(DATA.events, vectors, DATA.contexts, ctx=CTX)
    with pytest.raises(SchemaError, match="another context length"):
        build_cards(DATA.events, DATA.influences, DATA.contexts, changed(DATA.studies, ctx=32), ctx=CTX)
    with pytest.raises(SchemaError, match="not that of the event"):
        build_cards(DATA.events, DATA.influences, changed(DATA.contexts, window_start_token=7), ctx=CTX)


def test_the_page_shows_every_card_and_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        cards = build_cards(DATA.events, DATA.influences, DATA.contexts, ctx=CTX)
        write_feature_cards(cards, tmp_path / name, title="Case studies", note=NOTE)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    page = parsed((tmp_path / "first").read_text(encoding="utf-8"))
    assert page.title == "Case studies"
    assert [attributes["data-id"] for tag, attributes in page.elements if tag == "article"] == [
        str(card.feature_id) for card in CARDS
    ]
    tokens = [attributes for tag, attributes in page.elements if tag == "bdi" and "title" in attributes]
    shown = [token for card in CARDS for context in card.contexts for token in context.tokens]
    assert len(tokens) == len(shown)
    for attributes, token in zip(tokens, shown, strict=True):
        classes = (attributes["class"] or "").split()
        assert (f"g{token.level}" in classes) == (token.level > 0)
        assert ("unknown" in classes) == (token.text is None)
        assert (attributes["title"] or "").startswith(f"{100 * token.share:.1f} % of J at ")
    assert sum("peak" in (attributes["class"] or "") for attributes in tokens) == sum(len(c.contexts) for c in CARDS)


def test_hostile_text_makes_no_element() -> None:
    data = page_data(12, 6, CTX, hostile=True)
    cards = build_cards(data.events, data.influences, data.contexts, data.studies, ctx=CTX)
    ours = parsed(render_feature_cards(CARDS, title="t", note=NOTE))
    page = parsed(render_feature_cards(cards, title=HOSTILE[2], note=HOSTILE[1]))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in ours.elements}
    assert page.attribute_names <= ours.attribute_names
    assert page.title == HOSTILE[2]


def test_a_page_without_cards_is_a_page() -> None:
    assert parsed(render_feature_cards([], title="none", note=NOTE)).title == "none"


def test_published_files_make_cards_and_nothing_of_their_machine_is_told(tmp_path: Path) -> None:
    folder = write_locality(tmp_path / "published")

    def read(name: str, file: str) -> pa.Table:
        files = [RepositoryFile(folder / one, one) for one in names_in(folder) if one.startswith(EVENTS)]
        own = next(one for one in files if one.path.name == file)
        return TABLES[name].read(own, [one for one in files if one.place.kind in TABLES[name].beside])

    tables = [
        read("events", "ctx016.csv"),
        read("influences", "influences_ctx016.npz"),
        read("top_contexts", "top_contexts_layer12.json"),
    ]
    cards: list[Card] = build_cards(*tables, ctx=16)
    assert [card.feature_id for card in cards] == [3, 17, 40, 71, 90]
    peaks = {(row["feature_id"], row["top_act_rank"]): row["peak_token_str"] for row in tables[0].to_pylist()}
    for card in cards:
        for context in card.contexts:
            assert context.tokens[-1].text == peaks[card.feature_id, context.rank]
    page = render_feature_cards(cards, title="Case studies", note=NOTE)
    assert not any(leak in page for leak in (*LEAKS, str(tmp_path)))
