"""How figures are made and saved: with matplotlib's own defaults, whatever the user's are; equal bytes each time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.style import GREY
from circuit_artifacts.reports.text import wrapped

__all__ = ["bottom_legend", "default_settings", "new_figure", "save"]

_SETTINGS: Final[dict[str, Any]] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 8,
    "legend.frameon": False,
    "svg.hashsalt": "circuit-artifacts",
    "text.parse_math": False,  # a dollar sign in a feature's description is a dollar sign
}
_METADATA: Mapping[str, Mapping[str, None]] = MappingProxyType(
    {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
)
_TITLE_POINTS, _NOTE_POINTS, _LEGEND_POINTS = 11, 6.5, 8
_LINE_HEIGHT: Final = 1.5  # of the text's size
_settings_lock = threading.RLock()


@contextmanager
def default_settings() -> Iterator[None]:
    """Matplotlib's settings as it ships them, with ours on top, for as long as the context lasts; also a decorator.

    They are global in matplotlib: threads take turns, and the user's are put back.
    """
    with _settings_lock, style.context(["default", _SETTINGS]):
        yield


def new_figure(
    size: tuple[float, float], *, dpi: int, title: str, numbers: str = "", note: str | None = None, legend_rows: int = 0
) -> Figure:
    """An empty figure under a title, to be called within `default_settings`.

    Args:
        size: width and height in inches.
        dpi: pixels per inch.
        title: the first line; cut if it needs more than two.
        numbers: the line below: how many of what are shown.
        note: small, in the lower right corner, such as where regenerated data come from.
        legend_rows: lines to keep free for a `bottom_legend`.
    """
    width, height = size
    note_lines = wrapped(note or "", inches=width - 0.2, points=_NOTE_POINTS)
    note_inches = len(note_lines) * _NOTE_POINTS * _LINE_HEIGHT / 72
    legend_inches = (legend_rows + 0.7 * bool(legend_rows)) * _LEGEND_POINTS * _LINE_HEIGHT / 72
    foot = (note_inches + legend_inches) / height
    figure = Figure(figsize=size, dpi=dpi, layout=ConstrainedLayoutEngine(rect=(0, foot, 1, 1 - foot)))
    FigureCanvasAgg(figure)
    heading = [line for text in (title, numbers) for line in wrapped(text, inches=width - 0.2, points=_TITLE_POINTS)]
    figure.suptitle("\n".join(heading), x=0.1 / width, ha="left", fontsize=_TITLE_POINTS)
    if note_lines:
        figure.text(
            1 - 0.1 / width,
            0.03 / height,
            "\n".join(note_lines),
            ha="right",
            va="bottom",
            fontsize=_NOTE_POINTS,
            color=GREY,
        )
    return figure


def bottom_legend(figure: Figure, handles: Sequence[Artist], *, columns: int) -> None:
    """One legend for the whole figure, on the lines that `new_figure` kept free."""
    engine = figure.get_layout_engine()
    foot = engine.get()["rect"][1] if engine else 0.0
    figure.legend(
        handles=list(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, foot),
        ncols=columns,
        fontsize=_LEGEND_POINTS,
        borderaxespad=0.2,
    )


@default_settings()
def save(figure: Figure, path: Path, *, tight: bool = False) -> None:
    """Write a figure; equal figures give equal bytes.

    Args:
        figure: a new one: saving lays it out.
        path: the suffix (``.png``, ``.pdf`` or ``.svg``) gives the format.
        tight: cut the empty margin.

    Raises:
        SchemaError: another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        problem = "the suffix of a figure gives its format"
        raise SchemaError(problem, file=path, found=suffix or "no suffix", expected=", ".join(_METADATA))
    figure.savefig(path, metadata=dict(_METADATA[suffix]), bbox_inches="tight" if tight else None)
