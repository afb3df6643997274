import matplotlib.text
import pytest
from hypothesis import given
from hypothesis import strategies as st
from locality_rows import HOSTILE
from matplotlib.figure import Figure

from circuit_artifacts.reports.canvas import default_settings, new_figure
from circuit_artifacts.reports.text import fitting, plain, wrapped

_FIGURE = Figure(dpi=300)


def inches(figure: Figure, text: str, points: float) -> float:
    drawn = figure.text(0, 0, text, fontsize=points)
    width: float = drawn.get_window_extent().width
    drawn.remove()
    return width / figure.dpi


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\n\tc  d ", "a b c d"),
        ("price: $5 and $6", "price: $5 and $6"),
        ("\x00\x01x", "\N{REPLACEMENT CHARACTER}x"),
        ("汉\ud800字", "\N{REPLACEMENT CHARACTER}"),
        ("naïve Ω → ↵", "naïve Ω → ↵"),
        ("\u202eabc", "\N{REPLACEMENT CHARACTER}abc"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_text_becomes_one_line_of_characters_that_have_a_glyph(text: object, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
@pytest.mark.parametrize("width", [0.5, 3.8])
def test_text_fits_the_width_that_matplotlib_gives_it(text: str, width: float) -> None:
    with default_settings():
        figure = new_figure((8, 4), dpi=300, title="")
        line = fitting(text, inches=width, points=8)
        assert "\n" not in line
        assert inches(figure, line, 8) <= width + 0.02
        longer = plain(text)[: len(line)]
        if line.endswith("…") and "�" not in line:  # nothing more would have fitted
            assert inches(figure, f"{longer} WW", 8) > width


def test_short_text_is_not_cut() -> None:
    assert fitting("the token 'the'", inches=3, points=8) == "the token 'the'"


def test_wrapped_text_has_two_lines_at_most() -> None:
    assert wrapped("", inches=5, points=8) == []
    assert wrapped("one two", inches=5, points=8) == ["one two"]
    lines = wrapped("word " * 100, inches=3, points=8)
    assert len(lines) == 2
    assert lines[1].endswith("…")


@given(st.text())
def test_any_text_is_drawn_without_a_warning(text: str) -> None:
    with default_settings():
        line = fitting(text, inches=1, points=8)
        assert inches(_FIGURE, line, 8) <= 1.02


def test_no_text_of_a_figure_is_read_as_mathematics() -> None:
    formula = "$x^2$"
    with default_settings():
        figure = new_figure((4, 3), dpi=50, title=formula, numbers=formula, note=formula)
        axes = figure.add_subplot()
        axes.set_yticks([0], labels=[formula])
        axes.set_title(formula)
        axes.plot([0], label=formula)
        axes.legend()
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(matplotlib.text.Text) if formula in text.get_text()]
    assert len(found) >= 5
    assert not any(text.get_parse_math() for text in found)
