"""The step that draws: every published kind of picture and page of the runs that there are, in the published layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts import provenance
from circuit_artifacts.filesets import FileSet
from circuit_artifacts.formats.reader import make_readers
from circuit_artifacts.jobs import Job
from circuit_artifacts.reports.locality import names
from circuit_artifacts.reports.locality.context_length import draw_entropy_versus_context, draw_sweep
from circuit_artifacts.reports.locality.continuum import draw_feature_continuum
from circuit_artifacts.reports.locality.depth import draw_depth, draw_depth_grid
from circuit_artifacts.reports.locality.overview import draw_entropy_overview
from circuit_artifacts.reports.locality.profiles import draw_profile_contrast
from circuit_artifacts.reports.locality.tables import distinct, rows_of
from circuit_artifacts.reports.pages.cards import build_cards, write_feature_cards
from circuit_artifacts.reports.pages.clusters import build_clusters, write_clusters
from circuit_artifacts.reports.pages.feature_table import build_feature_rows, write_feature_table
from circuit_artifacts.sae_locality.paths import classify

__all__ = ["run"]

_WIDE = ["influence", "activation_trace"]  # not drawn, and nearly all of the bytes
_LEAST_FOR_TSNE = 5  # features


def run(job: Job) -> None:
    """Draw what is not there yet; runs whose input is not on this machine are passed over."""
    drawing = _Drawing(job, next(iter(job.outputs.values())))
    if drawing.has("entropy_all"):
        _depth(drawing)
    if drawing.has("ctxlen_all"):
        _sweeps(drawing)
    if drawing.has("events"):
        _events(drawing)
    if drawing.has("geometry_features", "decoder_vectors", "events"):
        _clusters(drawing)
    if drawing.has("case_studies", "events", "influences", "top_contexts"):
        _case_studies(drawing)


@dataclass(frozen=True)
class _Drawing:
    """One run of the step."""

    job: Job
    root: Path

    def has(self, *families: str) -> bool:
        return all(family in self.job.inputs for family in families)

    def files(self, family: str) -> FileSet:
        return self.job.input_files(family)

    def rows(self, family: str, split: str = "train", *, without: list[str] | None = None) -> pa.Table:
        """All rows of a family, as it is on this machine."""
        (config,) = self.job.mirror.family_by_name[family].configs
        reader, found = make_readers(self.job.mirror, config)[split], self.files(family)
        tables = [
            table.drop_columns([name for name in without or () if name in table.column_names])
            for shard in reader.shards(found)
            for table in reader.tables(found, shard)
        ]
        return pa.concat_tables(tables) if tables else reader.schema(found).empty_table()

    def note(self, *families: str) -> str:
        """What must be said of the numbers: whose they are."""
        records = (provenance.read(self.files(family)) for family in families)
        for record in records:
            if record is not None:
                model = (record.model or {}).get("id", "another model")
                return f"regenerated with {model}; not the published data"
        return "drawn by circuit-artifacts from the published data"

    def picture(self, name: str, draw: Callable[[Path], None], *families: str) -> None:
        """Draw one picture or page, unless it exists.

        Args:
            name: relative to the root.
            draw: called with the path.
            families: what it is drawn from.
        """
        path = self.root / name
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        found = [self.files(family) for family in families]
        earlier = next((record for record in map(provenance.read, found) if record is not None), None)
        record = self.job.record(found, model=earlier.model if earlier is not None else None)
        provenance.write_sidecar(path, record)  # first: without it, the picture would pass for published
        unfinished = path.with_name(f".{path.name}")  # its suffix is its format
        draw(unfinished)
        unfinished.replace(path)


def _depth(drawing: _Drawing) -> None:
    features = drawing.rows("entropy_all", "features", without=_WIDE)
    windows = drawing.rows("entropy_all", "windows")
    note = drawing.note("entropy_all")
    for dataset in distinct(windows, "dataset"):
        of_dataset = [rows_of(table, dataset=dataset) for table in (features, windows)]
        for preset in distinct(of_dataset[1], "preset"):
            own = [rows_of(table, preset=preset) for table in of_dataset]
            drawing.picture(
                f"figures/{names.depth_name(preset, dataset)}",
                lambda path, own=own: draw_depth(*own, path, note=note),
                "entropy_all",
            )
        for shape in ("violin", "box"):
            drawing.picture(
                f"figures/{names.depth_grid_name(shape, dataset)}",
                lambda path, shape=shape, tables=of_dataset: draw_depth_grid(*tables, path, shape=shape, note=note),
                "entropy_all",
            )


def _sweeps(drawing: _Drawing) -> None:
    features = drawing.rows("ctxlen_all", "features", without=_WIDE)
    lengths = drawing.rows("ctxlen_all", "lengths")
    for name in drawing.files("ctxlen_all").names:
        place = classify(name)
        where = {"run": place.run, "preset": place.preset, "layer": place.layer}
        own = [rows_of(table, **where) for table in (features, lengths)]
        drawing.picture(
            f"{name.removesuffix('.pt')}/{names.SWEEP}",
            lambda path, own=own, layer=place.layer: draw_sweep(
                *own, path, layer=layer, note=drawing.note("ctxlen_all")
            ),
            "ctxlen_all",
        )


def _events(drawing: _Drawing) -> None:
    note = drawing.note("events")
    for run, events in _by_run(drawing.rows("events")):
        influences = rows_of(drawing.rows("influences"), run=run) if drawing.has("influences") else None
        folder = f"{run}/figures"
        lengths = distinct(events, "ctx")
        for ctx in lengths:
            pictures: Mapping[str, Any] = {
                names.continuum_name(ctx): draw_feature_continuum,
                names.overview_name(ctx): draw_entropy_overview,
            }
            for name, draw in pictures.items():
                drawing.picture(
                    f"{folder}/{name}",
                    lambda path, draw=draw, ctx=ctx, events=events: draw(events, path, ctx=ctx, note=note),
                    "events",
                )
            if influences is not None:
                drawing.picture(
                    f"{folder}/{names.profile_contrast_name(ctx)}",
                    lambda path, tables=(events, influences), ctx=ctx: draw_profile_contrast(
                        *tables, path, ctx=ctx, note=note
                    ),
                    "events",
                    "influences",
                )
            drawing.picture(
                f"{folder}/feature_table_ctx{ctx:03d}.html",
                lambda path, tables=(events, influences), ctx=ctx: write_feature_table(
                    build_feature_rows(*tables, ctx=ctx), path, title=f"Features at {ctx} tokens", note=note
                ),
                "events",
            )
        if len(lengths) > 1:
            drawing.picture(
                f"{folder}/{names.ENTROPY_VERSUS_CONTEXT}",
                lambda path, events=events: draw_entropy_versus_context(events, path, note=note),
                "events",
            )


def _clusters(drawing: _Drawing) -> None:
    note = drawing.note("events", "geometry_features")
    events = drawing.rows("events")
    vectors = drawing.rows("decoder_vectors")
    for run, features in _by_run(drawing.rows("geometry_features")):
        own = rows_of(vectors, run=run)
        ctx = _common_context(events, features)
        if ctx is None:
            continue
        for method, name in (("pca", "clusters3d.html"), ("tsne", "clusters3d_tsne.html")):
            if method == "tsne" and len(features) < _LEAST_FOR_TSNE:
                continue
            drawing.picture(
                f"{run}/figures/{name}",
                lambda path, tables=(features, own), method=method, ctx=ctx: write_clusters(
                    build_clusters(*tables, rows_of(events, ctx=ctx), ctx=ctx, method=method),
                    path,
                    title=f"Decoder directions and entropy at {ctx} tokens ({'PCA' if method == 'pca' else 't-SNE'})",
                    note=note,
                ),
                "geometry_features",
                "decoder_vectors",
                "events",
            )


def _case_studies(drawing: _Drawing) -> None:
    note = drawing.note("events", "case_studies")
    tables = [drawing.rows(family) for family in ("events", "influences", "top_contexts")]
    runs = set.intersection(*(set(distinct(table, "run")) for table in tables))
    for run, studies in _by_run(drawing.rows("case_studies")):
        contexts = distinct(studies, "ctx")
        source = max(runs, default=None)
        if source is None or len(contexts) != 1 or contexts[0] not in distinct(tables[0], "ctx"):
            continue
        own = [rows_of(table, run=source) for table in tables]
        drawing.picture(
            f"{run}/feature_case_studies.html",
            lambda path, own=own, studies=studies, ctx=contexts[0]: write_feature_cards(
                build_cards(*own, studies, ctx=ctx), path, title=f"Case studies at {ctx} tokens", note=note
            ),
            "case_studies",
            "events",
            "influences",
            "top_contexts",
        )


def _common_context(events: pa.Table, features: pa.Table) -> int | None:
    """The longest context length at which every feature has an event."""
    wanted = set(features["feature_id"].to_pylist())
    for ctx in reversed(distinct(events, "ctx")):
        rows = rows_of(events, ctx=ctx)
        measured = rows.filter(pc.is_valid(rows["H_pos_bits"]))
        if wanted <= set(measured["feature_id"].to_pylist()):
            return int(ctx)
    return None


def _by_run(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for run in distinct(table, "run"):
        yield run, rows_of(table, run=run)
