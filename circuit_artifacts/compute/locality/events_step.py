"""Events: the peaks of chosen features, and influence and entropy at each of them (locality spec 5.5)."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_artifacts.compute.locality import neuronpedia
from circuit_artifacts.compute.locality.contexts import FeatureContexts, scan_corpus
from circuit_artifacts.compute.locality.event_files import (
    RunFacts,
    write_adapter_log,
    write_contexts,
    write_events,
    write_manifest,
)
from circuit_artifacts.compute.locality.events import measure_events
from circuit_artifacts.compute.locality.feature_choice import chosen_features
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel, FeatureSet
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of
from circuit_artifacts.compute.locality.runner import LocalityRunner
from circuit_artifacts.compute.locality.virtual_corpus import AdapterLog, contexts_from_neuronpedia, verify_contexts
from circuit_artifacts.errors import MissingArtifactError, SchemaError
from circuit_artifacts.jobs import Job
from circuit_artifacts.progress import track
from circuit_artifacts.sae_locality.neuronpedia import best_description, shortened

__all__ = ["run"]

logger = logging.getLogger(__name__)

_PARAMETERS = (
    "features", "contexts", "neuronpedia", "top_k", "scan_window", "scan_windows", "event_context_lens",
    "seed", "corpus", "device", "pass_tokens",
)  # fmt: skip
_CHECKPOINT = ".events"
_CACHE = "neuronpedia_cache"
_PEAKS_NAMED = 3


class _Found(NamedTuple):
    """Contexts and the text that they count in."""

    contexts: list[FeatureContexts]
    corpus: Tensor
    logs: dict[int, AdapterLog] | None
    labels: tuple[FeatureLabel, ...]


def run(job: Job) -> None:
    """Make one run: ``cherry_picked_feature_entropy/<timestamp>[_<variant>]/``."""
    root = next(iter(job.outputs.values()))
    runner = LocalityRunner(job, LocalityParameters.of(job.parameters))
    p = runner.parameters
    chosen = chosen_features(runner)
    sae = runner.sae(p.layer)
    settings = {
        "model": runner.identity,
        "sae": runner.sae_digest(p.layer),
        "features": [label.feature_id for label in chosen.features],
        **p.recorded("preset", "dataset", "layer", "sae_encode", *_PARAMETERS),
    }
    if p.contexts == "scan":
        settings["corpus_text"] = runner.corpus.fingerprint
    identity = repr(sorted(settings.items()))
    variant = (chosen.variant or "neuronpedia") if p.contexts == "neuronpedia" else ""
    with run_folder(root / "cherry_picked_feature_entropy", settings, timestamp=p.timestamp, variant=variant) as folder:
        checkpoint = folder / _CHECKPOINT
        find = _scan if p.contexts == "scan" else _ask_neuronpedia
        found = find(runner, chosen, root, checkpoint, identity)
        record = runner.record(*_PARAMETERS, layer=p.layer)
        # Of a scan the corpus stays where it is; one that was put together is nowhere else.
        corpus = None if p.contexts == "scan" else found.corpus
        write_contexts(folder, p.layer, found.contexts, record, corpus=corpus)
        if found.logs is not None:
            write_adapter_log(folder, found.logs, record, labels=found.labels)
        for context_len in p.event_context_lens:
            events = measure_events(
                runner.model,
                sae,
                found.corpus,
                found.contexts,
                layer=p.layer,
                threshold=runner.threshold,
                context_len=context_len,
                labels=found.labels,
                sae_encode=p.sae_encode,
                checkpoint=checkpoint,
                identity=identity,
            )
            write_events(folder, context_len, events, record)
        facts = RunFacts(
            timestamp=timestamp_of(folder),
            preset=p.preset,
            layer=p.layer,
            sae_id=chosen.sae_id,
            context_len=p.event_context_lens[0],
        )
        is_scan = p.contexts == "scan"
        write_manifest(
            folder,
            facts,
            record,
            top_k=p.top_k,
            corpus=p.dataset if is_scan else "monology/pile-uncopyrighted via Neuronpedia",
            features=found.labels,
            context_lens=p.event_context_lens,
            scan=(p.scan_window, p.scan_windows) if is_scan else None,
            source=None if is_scan else f"{neuronpedia.BASE_URL}, {p.neuronpedia}",
        )
        shutil.rmtree(checkpoint, ignore_errors=True)


def _scan(runner: LocalityRunner, chosen: FeatureSet, _root: Path, checkpoint: Path, identity: str) -> _Found:
    """The highest activations in windows of the corpus."""
    p = runner.parameters
    corpus = torch.tensor(runner.tokens, dtype=torch.int64)
    contexts = scan_corpus(
        runner.model,
        runner.sae(p.layer),
        corpus,
        layer=p.layer,
        features=[label.feature_id for label in chosen.features],
        window=p.scan_window,
        top_k=p.top_k,
        token_strings=runner.texts,
        max_windows=p.scan_windows,
        sae_encode=p.sae_encode,
        checkpoint=checkpoint,
        identity=identity,
    )
    peaks = {entry.feature_id: _peaks(entry) for entry in contexts}
    labels = (
        label if label.description else replace(label, description=peaks[label.feature_id]) for label in chosen.features
    )
    return _Found(contexts, corpus, None, tuple(labels))


def _ask_neuronpedia(
    runner: LocalityRunner, chosen: FeatureSet, root: Path, _checkpoint: Path, _identity: str
) -> _Found:
    """The examples that Neuronpedia has, checked against the model."""
    p = runner.parameters
    model, _, sae_id = p.neuronpedia.partition("/")
    answers = {}
    for label in track(chosen.features, "asking Neuronpedia", total=len(chosen.features)):
        try:
            answers[label.feature_id] = neuronpedia.feature(model, sae_id, label.feature_id, cache=root / _CACHE)
        except MissingArtifactError as error:
            if not answers:
                raise
            logger.warning("feature %d is left out: %s", label.feature_id, error.problem)
    backend = runner.tokenizer.backend
    contexts, corpus, logs = contexts_from_neuronpedia(
        answers,
        backend.token_to_id,
        backend.id_to_token,
        bos_id=runner.bos_id,
        top_k=p.top_k,
        bos_text=runner.piece(runner.bos_id),
    )
    if not len(corpus):
        problem = "Neuronpedia has no example that the tokenizer knows"
        raise SchemaError(problem, where=p.neuronpedia, remedy="Check the names of model and autoencoder.")
    verify_contexts(runner.model, runner.sae(p.layer), corpus, contexts, layer=p.layer, sae_encode=p.sae_encode)
    descriptions = {feature: shortened(best_description(answer)) for feature, answer in answers.items()}
    labels = (
        replace(label, description=descriptions[label.feature_id])
        for label in chosen.features
        if label.feature_id in answers
    )
    return _Found(contexts, corpus, logs, tuple(labels))


def _peaks(entry: FeatureContexts) -> str:
    """A description by the tokens on which a feature peaks most often (ours)."""
    pieces = Counter(example.activating_token for example in entry.examples if example.activation > 0)
    return "peaks on " + ", ".join(repr(piece) for piece, _ in pieces.most_common(_PEAKS_NAMED)) if pieces else ""
