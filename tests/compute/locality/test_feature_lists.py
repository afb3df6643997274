"""The published lists of features: locality golden numbers."""

from __future__ import annotations

import hashlib

import pytest

from circuit_artifacts.compute.locality.feature_lists import FEATURE_SETS, FeatureLabel, feature_set, sample_features
from circuit_artifacts.errors import SchemaError, UnknownNameError


def ids(name: str) -> list[int]:
    return [label.feature_id for label in feature_set(name).features]


def test_the_298_features() -> None:
    found = ids("full298")
    assert len(found) == len(set(found)) == 298
    assert (min(found), max(found)) == (2, 16_309)
    assert len(found) * (len(found) - 1) // 2 == 44_253
    digest = hashlib.sha256(",".join(map(str, sorted(found))).encode()).hexdigest()
    assert digest == "01c051e17fe3ec0489edefe97fc04d4e8bd3970b08a19db7f65a253c8ffebfbb"
    assert set(sample_features(16_384, 300)) - set(found) == {1033, 6810}


def test_the_pilot_has_five_of_each_tier() -> None:
    labels = feature_set("pilot20").features
    tiers = {tier: [label.feature_id for label in labels if label.tier == tier] for tier in ("token", "phrase")}
    assert tiers == {"token": [2735, 4267, 11372, 10312, 5306], "phrase": [2000, 4795, 12022, 9203, 9425]}
    assert len(labels) == 20
    assert sum(label.tier == "concept" for label in labels) == sum(label.tier == "abstract" for label in labels) == 5
    assert {11_372, 13_603} < set(ids("pilot20"))  # ends of the published continuum: the most local, the most spread


def test_the_clusters_are_six_anchors_with_ten_neighbours_each() -> None:
    found = ids("clusters66")
    assert len(found) == len(set(found)) == 66
    assert found[::11] == [608, 4248, 10360, 6240, 6900, 13603]
    assert sum(found) == 515_814


def test_every_list_is_of_one_autoencoder() -> None:
    for name, entry in FEATURE_SETS.items():
        assert entry.name == name
        assert (entry.preset, entry.layer, entry.sae_id) == ("gemma-2-2b", 12, "12-gemmascope-res-16k")
        assert all(0 <= label.feature_id < 16_384 for label in entry.features)
    with pytest.raises(UnknownNameError, match=r"found 'pilot', expected pilot20, full298, clusters66"):
        feature_set("pilot")


def test_samples_of_other_autoencoders() -> None:
    assert sample_features(10, 10, seed=3) == list(range(10))
    assert sample_features(10, 10, exclude=[4, 99]) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert sample_features(500, 5, seed=1) == sample_features(500, 5, seed=1) != sample_features(500, 5, seed=2)
    with pytest.raises(SchemaError, match="found 11, expected at most 10"):
        sample_features(10, 11)
    assert FeatureLabel(3) == FeatureLabel(3, "", "")
