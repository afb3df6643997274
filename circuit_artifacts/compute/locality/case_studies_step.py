"""Case studies: the features of a run of events with their statistics; the page is drawn with the figures."""

from __future__ import annotations

import math

import pandas as pd

from circuit_artifacts import provenance
from circuit_artifacts.compute.locality.event_files import RunFacts, write_case_study_manifest
from circuit_artifacts.compute.locality.events import FeatureEntropy, entropy_by_feature
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.jobs import Job

__all__ = ["run"]

_CONTEXTS = 5  # per feature, on the page
_SET = "events"  # the names of the published sets are not known; this is ours


def run(job: Job) -> None:
    """Make one page's manifest: ``feature_case_studies/<timestamp>_events/``."""
    root = next(iter(job.outputs.values()))
    p = LocalityParameters.of(job.parameters)
    found = job.input_files("events")
    (config,) = job.mirror.family_by_name["events"].configs
    events = read_table(job.mirror, config, found).to_pandas()
    source = str(events["run"].max()) if len(events) else ""
    events = events[events["run"] == source]
    ctx = p.event_context_lens[0] if p.event_context_lens[0] in set(events["ctx"]) else events["ctx"].max()
    events = events[events["ctx"] == ctx]
    if events.empty:
        problem = "there are no events to study"
        raise SchemaError(problem, file=found)
    earlier = provenance.read(found)
    stated = earlier.parameters if earlier is not None else {}
    settings = {"source": source, "ctx": int(ctx), "n_contexts": _CONTEXTS}
    with run_folder(root / "feature_case_studies", settings, timestamp=p.timestamp, variant=_SET) as folder:
        facts = RunFacts(
            timestamp=timestamp_of(folder),
            preset=str(stated.get("preset", p.preset)),
            layer=int(stated.get("layer", p.layer)),
            sae_id=str(stated.get("sae_source", p.neuronpedia.rpartition("/")[2])),
            context_len=int(ctx),
        )
        record = job.record(
            parameters={**stated, **settings},
            model=earlier.model if earlier is not None else None,
            n_layers=earlier.n_layers if earlier is not None else None,
            width=earlier.width if earlier is not None else None,
        )
        write_case_study_manifest(
            folder,
            facts,
            record,
            source=source,
            n_contexts=_CONTEXTS,
            features=_entropies(events),
            labels=_labels(events),
        )


def _entropies(events: pd.DataFrame) -> list[FeatureEntropy]:
    """By rising mean; features without any entropy at the end."""
    found = entropy_by_feature(events["feature_id"].tolist(), events["H_pos_bits"].tolist())
    return sorted(found, key=lambda feature: math.inf if feature.mean_bits is None else feature.mean_bits)


def _labels(events: pd.DataFrame) -> list[FeatureLabel]:
    first = events.drop_duplicates("feature_id")
    columns = first[["feature_id", "tier", "description"]].itertuples(index=False, name=None)
    return [FeatureLabel(int(feature), tier or "", description or "") for feature, tier, description in columns]
