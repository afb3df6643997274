"""Cached answers of Neuronpedia (sae_locality spec 4.21)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from circuit_artifacts.sae_locality.files import RepositoryFile, make_table
from circuit_artifacts.sae_locality.json_files import json_text, read_object
from circuit_artifacts.schemas.sae_locality import NeuronpediaFeature

__all__ = ["neuronpedia"]

_RECALL = "recall_alt"


def neuronpedia(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """One row of `NeuronpediaFeature`. Every field of an answer is optional.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: not an object.
    """
    answer = read_object(file.path)
    explanations = _objects(answer.get("explanations"))
    columns = {
        "model": file.place.model,
        "sae": file.place.sae,
        "feature_id": file.place.feature_id,
        "density": _number(answer.get("frac_nonzero")),
        "max_activation": _number(answer.get("maxActApprox")),
        "description": next((text for e in explanations if isinstance(text := e.get("description"), str)), None),
        "recall": _recall(explanations),
        "n_activations": len(_objects(answer.get("activations"))),
        "raw": json_text(answer, about_machine=False),
    }
    return make_table(NeuronpediaFeature, columns, 1, file=file)


def _recall(explanations: Sequence[dict[str, Any]]) -> float | None:
    """The best recall over all explanations."""
    scores = [score for explanation in explanations for score in _objects(explanation.get("scores"))]
    values = [_number(score.get("value")) for score in scores if score.get("explanationScoreTypeName") == _RECALL]
    return max((value for value in values if value is not None), default=None)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """A number, also where it was written as text."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
