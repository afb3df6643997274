"""The features that the published event runs look at, and random ones for other autoencoders (locality spec 5.5)."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = ["FEATURE_SETS", "FeatureLabel", "FeatureSet", "feature_set", "sample_features"]


@dataclass(frozen=True)
class FeatureLabel:
    """What people say of a feature.

    Attributes:
        feature_id: its number in the autoencoder.
        tier: token, phrase, concept or abstract, a retired label; empty if it has none.
        description: empty if there is none.
    """

    feature_id: int
    tier: str = ""
    description: str = ""


@dataclass(frozen=True)
class FeatureSet:
    """A published list of features.

    Attributes:
        name: ours; the published files give the lists no name.
        variant: suffix of the folders of its runs, as far as it is known.
        preset: name of the model's preset.
        layer: whose residual stream the autoencoder reads.
        sae_id: the autoencoder in the terms of Neuronpedia.
        features: with their tiers where these are known; the published descriptions are not.
    """

    name: str
    variant: str | None
    preset: str
    layer: int
    sae_id: str
    features: tuple[FeatureLabel, ...]


def feature_set(name: str) -> FeatureSet:
    """A published list by its name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FEATURE_SETS:
        problem = "there is no such list of features"
        raise UnknownNameError(problem, where="features", found=repr(name), expected=", ".join(FEATURE_SETS))
    return FEATURE_SETS[name]


def sample_features(n_features: int, n: int, *, seed: int = 0, exclude: Collection[int] = ()) -> list[int]:
    """Draw features as the published list of 298 was drawn.

    Args:
        n_features: features of the autoencoder.
        n: features to draw, without replacement.
        seed: of Python's `random`.
        exclude: features to leave out of what was drawn; none are drawn for them.

    Returns:
        Feature numbers, ascending.

    Raises:
        SchemaError: the autoencoder has fewer features.
    """
    if not 0 <= n <= n_features:
        problem = "the autoencoder does not have as many features as were asked for"
        raise SchemaError(problem, found=n, expected=f"at most {n_features}")
    drawn = random.Random(seed).sample(range(n_features), n)  # noqa: S311 - a published seed, no secret
    return sorted(set(drawn) - set(exclude))


# Locality golden numbers.
_PILOT: Final = MappingProxyType(
    {
        "token": (2735, 4267, 11372, 10312, 5306),
        "phrase": (2000, 4795, 12022, 9203, 9425),
        "concept": (2040, 15922, 10627, 11826, 13166),
        "abstract": (13603, 16173, 6532, 10360, 12735),
    }
)
_NEIGHBOURS: Final = MappingProxyType(
    {
        608: (851, 1637, 5430, 7763, 9727, 11410, 12599, 13017, 15176, 15180),
        4248: (125, 411, 2054, 2829, 4931, 9105, 9228, 10380, 10409, 11887),
        10360: (4228, 8925, 8928, 9107, 9363, 9688, 11437, 13965, 14078, 16303),
        6240: (161, 925, 1587, 4270, 6389, 12904, 14927, 15504, 15820, 16245),
        6900: (35, 1678, 5113, 8958, 9171, 9513, 9543, 11809, 11813, 13694),
        13603: (447, 796, 1290, 1608, 1611, 2213, 3425, 6857, 11741, 13637),
    }
)
"""Six anchors, and the ten features of each whose decoder rows have the largest absolute cosine with its row."""
_NOT_IN_FULL: Final = (1033, 6810)
"""Drawn, but lacking an explanation or of a density that was not wanted; which of the two is not known."""


def _gemma_set(name: str, variant: str | None, features: tuple[FeatureLabel, ...]) -> FeatureSet:
    return FeatureSet(name, variant, "gemma-2-2b", 12, "12-gemmascope-res-16k", features)


FEATURE_SETS: Final = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _gemma_set(
                "pilot20", None, tuple(FeatureLabel(feature, tier) for tier, ids in _PILOT.items() for feature in ids)
            ),
            _gemma_set(
                "full298",
                "neuronpedia_full",
                tuple(map(FeatureLabel, sample_features(16_384, 300, exclude=_NOT_IN_FULL))),
            ),
            _gemma_set(
                "clusters66",
                "neuronpedia_anchor6_topk10",
                tuple(FeatureLabel(feature) for anchor, ids in _NEIGHBOURS.items() for feature in (anchor, *ids)),
            ),
        )
    }
)
"""By name: ``pilot20``, five of each tier; ``full298``, a random sample; ``clusters66``, anchors with neighbours."""
