"""Which features a run of events, or of autocorrelation, looks at."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import numpy as np

from circuit_artifacts.compute.locality.autocorrelation import activation_statistics
from circuit_artifacts.compute.locality.autocorrelation_model import AutocorrelationSettings, activations_of
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel, FeatureSet, feature_set
from circuit_artifacts.compute.locality.runner import LocalityRunner
from circuit_artifacts.errors import SchemaError

__all__ = ["chosen_features", "sample_active_features"]

_TOKENS: Final = 200_000
"""Of the corpus, at most, on which densities are measured."""
_CANDIDATES_PER_FEATURE: Final = 16
_DOCUMENT: Final = 128  # tokens; the corpus is looked at in pieces, so that any model can take them
_DENSITIES: Final = AutocorrelationSettings(threshold=0.0)
_OWN_LIST = "chosen"


def chosen_features(runner: LocalityRunner) -> FeatureSet:
    """The features that the parameters name: a published list, ids, or how many to sample.

    Raises:
        UnknownNameError: there is no such list.
        SchemaError: too few features are active to sample so many.
    """
    p = runner.parameters
    if isinstance(p.features, str):
        return replace(feature_set(p.features), preset=p.preset, layer=p.layer)
    ids = sample_active_features(runner, p.features) if isinstance(p.features, int) else p.features
    labels = tuple(FeatureLabel(feature) for feature in ids)
    sae_id = p.neuronpedia.rpartition("/")[2] if p.contexts == "neuronpedia" else runner.sae_source(p.layer)
    return FeatureSet(_OWN_LIST, None, p.preset, p.layer, sae_id, labels)


def sample_active_features(runner: LocalityRunner, n: int) -> list[int]:
    """Draw features among those that are active neither too rarely nor too often (ours).

    The bounds are those between which the published lists were picked, 1e-5 to 0.1 of the tokens, on the first 200,000
    tokens of the corpus.

    Returns:
        Feature numbers, ascending.

    Raises:
        SchemaError: there are not enough of them.
    """
    p = runner.parameters
    sae = runner.sae(p.layer)
    n_candidates = min(sae.d_sae, n * _CANDIDATES_PER_FEATURE)
    candidates = random.Random(p.seed).sample(range(sae.d_sae), n_candidates)  # noqa: S311 - a seed, no secret
    tokens = runner.tokens[:_TOKENS]
    pieces = [tokens[start : start + _DOCUMENT] for start in range(0, len(tokens), _DOCUMENT)]
    activations = activations_of(runner.model, sae, pieces, layer=p.layer, features=candidates, sae_encode=p.sae_encode)
    density = activation_statistics(activations, candidates, runner.threshold)["density"].to_numpy()
    eligible = np.flatnonzero((density >= _DENSITIES.min_density) & (density <= _DENSITIES.max_density))
    if len(eligible) < n:
        problem = "not enough features are active neither too rarely nor too often"
        raise SchemaError(problem, where="features", found=len(eligible), expected=n, remedy="Ask for fewer.")
    return sorted(candidates[place] for place in eligible[:n])
