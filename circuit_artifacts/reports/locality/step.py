"""The step that draws: every published kind of picture and page of the runs that there are, in the published layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, get_args

import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.jobs import Job
from circuit_artifacts.reports.locality import names
from circuit_artifacts.reports.locality.context_length import draw_entropy_versus_context, draw_sweep
from circuit_artifacts.reports.locality.continuum import draw_feature_continuum
from circuit_artifacts.reports.locality.depth import Shape, draw_depth, draw_depth_grid
from circuit_artifacts.reports.locality.overview import draw_entropy_overview
from circuit_artifacts.reports.locality.profiles import draw_profile_contrast
from circuit_artifacts.reports.locality.tables import distinct, rows_of
from circuit_artifacts.reports.pages.cards import build_cards, write_feature_cards
from circuit_artifacts.reports.pages.clusters import Method, build_clusters, write_clusters
from circuit_artifacts.reports.pages.feature_table import build_feature_rows, write_feature_table
from circuit_artifacts.reports.pictures import Inputs, Picture, draw_missing
from circuit_artifacts.sae_locality.paths import classify

__all__ = ["run"]

_WIDE: Final = ("influence", "activation_trace")  # not drawn, and nearly all of the bytes
_PROJECTIONS: Final[tuple[tuple[Method, str, int], ...]] = (
    ("pca", "clusters3d.html", 1),
    ("tsne", "clusters3d_tsne.html", 5),
)
"""Method, published name, and how many features it needs."""


def run(job: Job) -> None:
    """Draw what is not there yet; runs whose input is not on this machine are passed over."""
    inputs = Inputs(job)
    draw_missing(inputs, (picture for strand in _STRANDS for picture in strand(inputs)))


def _depth(inputs: Inputs) -> Iterator[Picture]:
    family = "entropy_all"
    if not inputs.has(family):
        return
    features = inputs.rows(family, "features", without=_WIDE)
    windows = inputs.rows(family, "windows")
    note = inputs.note(family)
    for dataset in distinct(windows, "dataset"):
        tables = rows_of(features, dataset=dataset), rows_of(windows, dataset=dataset)
        for preset in distinct(tables[1], "preset"):
            own = rows_of(tables[0], preset=preset), rows_of(tables[1], preset=preset)
            name = f"figures/{names.depth_name(preset, dataset)}"
            yield Picture(name, (family,), partial(draw_depth, *own, note=note))
        for shape in get_args(Shape):
            name = f"figures/{names.depth_grid_name(shape, dataset)}"
            yield Picture(name, (family,), partial(draw_depth_grid, *tables, shape=shape, note=note))


def _sweeps(inputs: Inputs) -> Iterator[Picture]:
    family = "ctxlen_all"
    if not inputs.has(family):
        return
    tables = inputs.rows(family, "features", without=_WIDE), inputs.rows(family, "lengths")
    note = inputs.note(family)
    for file in inputs.job.input_files(family).names:
        place = classify(file)
        where: dict[str, Any] = {"run": place.run, "preset": place.preset, "layer": place.layer}
        own = rows_of(tables[0], **where), rows_of(tables[1], **where)
        name = f"{file.removesuffix('.pt')}/{names.SWEEP}"
        yield Picture(name, (family,), partial(draw_sweep, *own, layer=place.layer or 0, note=note))


def _events(inputs: Inputs) -> Iterator[Picture]:
    if not inputs.has("events"):
        return
    note = inputs.note("events")
    all_influences = inputs.rows("influences") if inputs.has("influences") else None
    for run_name, events in _by_run(inputs.rows("events")):
        folder, lengths = f"{run_name}/figures", distinct(events, "ctx")
        influences = None if all_influences is None else rows_of(all_influences, run=run_name)
        for ctx in lengths:
            at = {"ctx": ctx, "note": note}
            name = f"{folder}/{names.continuum_name(ctx)}"
            yield Picture(name, ("events",), partial(draw_feature_continuum, events, **at))
            name = f"{folder}/{names.overview_name(ctx)}"
            yield Picture(name, ("events",), partial(draw_entropy_overview, events, **at))
            families = ("events",) if influences is None else ("events", "influences")
            if influences is not None:
                name = f"{folder}/{names.profile_contrast_name(ctx)}"
                yield Picture(name, families, partial(draw_profile_contrast, events, influences, **at))
            name = f"{folder}/feature_table_ctx{ctx:03d}.html"
            rows = build_feature_rows(events, influences, ctx=ctx)
            title = f"Features at a context length of {ctx} tokens"
            yield Picture(name, families, partial(write_feature_table, rows, title=title, note=note))
        if len(lengths) > 1:
            name = f"{folder}/{names.ENTROPY_VERSUS_CONTEXT}"
            yield Picture(name, ("events",), partial(draw_entropy_versus_context, events, note=note))


def _clusters(inputs: Inputs) -> Iterator[Picture]:
    families = ("geometry_features", "decoder_vectors", "events")
    if not inputs.has(*families):
        return
    features, vectors, events = map(inputs.rows, families)
    note = inputs.note(*families)
    for run_name, own in _by_run(features):
        ctx = _common_context(events, own)
        if ctx is None:
            continue
        for method, name, least in _PROJECTIONS:
            if len(own) < least:
                continue
            clusters = build_clusters(
                own, rows_of(vectors, run=run_name), rows_of(events, ctx=ctx), ctx=ctx, method=method
            )
            title = f"Decoder directions, and entropy at a context length of {ctx} tokens"
            draw = partial(write_clusters, clusters, title=title, note=note)
            yield Picture(f"{run_name}/figures/{name}", families, draw)


def _case_studies(inputs: Inputs) -> Iterator[Picture]:
    families = ("events", "influences", "top_contexts", "case_studies")
    if not inputs.has(*families):
        return
    *tables, studies = map(inputs.rows, families)
    source = max(set.intersection(*(set(distinct(table, "run")) for table in tables)), default=None)
    if source is None:
        return
    events, influences, contexts = (rows_of(table, run=source) for table in tables)
    for run_name, own in _by_run(studies):
        lengths = set(distinct(own, "ctx")) & set(distinct(events, "ctx"))
        for ctx in sorted(lengths)[-1:]:
            cards = build_cards(events, influences, contexts, own, ctx=ctx)
            title = f"Case studies at a context length of {ctx} tokens"
            draw = partial(write_feature_cards, cards, title=title, note=inputs.note(*families))
            yield Picture(f"{run_name}/feature_case_studies.html", families, draw)


def _common_context(events: pa.Table, features: pa.Table) -> int | None:
    """The longest context length at which every feature has an event with an entropy."""
    wanted = set(features["feature_id"].to_pylist())
    for ctx in reversed(distinct(events, "ctx")):
        rows = rows_of(events, ctx=ctx)
        measured = rows.filter(pc.is_valid(rows["H_pos_bits"]))
        if wanted <= set(measured["feature_id"].to_pylist()):
            return int(ctx)
    return None


def _by_run(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for run_name in distinct(table, "run"):
        yield run_name, rows_of(table, run=run_name)


_STRANDS: Final[tuple[Callable[[Inputs], Iterator[Picture]], ...]] = (
    _depth,
    _sweeps,
    _events,
    _clusters,
    _case_studies,
)
