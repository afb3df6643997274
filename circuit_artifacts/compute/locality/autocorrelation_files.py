"""The files of an autocorrelation run (locality spec 4.19). The columns that the card does not name are ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from circuit_artifacts.compute.locality.autocorrelation import FORMULAS, curve_table, feature_summary
from circuit_artifacts.compute.locality.autocorrelation_model import Autocorrelation
from circuit_artifacts.compute.locality.writing import write_arrays, write_json, write_table
from circuit_artifacts.provenance import Provenance

__all__ = ["write_autocorrelation"]

_EXPERIMENT: Final = "feature_activation_autocorr"


def write_autocorrelation(
    folder: Path,
    result: Autocorrelation,
    record: Provenance,
    *,
    doc_ids: Sequence[str],
    config: Mapping[str, Any],
    corpus: Mapping[str, Any],
) -> None:
    """Write all files of a run but its pages and figures. Every file, or its provenance, says whose formulas these are.

    ``activation_traces.npz`` has one array per feature, named by its number, its strips in the order of
    ``top_examples.csv``; a feature that is never active has none.

    Args:
        folder: the run's folder, ``feature_activation_autocorr/<timestamp>``; created if need be.
        result: what was measured.
        record: provenance of every file.
        doc_ids: a name for each document.
        config: what ``run_config.json`` says of the run: preset, layer, settings.
        corpus: what ``fineweb_corpus_meta.json``, so called whatever they are, says of the documents.
    """
    record = record.model_copy(update={"parameters": {**record.parameters, "formulas": FORMULAS}})
    features = result.selected["feature_id"].tolist()
    summary = feature_summary(result.selected, result.curves, result.strips, result.targets)
    write_json(folder / "run_config.json", {"experiment": _EXPERIMENT, **config, "formulas": FORMULAS}, record)
    write_json(folder / "fineweb_corpus_meta.json", {**corpus, "n_documents": len(doc_ids)}, record)
    write_table(folder / "selected_features.csv", result.selected, record)
    write_table(folder / "top_examples.csv", _with_names(result.peaks, doc_ids), record)
    write_arrays(folder / "activation_traces.npz", {str(f): strip for f, strip in result.strips.items()}, record)
    write_table(folder / "autocorr_curves.csv", curve_table(features, result.curves), record)
    write_table(folder / "entropy_targets.csv", _with_names(result.targets, doc_ids), record)
    write_table(folder / "feature_summary.csv", summary, record)


def _with_names(places: pd.DataFrame, doc_ids: Sequence[str]) -> pd.DataFrame:
    """Documents by their names instead of their indices."""
    names = [doc_ids[document] for document in places["document"].tolist()]
    return places.assign(document=names).rename(columns={"document": "doc_id"})
