"""The step that draws: every result that has a figure, beside its file in the published layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from circuit_artifacts.jobs import Job
from circuit_artifacts.reports.causality.attribution import draw_attribution
from circuit_artifacts.reports.causality.cells import draw_cells
from circuit_artifacts.reports.causality.curve_fits import draw_curve_fits
from circuit_artifacts.reports.causality.recall import draw_recall
from circuit_artifacts.reports.causality.spectrum import draw_spectrum
from circuit_artifacts.reports.causality.wedge import draw_wedge
from circuit_artifacts.reports.pictures import Inputs, Picture, draw_missing
from circuit_artifacts.reports.style import PALETTE
from circuit_artifacts.schemas.causal_results import (
    AtpVersusExact,
    CurveFit,
    DirectKappa,
    EncoderCells,
    Result,
    SvaRecall,
    WidthSweep,
    parse_result,
)

__all__ = ["run"]

_FAMILY: Final = "results"
_DRAW: Final[dict[type, Callable[..., None]]] = {
    AtpVersusExact: draw_attribution,
    WidthSweep: draw_wedge,
    CurveFit: draw_curve_fits,
    EncoderCells: draw_cells,
    DirectKappa: draw_spectrum,
}


def run(job: Job) -> None:
    """Draw what is not there yet. Planted directions and counts over layers have no figure."""
    inputs = Inputs(job)
    draw_missing(inputs, _pictures(inputs))


def _pictures(inputs: Inputs) -> Iterator[Picture]:
    note = inputs.note(_FAMILY)
    recalls: dict[PurePosixPath, list[SvaRecall]] = {}
    for path, result in _results(inputs):
        if isinstance(result, SvaRecall):
            recalls.setdefault(path.parent, []).append(result)
        elif draw := _DRAW.get(type(result)):
            yield _picture(path.with_suffix(".png"), draw, result, note)
    for folder, found in recalls.items():
        for start in range(0, len(found), len(PALETTE)):  # so many have a colour of their own
            name = "recall.png" if start == 0 else f"recall_{start // len(PALETTE) + 1}.png"
            yield _picture(folder / name, draw_recall, found[start : start + len(PALETTE)], note)


def _picture(name: PurePosixPath, draw: Callable[..., None], shown: Result | Sequence[Result], note: str) -> Picture:
    return Picture(str(name), (_FAMILY,), partial(draw, shown, note=note))


def _results(inputs: Inputs) -> Iterator[tuple[PurePosixPath, Any]]:
    """Every result of a known kind, with the path of its file, sorted."""
    rows = inputs.rows(_FAMILY).select(["path", "typed"]).sort_by("path")
    for path, typed in zip(rows["path"].to_pylist(), rows["typed"].to_pylist(), strict=True):
        if typed is not None:
            yield PurePosixPath(path), parse_result(json.loads(typed), file=path)
