"""Every table that the repository's files give: its row model, the files it is read from, and the reader.

A reader takes one file and those that lie beside it and gives an Arrow table, so any list of local files can be read::

    for file, beside in plan("events", names, run="latest"):
        table = TABLES["events"].read(local(file), [local(name) for name in beside])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.sae_locality import (
    autocorrelation,
    curation,
    depth,
    events,
    figures,
    geometry,
    neuronpedia,
    sweep,
)
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.paths import classify
from circuit_artifacts.sae_locality.runs import choose
from circuit_artifacts.schemas import sae_locality as rows
from circuit_artifacts.schemas.common import ArtifactModel

__all__ = ["TABLES", "TABLE_OF_ROW", "Table", "plan"]

ReadFile = Callable[[RepositoryFile, Sequence[RepositoryFile]], pa.Table]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One kind of rows.

    Attributes:
        row: the row model.
        kinds: kinds of files, as `paths.classify` names them, that hold the rows.
        read: the rows of one such file, given the files beside it.
        beside: kinds of files of the same run that the reader needs too.
    """

    row: type[ArtifactModel]
    kinds: tuple[str, ...]
    read: ReadFile
    beside: tuple[str, ...] = ()


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "depth_features": Table(row=rows.DepthFeature, kinds=("depth",), read=depth.depth_features),
        "depth_windows": Table(row=rows.DepthWindow, kinds=("depth",), read=depth.depth_windows),
        "sweep_features": Table(row=rows.SweepFeature, kinds=("sweep",), read=sweep.sweep_features),
        "sweep_lengths": Table(row=rows.SweepLength, kinds=("sweep",), read=sweep.sweep_lengths),
        "events": Table(row=rows.Event, kinds=("events",), read=events.events, beside=("top_contexts",)),
        "influences": Table(row=rows.Influence, kinds=("influences",), read=events.influences, beside=("events",)),
        "top_contexts": Table(row=rows.TopContext, kinds=("top_contexts",), read=events.top_contexts),
        "case_studies": Table(row=rows.CaseStudy, kinds=("manifest",), read=curation.case_studies),
        "candidates": Table(row=rows.Candidate, kinds=("candidates",), read=curation.candidates),
        "geometry_features": Table(
            row=rows.GeometryFeature, kinds=("geometry_features",), read=geometry.geometry_features
        ),
        "geometry_pairs": Table(row=rows.GeometryPair, kinds=("geometry_pairs",), read=geometry.geometry_pairs),
        "geometry_neighbours": Table(
            row=rows.GeometryNeighbour, kinds=("geometry_neighbours",), read=geometry.geometry_neighbours
        ),
        "neuronpedia_xcheck": Table(
            row=rows.NeuronpediaCheck, kinds=("neuronpedia_xcheck",), read=geometry.neuronpedia_xcheck
        ),
        "decoder_vectors": Table(
            row=rows.DecoderVector,
            kinds=("decoder_vectors",),
            read=geometry.decoder_vectors,
            beside=("geometry_features",),
        ),
        "autocorr_features": Table(
            row=rows.AutocorrelationFeature,
            kinds=("selected_features", "feature_summary"),
            read=autocorrelation.autocorrelation_features,
        ),
        "autocorr_curves": Table(
            row=rows.AutocorrelationCurve, kinds=("curves",), read=autocorrelation.autocorrelation_curves
        ),
        "autocorr_examples": Table(
            row=rows.AutocorrelationExample,
            kinds=("traces",),
            read=autocorrelation.autocorrelation_examples,
            beside=("top_examples",),
        ),
        "entropy_targets": Table(
            row=rows.EntropyTarget, kinds=("entropy_targets",), read=autocorrelation.entropy_targets
        ),
        "neuronpedia": Table(row=rows.NeuronpediaFeature, kinds=("neuronpedia",), read=neuronpedia.neuronpedia),
        "figures": Table(row=rows.Figure, kinds=("figure", "batch_plot"), read=figures.figures),
    }
)
"""Every table but `runs`, which `runs.inventory` makes from the list of files."""

TABLE_OF_ROW: Mapping[type[ArtifactModel], str] = MappingProxyType({table.row: name for name, table in TABLES.items()})


def plan(
    table: str,
    names: Iterable[str],
    *,
    preset: str | None = None,
    dataset: str | None = None,
    run: str = "latest",
    legacy: bool = False,
) -> list[tuple[str, list[str]]]:
    """Which files to read for a table, and which others each of them needs.

    Args:
        table: a name in `TABLES`.
        names: paths of all files of the repository.
        preset: of this preset only.
        dataset: on this corpus only.
        run: see `runs.choose`.
        legacy: see `runs.choose`.

    Returns:
        Pairs of a file with rows and the files beside it, layers and context lengths in numeric order.

    Raises:
        UnknownNameError: no such table, or no such run.
    """
    if table not in TABLES:
        problem = f"there is no table {table!r}"
        raise UnknownNameError(problem, expected=", ".join(TABLES))
    declared = TABLES[table]
    places = [classify(name) for name in set(names)]
    beside: dict[str, list[str]] = {}
    for place in places:
        if place.kind in declared.beside:
            beside.setdefault(place.run, []).append(place.path)
    with_rows = [
        place.path
        for place in places
        if place.kind in declared.kinds
        and (place.kind != "manifest" or place.strand == table)
        and preset in {None, place.preset}
        and dataset in {None, place.dataset}
    ]
    chosen = [classify(name) for name in choose(with_rows, run, legacy=legacy)]
    chosen.sort(key=lambda place: (place.run, place.layer or 0, place.ctx or 0, place.batch_idx or 0, place.path))
    return [(place.path, sorted(beside.get(place.run, ()))) for place in chosen]
