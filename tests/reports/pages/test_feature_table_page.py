"""The rows of the feature table against the events, and the JSON that the page gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from page_data import NOTE, page_data
from page_markup import parsed

from circuit_artifacts.reports.pages.feature_table import build_feature_rows, render_feature_table, write_feature_table
from circuit_artifacts.reports.pages.text import visible

CTX = 128
DATA = page_data(9, 10, CTX)
ROWS = build_feature_rows(DATA.events, DATA.influences, ctx=CTX, neuronpedia=DATA.neuronpedia)
EVENTS = DATA.events.to_pylist()


def test_a_row_has_the_statistics_of_the_events_with_an_entropy() -> None:
    assert [row.feature_id for row in ROWS] == sorted({event["feature_id"] for event in EVENTS})
    for row in ROWS[:-1]:
        own = [event for event in EVENTS if event["feature_id"] == row.feature_id and event["status"] == "ok"]
        entropies = np.array([event["H_pos_bits"] for event in own])
        assert row.n_events == len(own) == 8
        assert (row.mean, row.std) == pytest.approx((entropies.mean(), entropies.std()))
        assert (row.least, row.greatest) == (entropies.min(), entropies.max())
        assert row.influence == pytest.approx(np.mean([event["J_sum"] for event in own]))
        assert row.activation == pytest.approx(np.mean([event["activation_value"] for event in own]))
        assert row.diversity == len({event["peak_token_str"] for event in own}) / len(own)
        assert (row.tier, row.description) == (own[0]["tier"], own[0]["description"])


def test_a_feature_without_entropies_has_a_row_of_unknowns() -> None:
    row = ROWS[-1]
    assert row.n_events == 0
    assert {row.mean, row.std, row.least, row.greatest, row.influence, row.activation, row.diversity, row.profile} == {
        None
    }


def test_recall_and_density_come_from_neuronpedia() -> None:
    known = {row["feature_id"]: row for row in DATA.neuronpedia.to_pylist()}
    assert [row.recall for row in ROWS] == [known.get(row.feature_id, {}).get("recall") for row in ROWS]
    assert [row.density for row in ROWS] == [known.get(row.feature_id, {}).get("density") for row in ROWS]


def test_a_profile_is_the_mean_of_what_each_token_has_of_the_influence() -> None:
    for row in ROWS[:-1]:
        own = [r["influence"] for r in DATA.influences.to_pylist() if r["feature_id"] == row.feature_id]
        mean = np.mean([np.array(influence) / np.sum(influence) for influence in own], axis=0)
        assert row.profile == pytest.approx(mean.reshape(64, 2).sum(axis=1))  # 64 stretches of two tokens
        assert sum(row.profile or ()) == pytest.approx(1)


def test_the_page_gets_the_rows_as_json(tmp_path: Path) -> None:
    write_feature_table(ROWS, tmp_path / "feature_table_ctx128.html", title="Features", note=NOTE)
    data = parsed((tmp_path / "feature_table_ctx128.html").read_text(encoding="utf-8")).data
    fields = [column["field"] for column in data["columns"]]
    assert len(data["rows"]) == len(ROWS)
    for cells, row in zip(data["rows"], ROWS, strict=True):
        shown = dict(zip(fields, cells, strict=True))
        assert (shown["feature_id"], shown["n_events"]) == (row.feature_id, row.n_events)
        assert shown["mean"] == (None if row.mean is None else pytest.approx(row.mean, rel=1e-5))
        assert shown["description"] == row.description
        if row.profile is None:
            assert shown["profile"] is None
        else:
            heights = np.sqrt(np.array(row.profile) / max(row.profile))
            assert shown["profile"] == np.rint(100 * heights).astype(int).tolist()


def test_columns_that_no_feature_has_are_left_out() -> None:
    rows = build_feature_rows(DATA.events, ctx=CTX)
    fields = {column["field"] for column in parsed(render_feature_table(rows, title="", note="")).data["columns"]}
    assert not fields & {"recall", "density", "profile"}
    assert {"tier", "description", "diversity"} <= fields


def test_hostile_text_makes_no_element() -> None:
    hostile = page_data(12, 5, 32, hostile=True)
    rows = build_feature_rows(hostile.events, hostile.influences, ctx=32)
    page = parsed(render_feature_table(rows, title="", note=""))
    ours = parsed(render_feature_table(ROWS, title="", note=""))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in ours.elements}
    place = [column["field"] for column in page.data["columns"]].index("description")
    expected = [None if row.description is None else visible(row.description) for row in rows]
    assert [cells[place] for cells in page.data["rows"]] == expected


def test_a_run_without_events_is_an_empty_table() -> None:
    rows = build_feature_rows(DATA.events, DATA.influences, ctx=16)
    assert rows == []
    assert parsed(render_feature_table(rows, title="", note="")).data["rows"] == []
