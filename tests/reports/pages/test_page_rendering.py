"""What all pages have in common: one file, a policy that lets nothing in or out, the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from page_data import NOTE, page_data
from page_markup import parsed, source_hash

from circuit_artifacts import __version__
from circuit_artifacts.reports.pages.cards import build_cards, render_feature_cards
from circuit_artifacts.reports.pages.clusters import build_clusters, render_clusters
from circuit_artifacts.reports.pages.feature_table import build_feature_rows, render_feature_table
from circuit_artifacts.reports.pages.rendering import render_page, write_text

DATA = page_data(8, 5, 32)
TITLE = "Layer 12 & <others>\u202e"


def page(kind: str) -> str:
    if kind == "cards":
        cards = build_cards(DATA.events, DATA.influences, DATA.contexts, ctx=32)
        return render_feature_cards(cards, title=TITLE, note=NOTE)
    if kind == "table":
        return render_feature_table(build_feature_rows(DATA.events, ctx=32), title=TITLE, note=NOTE)
    return render_clusters(build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=32), title=TITLE, note=NOTE)


KINDS = ("cards", "table", "clusters")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file_that_lets_nothing_in_or_out(kind: str) -> None:
    markup = parsed(page(kind))
    assert markup.addresses == {"data:,"}
    policy = markup.policy
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data: blob:"
    assert policy["script-src"].split() == [source_hash(script) for script in markup.scripts]
    if kind != "clusters":  # plotly writes styles of its own
        assert policy["style-src"].split() == [source_hash(style) for style in markup.styles]
    assert not any(name.startswith("on") for name in markup.attribute_names)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_says_what_it_is(kind: str) -> None:
    text = page(kind)
    markup = parsed(text)
    assert markup.title == "Layer 12 & <others>\u2039U+202E\u203a"
    assert markup.elements[0] == ("html", {"lang": "en"})
    assert ("meta", {"name": "generator", "content": f"circuit-artifacts {__version__}"}) in markup.elements
    assert f'<p class="note">{NOTE}</p>' in text
    assert "/home/" not in text
    assert str(Path(__file__).parents[3]) not in text


@pytest.mark.parametrize("kind", KINDS)
def test_equal_input_gives_equal_text(kind: str) -> None:
    assert page(kind) == page(kind)


def test_data_for_scripts_ends_no_script_and_is_json() -> None:
    rows = {"text": "</script><!--<script>\u2028\u2029&'\"", "none": None}
    text = render_page("feature_table.html.j2", title="", note="", scripts=[], columns=[], table=rows)
    assert parsed(text).data == rows
    assert "</script><!--" not in text
    assert not {"\u2028", "\u2029"} & set(text)
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_page("feature_table.html.j2", title="", note="", scripts=[], columns=[], table=[float("nan")])


def test_a_page_is_written_whole_with_its_folder(tmp_path: Path) -> None:
    write_text("é\n", tmp_path / "figures" / "page.html")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["page.html"]
    assert (tmp_path / "figures" / "page.html").read_bytes() == "é\n".encode()


def test_pages_need_no_torch() -> None:
    modules = ("cards", "clusters", "feature_table")
    code = "; ".join(f"import circuit_artifacts.reports.pages.{name}" for name in modules)
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {"torch", "sklearn", "matplotlib"}
