"""Activation autocorrelation, by formulas that are ours: of this strand only the card speaks (locality spec 5.7)."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator

from circuit_artifacts.compute.locality.autocorrelation_files import write_autocorrelation
from circuit_artifacts.compute.locality.autocorrelation_model import AutocorrelationSettings, measure_autocorrelation
from circuit_artifacts.compute.locality.feature_choice import chosen_features
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of
from circuit_artifacts.compute.locality.runner import LocalityRunner
from circuit_artifacts.compute.models import context_length
from circuit_artifacts.jobs import Job

__all__ = ["run"]

_PARAMETERS = (
    "features", "n_documents", "document_tokens", "lookback", "n_examples", "n_positions", "max_lag", "seed",
    "corpus", "device",
)  # fmt: skip
_CHECKPOINT = ".targets"


def run(job: Job) -> None:
    """Make one run: ``feature_activation_autocorr/<timestamp>/``."""
    root = next(iter(job.outputs.values()))
    runner = LocalityRunner(job, LocalityParameters.of(job.parameters))
    p = runner.parameters
    features = [label.feature_id for label in chosen_features(runner).features]
    documents = dict(_documents(runner))
    choices = AutocorrelationSettings(
        threshold=runner.threshold,
        n_examples=p.n_examples,
        max_lag=p.max_lag,
        n_positions=p.n_positions,
        lookback=p.lookback,
        seed=p.seed,
        sae_encode=p.sae_encode,
    )
    settings = {
        "model": runner.identity,
        "sae": runner.sae_digest(p.layer),
        "features": features,
        "corpus_text": runner.corpus.fingerprint,
        **dataclasses.asdict(choices),
        **p.recorded("preset", "dataset", "layer", *_PARAMETERS),
    }
    with run_folder(root / "feature_activation_autocorr", settings, timestamp=p.timestamp) as folder:
        result = measure_autocorrelation(
            runner.model,
            runner.sae(p.layer),
            list(documents.values()),
            layer=p.layer,
            features=features,
            settings=choices,
            checkpoint=folder / _CHECKPOINT,
            identity=repr(sorted(settings.items())),
        )
        config = {"timestamp": timestamp_of(folder), "preset": p.preset, "layer": p.layer}
        config |= {"sae_id": runner.sae_source(p.layer), **dataclasses.asdict(choices), **runner.machine}
        write_autocorrelation(
            folder,
            result,
            runner.record(*_PARAMETERS, layer=p.layer),
            doc_ids=list(documents),
            config=config,
            corpus={"corpus": runner.corpus.name, "sha256": runner.corpus.fingerprint},
        )
        shutil.rmtree(folder / _CHECKPOINT, ignore_errors=True)


def _documents(runner: LocalityRunner) -> Iterator[tuple[str, list[int]]]:
    """Names and token ids of the corpus's documents, in pieces that the model takes."""
    p = runner.parameters
    longest = min(p.document_tokens, context_length(runner.model) or p.document_tokens)
    made = 0
    for name, text in zip(runner.corpus.names, runner.corpus.documents, strict=True):
        ids = runner.encode(text)
        for start in range(0, len(ids), longest):
            if made == p.n_documents:
                return
            yield f"{name}#{start}" if len(ids) > longest else name, ids[start : start + longest]
            made += 1
