"""The files of the events strand in the published layout, written from arrays (locality spec 4.3, 4.7 to 4.13)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts
from circuit_artifacts.compute.locality.events import COLUMNS, FeatureEntropy, MeasuredEvent
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel
from circuit_artifacts.compute.locality.virtual_corpus import AdapterLog
from circuit_artifacts.compute.locality.writing import write_json, write_tensor
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.provenance import Provenance, derived_file

__all__ = [
    "RunFacts",
    "write_adapter_log",
    "write_case_study_manifest",
    "write_contexts",
    "write_events",
    "write_manifest",
]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the manifests of a run of events and of its case studies both say.

    Attributes:
        timestamp: of the run's folder, ``YYYYMMDD_HHMMSS``.
        preset: name of the model's preset.
        layer: whose residual stream the autoencoder reads.
        sae_id: what Neuronpedia, or whoever made it, calls the autoencoder.
        context_len: tokens per window, the main one if there are several.
        git_commit: of the code that ran; None if it is not known.
    """

    timestamp: str
    preset: str
    layer: int
    sae_id: str
    context_len: int
    git_commit: str | None = None


def write_events(folder: Path, context_len: int, events: Sequence[MeasuredEvent], record: Provenance) -> None:
    """Write ``ctx<NNN>.csv`` and ``influences_ctx<NNN>.npz``.

    Args:
        folder: of the run.
        context_len: tokens per window.
        events: all of that context length, each feature and rank once.
        record: how they were made.

    Raises:
        SchemaError: an event of another context length, or two of one feature and rank.
    """
    lengths = {event.ctx_len for event in events} - {context_len}
    if lengths:
        problem = "events of another context length do not belong in this table"
        raise SchemaError(problem, file=folder, found=sorted(lengths), expected=context_len)
    keys = {event.key for event in events}
    if len(keys) < len(events):
        problem = "two events are of the same feature and rank"
        raise SchemaError(problem, file=folder, found=f"{len(events)} events", expected=f"{len(keys)}, all different")
    influences: dict[str, Any] = {event.key: event.influence for event in events if event.influence is not None}
    # Given a name, numpy would add a suffix to it. Members carry no date.
    with derived_file(folder / f"influences_ctx{context_len:03d}.npz", record) as file, file.open("wb") as stream:
        np.savez_compressed(stream, **influences)
    table = folder / f"ctx{context_len:03d}.csv"
    with derived_file(table, record) as file, file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)  # ends lines as the published tables do, with CRLF
        writer.writerow(COLUMNS)
        writer.writerows([getattr(event, name) for name in COLUMNS] for event in events)


def write_contexts(
    folder: Path, layer: int, contexts: Sequence[FeatureContexts], record: Provenance, *, corpus: Tensor | None = None
) -> None:
    """Write ``top_contexts_layer<L>.json``, and ``corpus_tokens.pt`` if there is a corpus to keep.

    Args:
        folder: of the run.
        layer: in the name of the file.
        contexts: each feature once.
        record: how they were made.
        corpus: (T,), int64, which the contexts' places count in.
    """
    content = {
        str(entry.feature_id): {
            "max_activation": entry.max_activation,
            "examples": [_example(example) for example in entry.examples],
        }
        for entry in contexts
    }
    if corpus is not None:
        write_tensor(folder / "corpus_tokens.pt", corpus.cpu().numpy(), record)
    write_json(folder / f"top_contexts_layer{layer}.json", content, record)


def write_adapter_log(
    folder: Path, logs: Mapping[int, AdapterLog], record: Provenance, *, labels: Sequence[FeatureLabel] = ()
) -> None:
    """Write ``adapter_log.json``: what became of each feature's examples on Neuronpedia.

    Args:
        folder: of the run.
        logs: by feature; those without an answer are absent.
        record: how they were made.
        labels: give the tiers.
    """
    tiers = {label.feature_id: label.tier for label in labels}
    content = {str(feature): {"tier": tiers.get(feature, ""), **asdict(log)} for feature, log in logs.items()}
    write_json(folder / "adapter_log.json", content, record)


