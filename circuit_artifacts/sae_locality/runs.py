"""Which runs there are, and which of them to read (sae_locality spec 2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import CircuitArtifactsError, UnknownNameError
from circuit_artifacts.sae_locality.depth import CONTEXT_LENGTH_NAMES
from circuit_artifacts.sae_locality.files import first_of, make_table
from circuit_artifacts.sae_locality.json_files import json_text
from circuit_artifacts.sae_locality.paths import UNKNOWN, Place, classify, is_link
from circuit_artifacts.schemas.sae_locality import Run

__all__ = ["CONFIGURATIONS", "POLICIES", "choose", "inventory"]

POLICIES = ("latest", "most_complete", "all")
_SETTINGS = ("run_config", "manifest")
CONFIGURATIONS = frozenset({*_SETTINGS, "bench"})
"""Kinds of files that say how a run was made, and how it went."""


def choose(names: Iterable[str], run: str = "latest", *, legacy: bool = False) -> list[str]:
    """The files of the wanted runs, sorted by path.

    Runs compete only with runs of the same strand, preset and corpus. Files that belong to no run are always wanted.

    Args:
        names: paths of files in the repository, of the kinds that are to be read: a run that has none of them, such as
            one that was aborted, does not count.
        run: "latest" takes the greatest timestamp, as the card says; "most_complete" the run with the most of these
            files, as the authors' plots did, and of equals the latest; "all"; or a timestamp or folder name. Short test
            runs lie beside full ones and may be the latest.
        legacy: read the superseded runs below ``legacy/`` instead of the others.

    Raises:
        UnknownNameError: no run has that name.
    """
    places = [place for place in map(classify, sorted(set(names))) if place.legacy == legacy and place.kind != UNKNOWN]
    if run == "all":
        return [place.path for place in places]
    chosen: list[str] = []
    of_group: dict[tuple[str | None, ...], dict[str, list[Place]]] = {}
    for place in places:
        if place.timestamp is None:
            chosen.append(place.path)
        else:
            group = of_group.setdefault((place.strand, place.preset, place.dataset), {})
            group.setdefault(place.run, []).append(place)
    for group in of_group.values():
        for members in _chosen_runs(group, run):
            chosen.extend(place.path for place in members)
    if run not in POLICIES and of_group and not any(classify(name).timestamp for name in chosen):
        problem = f"there is no run {run!r}"
        known = sorted({name.rpartition("/")[2] for group in of_group.values() for name in group})
        raise UnknownNameError(problem, found=", ".join(known) or "no runs", expected=", ".join(POLICIES))
    return sorted(chosen)


def inventory(names: Collection[str], read_json: Callable[[str], Any] | None = None) -> pa.Table:
    """Rows of `Run`: every run folder, every folder of files that belong to no run, and every unknown file.

    Args:
        names: paths of all files of the repository.
        read_json: gives the parsed content of one of them; called for run configurations, manifests and measurements
            only. None leaves the columns empty that come from there.
    """
    of_run: dict[str, list[Place]] = {}
    made_here = {name.removesuffix(provenance.SUFFIX) for name in names if name.endswith(provenance.SUFFIX)}
    for place in map(classify, sorted(set(names))):
        if not is_link(place.path) and not place.path.endswith(provenance.SUFFIX):
            of_run.setdefault(place.run, []).append(place)
    rows = [
        {**_row(path, places, read_json), "regenerated": any(place.path in made_here for place in places)}
        for path, places in sorted(of_run.items())
    ]
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return make_table(Run, columns, len(rows))


def _chosen_runs(group: dict[str, list[Place]], run: str) -> list[list[Place]]:
    """Of runs that compete, those wanted; their names differ in what follows the same folder."""
    if run not in POLICIES:
        return [places for name, places in group.items() if run in {places[0].timestamp, name.rpartition("/")[2]}]

    def rank(name: str) -> tuple[int, str, str]:
        places = group[name]
        return len(places) if run == "most_complete" else 0, places[0].timestamp or "", name

    return [group[max(group, key=rank)]]


def _row(path: str, places: Sequence[Place], read_json: Callable[[str], Any] | None) -> dict[str, Any]:
    first = places[0]
    files = {place.kind: place.path for place in places if place.kind in CONFIGURATIONS}
    config = _content(first_of(files, _SETTINGS), read_json)
    bench = _content(files.get("bench"), read_json)
    known = {**(bench or {}), **(config or {})}
    return {
        "path": path,
        "strand": first.strand,
        "preset": first.preset if first.strand == "depth" else _text(known.get("preset")) or _shared(places, "preset"),
        "dataset": _shared(places, "dataset"),
        "timestamp": first.timestamp,
        "variant": first.variant,
        "legacy": first.legacy,
        "n_files": len(places),
        "complete": _is_complete(places, config) if first.strand == "depth" and read_json else None,
        "context_len": _whole(first_of(known, CONTEXT_LENGTH_NAMES)),
        "num_batches": _whole(known.get("num_batches")),
        "seed": _whole(first_of(known, ("random_seed", "seed"))),
        "threshold": _number(known.get("threshold")),
        "sae_arch": _text(known.get("sae_arch")),
        "torch_version": _text(known.get("torch_version")),
        "gpu_name": _text(known.get("gpu_name")),
        "config": None if config is None else json_text(config),
        "bench": None if bench is None else json_text(bench),
    }


def _content(name: str | None, read_json: Callable[[str], Any] | None) -> dict[str, Any] | None:
    if name is None or read_json is None:
        return None
    try:
        value = read_json(name)
    except CircuitArtifactsError:  # an inventory lists what there is; the checks report what cannot be read
        return None
    return value if isinstance(value, dict) else None


def _is_complete(places: Sequence[Place], config: dict[str, Any] | None) -> bool:
    """Whether the job got to its end: it wrote its measurements, and every layer that it set out for."""
    present = {place.layer for place in places if place.kind == "depth"}
    layers = (config or {}).get("layers")
    wanted = {layer for layer in layers if isinstance(layer, int)} if isinstance(layers, list) else present
    return bool(present) and wanted <= present and any(place.kind == "bench" for place in places)


def _shared(places: Sequence[Place], name: str) -> str | None:
    """What all files of a run have in common; None if they differ."""
    values = {getattr(place, name) for place in places} - {None}
    return values.pop() if len(values) == 1 else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
