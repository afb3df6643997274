"""The pages in Chromium: they open from the disk, ask for nothing, sort, filter and show text as text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_data import HOSTILE, NOTE, page_data

from circuit_artifacts.reports.pages.cards import build_cards, write_feature_cards
from circuit_artifacts.reports.pages.clusters import ClusterPoint, Clusters, build_clusters, write_clusters
from circuit_artifacts.reports.pages.feature_table import build_feature_rows, write_feature_table
from circuit_artifacts.reports.pages.text import visible, visible_pieces

if TYPE_CHECKING:
    from browser import Browser

CTX = 64
DASH = "\N{EN DASH}"
DATA = page_data(24, 6, CTX)
EVIL = page_data(12, 4, CTX, hostile=True)
CARDS = build_cards(DATA.events, DATA.influences, DATA.contexts, DATA.studies, ctx=CTX)
ROWS = build_feature_rows(DATA.events, DATA.influences, ctx=CTX, neuronpedia=DATA.neuronpedia)
CLUSTERS = build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX, groups=DATA.groups)
ONE_POINT = Clusters(
    points=(
        ClusterPoint(
            feature_id=7, description=" ".join(HOSTILE), group=None, x=0, y=0, median=3, lower=2, upper=4, n_events=9
        ),
    ),
    axes=("x", "y"),
    method=HOSTILE[0],
    ctx=CTX,
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one page of each kind, and one of each full of hostile text."""
    folder = tmp_path_factory.mktemp("pages")
    write_feature_cards(CARDS, folder / "cards.html", title="cards", note=NOTE)
    write_feature_table(ROWS, folder / "table.html", title="table", note=NOTE)
    write_clusters(CLUSTERS, folder / "clusters.html", title="clusters", note=NOTE)
    cards = build_cards(EVIL.events, EVIL.influences, EVIL.contexts, EVIL.studies, ctx=CTX)
    write_feature_cards(cards, folder / "evil_cards.html", title=HOSTILE[2], note=HOSTILE[1])
    rows = build_feature_rows(EVIL.events, EVIL.influences, ctx=CTX)
    write_feature_table(rows, folder / "evil_table.html", title=HOSTILE[2], note=HOSTILE[1])
    write_clusters(ONE_POINT, folder / "evil_clusters.html", title=HOSTILE[2], note=HOSTILE[1])
    return folder


def opened(browser: Browser, page: Path, *, anew: bool = True) -> None:
    if anew or browser.driver.current_url != page.as_uri():
        browser.open(page)
    if "clusters" in page.name:
        browser.wait(lambda: browser.run("return document.getElementById('plot').dataset.ready"))


def choose(browser: Browser, selector: str, value: str) -> None:
    browser.click(f'{selector} option[value="{value}"]')


def sorted_by(value: Callable[[Any], Any], things: Any, *, descending: bool = False) -> list[Any]:
    """Stable, what is missing last."""
    known = [thing for thing in things if value(thing) is not None]
    return sorted(known, key=value, reverse=descending) + [thing for thing in things if value(thing) is None]


@pytest.mark.parametrize("name", ["cards", "table", "clusters", "evil_cards", "evil_table", "evil_clusters"])
def test_a_page_asks_for_nothing_complains_of_nothing_and_runs_nothing_foreign(
    browser: Browser, pages: Path, name: str
) -> None:
    page = pages / f"{name}.html"
    opened(browser, page)
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.run("return window.stolen === undefined")
    assert browser.run("return document.querySelectorAll('main img, main a').length") == 0
    assert browser.driver.title == (HOSTILE[2] if "evil" in name else name)


def test_a_script_that_gets_in_is_not_run_and_nothing_gets_out(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "cards.html")
    browser.run(
        "const script = document.createElement('script'); script.textContent = 'window.stolen = 1';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.stolen = 1\">');"
        "fetch('http://127.0.0.1:9/').catch(() => {});"
    )
    assert browser.run("return window.stolen === undefined")
    complaints = " ".join(browser.complaints())
    for directive in ("script-src", "img-src", "connect-src"):
        assert directive in complaints or "default-src" in complaints


