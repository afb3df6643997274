"""Cached answers of Neuronpedia (sae_locality spec 4.21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from circuit_artifacts.sae_locality.files import RepositoryFile, make_table
from circuit_artifacts.sae_locality.json_files import json_text, read_object
from circuit_artifacts.schemas.sae_locality import NeuronpediaFeature

__all__ = ["best_description", "best_recall", "neuronpedia", "shortened"]

_RECALL = "recall_alt"
_TOP_TOKENS = 3
_LONGEST_DESCRIPTION = 90  # characters


def neuronpedia(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """One row of `NeuronpediaFeature`. Every field of an answer is optional.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: not an object.
    """
    answer = read_object(file.path)
    columns = {
        "model": file.place.model,
        "sae": file.place.sae,
        "feature_id": file.place.feature_id,
        "density": _number(answer.get("frac_nonzero")),
        "max_activation": _number(answer.get("maxActApprox")),
        "description": _explanation(answer),
        "recall": best_recall(answer),
        "n_activations": len(_objects(answer.get("activations"))),
        "raw": json_text(answer, about_machine=False),
    }
    return make_table(NeuronpediaFeature, columns, 1, file=file)


def best_description(answer: Mapping[str, Any]) -> str:
    """What a feature is about (spec 5.8): the first explanation, else the tokens that it boosts most.

    The words of the placeholder for a feature with neither are ours; it is never empty, because the published geometry
    code loses features whose description is. Half a surrogate pair, which JSON can hold and no file, is escaped.
    """
    boosted = answer.get("pos_str")
    tokens = [text for text in boosted if isinstance(text, str)] if isinstance(boosted, list) else []
    boosts = f"boosts: {', '.join(tokens[:_TOP_TOKENS])}" if tokens else "(no description)"
    return (_explanation(answer) or boosts).encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(description: str) -> str:
    """A description as the published lists show it: of more than 90 characters the first 87, and three dots."""
    is_long = len(description) > _LONGEST_DESCRIPTION
    return f"{description[: _LONGEST_DESCRIPTION - 3]}..." if is_long else description


def best_recall(answer: Mapping[str, Any]) -> float | None:
    """The best recall score over all explanations; None if there is none."""
    explanations = _objects(answer.get("explanations"))
    scores = [score for explanation in explanations for score in _objects(explanation.get("scores"))]
    values = [_number(score.get("value")) for score in scores if score.get("explanationScoreTypeName") == _RECALL]
    return max((value for value in values if value is not None), default=None)


def _explanation(answer: Mapping[str, Any]) -> str | None:
    """The text of the first explanation that has one."""
    texts = (explanation.get("description") for explanation in _objects(answer.get("explanations")))
    return next((text for text in texts if isinstance(text, str)), None)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """A number, also where it was written as text."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
