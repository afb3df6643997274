"""Decoder geometry beside entropy: the vectors, which need the autoencoder, and the rest (locality spec 5.6)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from circuit_artifacts import provenance
from circuit_artifacts.compute.locality.geometry import feature_means
from circuit_artifacts.compute.locality.geometry_files import Geometry, GeometryRun, write_comparison, write_vectors
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.filesets import FileSet
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.jobs import Job
from circuit_artifacts.sae_locality.paths import classify

__all__ = ["decoder_vectors", "geometry"]

_FOLDER = "feature_geometry_vs_entropy"
_COLUMNS = ["feature_id", "tier", "description", "n_events", "H_pos_mean", "H_pos_std", "row_idx"]


def decoder_vectors(job: Job) -> None:
    """Make ``per_feature.csv`` and ``decoder_vectors.pt`` of the features of a run of events."""
    from circuit_artifacts.compute.locality.runner import LocalityRunner  # imports torch

    root = next(iter(job.outputs.values()))
    runner = LocalityRunner(job, LocalityParameters.of(job.parameters))
    p = runner.parameters
    found = job.input_files("events")
    events = _rows(job, "events", found)
    ctx = p.event_context_lens[0] if p.event_context_lens[0] in set(events["ctx"]) else int(events["ctx"].max())
    features = feature_means(events[events["ctx"] == ctx])
    if features.empty:
        problem = "no event was measured, so that no feature has an entropy"
        raise SchemaError(problem, file=found, expected="rows with the status ok")
    sae = runner.sae(p.layer)
    decoder = sae.W_dec.detach()[features["feature_id"].tolist()].cpu().numpy().astype(np.float32)
    facts: dict[str, Any] = {
        "sae_id": runner.sae_source(p.layer),
        "ctx_len": ctx,
        "source_experiment_dir": str(events["run"].iloc[0]),
    }
    settings = {**facts, "sae": runner.sae_digest(p.layer)}
    with run_folder(root / _FOLDER, settings, timestamp=p.timestamp) as folder:
        write_vectors(folder, features, decoder, runner.record(layer=p.layer, **facts))


def geometry(job: Job) -> None:
    """Compare decoder directions with entropies: pairs, neighbours, the null, and Neuronpedia's cosines."""
    root = next(iter(job.outputs.values()))
    p = LocalityParameters.of(job.parameters)
    found = job.input_files("geometry_features")
    features = _rows(job, "geometry_features", found).sort_values("row_idx", ignore_index=True)
    vectors = _rows(job, "decoder_vectors", job.input_files("decoder_vectors")).sort_values("row_idx")
    measured = Geometry.measure(
        features[_COLUMNS],
        np.stack(vectors["vector"].to_list()).astype(np.float32),
        _answers(job, p.neuronpedia),
        n_permutations=p.n_permutations,
    )
    earlier = provenance.read(found)
    stated = earlier.parameters if earlier is not None else {}
    usual = {
        "preset": p.preset,
        "layer": p.layer,
        "sae_id": p.neuronpedia.rpartition("/")[2],
        "ctx_len": p.event_context_lens[0],
        "source_experiment_dir": "",
    }
    place = classify(found.names[0])
    run = GeometryRun(timestamp=place.timestamp or "", **{name: stated.get(name, usual[name]) for name in usual})
    record = job.record(
        parameters={**stated, "n_permutations": p.n_permutations},
        model=earlier.model if earlier is not None else None,
        n_layers=earlier.n_layers if earlier is not None else None,
        width=measured.decoder.shape[1],
    )
    write_comparison(root / place.run, measured, run, record)


def _rows(job: Job, family: str, found: FileSet) -> pd.DataFrame:
    (config,) = job.mirror.family_by_name[family].configs
    frame: pd.DataFrame = read_table(job.mirror, config, found).to_pandas()
    return frame


def _answers(job: Job, neuronpedia: str) -> dict[int, dict[str, Any]]:
    """Neuronpedia's answers about the autoencoder by feature, as far as they are on this machine."""
    if "neuronpedia" not in job.inputs:
        return {}
    rows = _rows(job, "neuronpedia", job.input_files("neuronpedia"))
    model, _, sae = neuronpedia.partition("/")
    rows = rows[(rows["model"] == model) & (rows["sae"] == sae.replace("/", "__"))]
    return {int(feature): json.loads(raw) for feature, raw in zip(rows["feature_id"], rows["raw"], strict=True)}