@pytest.mark.parametrize("name", ["cards", "table", "clusters"])
def test_a_page_is_light_or_dark_as_the_reader_likes(browser: Browser, pages: Path, name: str) -> None:
    opened(browser, pages / f"{name}.html")
    for dark in (False, True, False):
        browser.prefer("dark" if dark else "light")
        page, text = (
            sum(map(int, re.findall(r"\d+", browser.run(f"return getComputedStyle(document.body).{style}"))))
            for style in ("backgroundColor", "color")
        )
        assert (page < text) == dark
        if name == "clusters":
            # Plotly changes its colours a little later.
            paper = (
                f"return document.getElementById('plot').layout.paper_bgcolor === '{'#1a201e' if dark else '#ffffff'}'"
            )
            browser.wait(partial(browser.run, paper))
        assert browser.complaints() == []


# Feature cards


def test_cards_are_sorted(browser: Browser, pages: Path) -> None:
    orders: dict[str, Callable[[Any], Any]] = {
        "mean up": lambda card: card.mean,
        "mean down": lambda card: card.mean,
        "id up": lambda card: card.feature_id,
        "events down": lambda card: card.n_events,
        "given": lambda card: 0,
    }
    opened(browser, pages / "cards.html")
    for order, value in orders.items():
        choose(browser, "#sort", order)
        expected = sorted_by(value, CARDS, descending=order.endswith("down"))
        assert browser.texts(".card .id") == [str(card.feature_id) for card in expected], order


def test_cards_are_found_by_description_or_id(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "cards.html")
    assert browser.texts("#count") == ["Features: 24"]
    browser.type("#find", "CLOSING bracket")
    expected = [str(card.feature_id) for card in CARDS if "closing bracket" in (card.description or "")]
    assert browser.texts(".card .id") == expected
    assert browser.texts("#count") == [f"Features: {len(expected)} of 24"]
    wanted = str(CARDS[5].feature_id)
    browser.type("#find", wanted)
    found = [str(card.feature_id) for card in CARDS if wanted in f"{card.feature_id} {card.description}"]
    assert browser.texts(".card .id") == found
    browser.type("#find", "no such thing")
    assert browser.texts(".card .id") == []
    assert browser.texts("#nothing") == ["No feature matches."]


def test_cards_show_sixteen_tokens_or_more(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "cards.html")
    card = next(card for card in CARDS if card.contexts)
    first = f"#feature-{card.feature_id} .contexts li:first-child"
    texts = [
        "▯" if t.text is None else "".join(p.text for p in visible_pieces(t.text)) for t in card.contexts[0].tokens
    ]
    assert browser.texts(f"{first} .t") == texts[-16:]
    rest = 100 * sum(token.share for token in card.contexts[0].tokens[:-16])
    assert browser.texts(f"{first} .rest-16, {first} .rest-32") == [f"… {rest:.1f} % earlier"]
    browser.click("#last-32")
    assert browser.texts(f"{first} .t") == texts[-32:]
    browser.click("#all-tokens")
    assert browser.texts(f"{first} .t") == texts
    assert browser.texts(f"{first} .rest-16, {first} .rest-32") == []


def test_the_last_token_is_framed_in_red_and_the_strongest_is_darkest(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "cards.html")
    style = "return Array.from(document.querySelectorAll(arguments[0])).map(e => getComputedStyle(e)[arguments[1]])"
    assert set(browser.run(style, ".contexts .t:last-child.peak", "outlineColor")) == {"rgb(214, 47, 47)"}
    assert set(browser.run(style, ".contexts .g32", "backgroundColor")) == {"rgb(0, 68, 27)"}
    framed = "return document.querySelectorAll('.contexts .peak').length"
    assert browser.run(framed) == sum(len(card.contexts) for card in CARDS)


def test_hostile_tokens_are_shown_as_they_are(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "evil_cards.html")
    browser.click("#all-tokens")
    expected = ["".join(piece.text for piece in visible_pieces(text)) or "empty" for text in HOSTILE]
    tokens = browser.texts(".contexts li:first-child .t")
    assert any(tokens[start : start + len(expected)] == expected for start in range(len(tokens)))
    assert browser.texts("h1") == [HOSTILE[2]]
    assert browser.run("return window.stolen === undefined")


# Feature table


def ids(browser: Browser) -> list[str]:
    return browser.texts("td.feature_id")