def write_manifest(
    folder: Path,
    facts: RunFacts,
    record: Provenance,
    *,
    top_k: int,
    corpus: str,
    features: Sequence[FeatureLabel],
    context_lens: Sequence[int] = (),
    scan: tuple[int, int | None] | None = None,
    source: str | None = None,
) -> None:
    """Write the ``manifest.json`` of a run of events.

    It names no host. What the published cluster jobs say of their queue is null.

    Args:
        folder: of the run.
        facts: which run this is.
        record: how it was made.
        top_k: events per feature, at most.
        corpus: where the text is from, in words.
        features: those looked at.
        context_lens: of a sweep.
        scan: of contexts that were looked for in a corpus: tokens per window, and the most windows.
        source: of contexts from Neuronpedia, in words.
    """
    content: dict[str, Any] = {
        "experiment": "cherry_picked_feature_entropy",
        "timestamp": facts.timestamp,
        "git_commit": facts.git_commit,
        "preset": facts.preset,
        "layer": facts.layer,
        "sae_id": facts.sae_id,
        "ctx_len": facts.context_len,
        "top_k": top_k,
        "corpus": corpus,
        "queue": None,
        "gputype": None,
        "mem_per_core_gb": None,
        "features": [asdict(label) for label in features],
    }
    if context_lens:
        content["ctx_lens_swept"] = list(context_lens)
    if scan is not None:
        content["top_contexts_window"], content["max_batches"] = scan
    if source is not None:
        content |= {"variant": "neuronpedia", "source": source}
    write_json(folder / "manifest.json", content, record)


def write_case_study_manifest(
    folder: Path,
    facts: RunFacts,
    record: Provenance,
    *,
    source: str,
    n_contexts: int,
    features: Sequence[FeatureEntropy],
    labels: Sequence[FeatureLabel] = (),
    recall: Mapping[int, float] | None = None,
) -> None:
    """Write the ``manifest.json`` of a page of case studies.

    Args:
        folder: of the page.
        facts: which page this is, and of which context length.
        record: how it was made.
        source: folder of the run of events, relative to the repository's root. Published manifests have an absolute
            path there.
        n_contexts: contexts shown per feature.
        features: those on the page.
        labels: their tiers and descriptions.
        recall: scores of the descriptions by feature, as far as there are any.

    Raises:
        SchemaError: the source is not a relative path inside the repository.
    """
    path = PurePosixPath(source)
    if path.is_absolute() or ".." in path.parts or "\\" in source or ":" in source or not path.parts:
        problem = "the run is not named by its folder in the repository"
        raise SchemaError(problem, file=folder, where="source_expt_dir", found=repr(source), expected="strand/run")
    label_of = {label.feature_id: label for label in labels}
    content = {
        "experiment": "feature_case_studies",
        "timestamp": facts.timestamp,
        "preset": facts.preset,
        "layer": facts.layer,
        "sae_id": facts.sae_id,
        "ctx_len": facts.context_len,
        "top_n_contexts": n_contexts,
        "source_expt_dir": path.as_posix(),
        "features": [
            {
                **asdict(label_of.get(entry.feature_id, FeatureLabel(entry.feature_id))),
                "mean_h_pos": entry.mean_bits,
                "std_h_pos": entry.std_bits,
                "n_events": entry.n_events,
                "recall_alt": (recall or {}).get(entry.feature_id),
            }
            for entry in features
        ],
    }
    write_json(folder / "manifest.json", content, record)


def _example(example: ContextExample) -> dict[str, Any]:
    content: dict[str, Any] = {
        "activation": example.activation,
        "token_idx": example.token_idx,
        "tokens": list(example.tokens),
        "activating_token": example.activating_token,
        "window_start_token": example.window_start_token,
    }
    if example.neuronpedia_rank is not None:
        content["neuronpedia_data_index"] = example.neuronpedia_data_index
        content["neuronpedia_rank"] = example.neuronpedia_rank
    return content