def natural(text: str | None) -> list[Any] | None:
    return None if text is None else [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", text.lower())]


def test_a_click_on_a_head_sorts_and_another_turns_it_round(browser: Browser, pages: Path) -> None:
    fields: dict[str, Callable[[Any], Any]] = {
        "feature_id": lambda row: row.feature_id,
        "description": lambda row: natural(row.description),
        "tier": lambda row: row.tier,
        "mean": lambda row: row.mean,
        "influence": lambda row: row.influence,
        "diversity": lambda row: row.diversity,
        "recall": lambda row: row.recall,
        "density": lambda row: row.density,
    }
    states = "return Array.from(document.querySelectorAll('th[aria-sort]')).map(e => [e.ariaSort, e.classList[1]])"
    opened(browser, pages / "table.html")
    for field, value in fields.items():
        for state in ("ascending", "descending", "ascending"):
            browser.click(f"th.{field} button")
            expected = sorted_by(value, ROWS, descending=state == "descending")  # equals in the order of the file
            assert ids(browser) == [str(row.feature_id) for row in expected], field
            assert browser.run(states) == [[state, field]]


def test_heads_are_reached_and_used_with_the_keyboard(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "table.html")
    head = browser.driver.find_element("css selector", "th.mean button")
    browser.run("arguments[0].focus()", head)
    head.send_keys("\ue007")  # enter
    expected = sorted_by(lambda row: row.mean, ROWS)
    assert ids(browser) == [str(row.feature_id) for row in expected]


def test_filters_hide_what_does_not_match(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "table.html")
    assert browser.texts("#count") == ["Features: 24"]
    assert len(ids(browser)) == 24
    means = sorted(row.mean for row in ROWS if row.mean is not None)
    low, high = round(means[4], 3), round(means[-4], 3)
    browser.type("#from", str(low))
    browser.type("#to", str(high))
    within = [row for row in ROWS if row.mean is not None and low <= row.mean <= high]
    assert ids(browser) == [str(row.feature_id) for row in within]
    assert browser.texts("#count") == [f"Features: {len(within)} of 24"]
    browser.type("#find", "block")
    assert ids(browser) == [str(row.feature_id) for row in within if "block" in (row.description or "")]
    browser.click("th.mean button")
    both = sorted((row for row in within if "block" in (row.description or "")), key=lambda row: row.mean or 0)
    assert ids(browser) == [str(row.feature_id) for row in both]
    for field in ("#find", "#from", "#to"):
        browser.type(field, "")
        browser.run("document.querySelector(arguments[0]).dispatchEvent(new Event('input'))", field)
    browser.type("#events", "1")
    assert sorted(ids(browser)) == sorted(str(row.feature_id) for row in ROWS if row.n_events >= 1)


def test_cells_are_numbers_dashes_and_pictures(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "table.html")
    assert browser.texts("td.mean") == [DASH if row.mean is None else f"{row.mean:.2f}" for row in ROWS]
    assert browser.texts("td.description") == [row.description or DASH for row in ROWS]
    assert browser.run("return document.querySelectorAll('td.profile svg polygon').length") == len(ROWS) - 1


def test_a_whole_dictionary_opens_a_screen_at_a_time(browser: Browser, tmp_path: Path) -> None:
    row = dataclasses.replace(ROWS[0], profile=(0.1, 0.2, 0.7))
    rows = [dataclasses.replace(row, feature_id=n, mean=1 + (n * 7919 % 16384) / 8192) for n in range(16384)]
    write_feature_table(rows, tmp_path / "all.html", title="All", note=NOTE)
    browser.open(tmp_path / "all.html")
    assert browser.texts("#count") == ["Features: 16,384"]
    drawn = "return document.querySelectorAll('tbody tr').length"
    assert browser.run(drawn) == 100
    browser.click("th.mean button")
    expected = [str(row.feature_id) for row in sorted(rows, key=lambda row: row.mean or 0)]
    assert ids(browser) == expected[:100]
    browser.run("document.getElementById('frame').scrollTop = 1e6")
    browser.wait(lambda: browser.run(drawn) == 200)
    assert ids(browser) == expected[:200]
    browser.type("#from", "2.9")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")  # on paper there is no scrolling
    few = [str(row.feature_id) for row in sorted(rows, key=lambda row: row.mean or 0) if (row.mean or 0) >= 2.9]
    assert ids(browser) == few
    assert browser.complaints() == []


def test_hostile_cells_are_shown_as_they_are(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "evil_table.html")
    expected = [visible(text).strip() or DASH for text in HOSTILE]
    assert browser.texts("td.description") == expected
    browser.type("#find", "<b>BOLD</b>")
    assert HOSTILE[4] in browser.texts("td.description")
    assert len(ids(browser)) == sum("<b>" in text or "<b>" in HOSTILE[n % 5] for n, text in enumerate(HOSTILE))
    assert browser.run("return window.stolen === undefined")


# Clusters


def test_plotly_has_every_point(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "clusters.html", anew=False)
    assert browser.run("return document.querySelectorAll('#plot canvas').length") >= 1
    shown = browser.run(
        "return document.getElementById('plot').data.map(trace => [trace.name, trace.customdata, trace.z])"
    )
    names = list(dict.fromkeys(point.group for point in CLUSTERS.points))
    assert [name for name, _, _ in shown] == [name or "no group" for name in names]
    assert sum(len(z) for _, _, z in shown) == len(CLUSTERS.points)
    for name, (_, features, z) in zip(names, shown, strict=True):
        own = [point for point in CLUSTERS.points if point.group == name]
        assert features == [point.feature_id for point in own]
        assert z == pytest.approx([point.median for point in own], rel=1e-5)
    assert browser.run("return document.querySelectorAll('details tbody tr').length") == len(CLUSTERS.points)


def test_a_click_in_the_legend_hides_a_group(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "clusters.html", anew=False)
    visibility = "return document.getElementById('plot')._fullData.map(trace => trace.visible)"
    assert browser.run(visibility) == [True] * 4
    browser.click(".legend .traces:nth-child(2) .legendtoggle")
    browser.wait(lambda: browser.run(visibility) == [True, "legendonly", True, True])
    browser.click(".legend .traces:nth-child(2) .legendtoggle")
    browser.wait(lambda: browser.run(visibility) == [True] * 4)


def test_points_are_coloured_by_group_or_entropy_and_found(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "clusters.html", anew=False)
    markers = "return document.getElementById('plot').data.map(trace => trace.marker)"
    groups = [marker["color"] for marker in browser.run(markers)]
    assert len(set(groups)) == 4
    choose(browser, "#colour", "entropy")
    coloured = browser.run(markers)
    assert {marker["coloraxis"] for marker in coloured} == {"coloraxis"}
    assert sorted(z for marker in coloured for z in marker["color"]) == pytest.approx(
        sorted(point.median for point in CLUSTERS.points), rel=1e-5
    )
    choose(browser, "#colour", "group")
    assert [marker["color"] for marker in browser.run(markers)] == groups
    browser.type("#find", "1")
    found = [point for point in CLUSTERS.points if "1" in f"{point.feature_id} {point.description}"]
    assert browser.texts("#count") == [f"Features: {len(found)} of {len(CLUSTERS.points)}"]
    sizes = [size for marker in browser.run(markers) for size in marker["size"]]
    assert sizes.count(max(sizes)) == len(found)


def test_the_label_of_a_point_is_text(browser: Browser, pages: Path) -> None:
    opened(browser, pages / "evil_clusters.html")
    box = browser.run(
        "const b = document.querySelector('#plot canvas').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    label = "return Array.from(document.querySelectorAll('#plot .hovertext text')).map(e => e.textContent).join(' ')"

    def hovered() -> str:
        # A single point is in the middle of the cube, which is drawn a little above the middle of the canvas.
        for step in range(40):
            place = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] * (0.3 + step / 100)}
            browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})
            if text := browser.run(label):
                return text
        return ""

    shown = browser.wait(hovered)
    assert "".join(visible(" ".join(HOSTILE)).split()) in "".join(shown.split())
    assert "feature 7" in shown
    styled = "return document.querySelectorAll('#plot .hovertext :is(a, [style*=bold], [style*=italic])').length"
    assert browser.run(styled) == 0
    assert browser.run("return window.stolen === undefined")
