from __future__ import annotations

import math

import pytest
import torch

from circuit_artifacts.compute.causality.synthetic import COSINES, Recovery, recoveries, run_synthetic, subspace_score
from circuit_artifacts.compute.causality.synthetic_sources import (
    SourceDictionary,
    Sources,
    SourceSettings,
    draw_sources,
    oracle_dictionary,
    output_gradients,
    random_dictionary,
)
from circuit_artifacts.errors import ModelError, UnknownNameError

torch.set_num_threads(1)  # matrices this small only lose by sharing them out
SMALL = SourceSettings(n_samples=2048)


@pytest.fixture(scope="module")
def sources() -> Sources:
    return draw_sources(SMALL)


def at(found: list[Recovery], rule: str = "planted", cosine: float = 0.95) -> Recovery:
    (one,) = [recovery for recovery in found if (recovery.rule, recovery.cosine) == (rule, cosine)]
    return one


def test_planted_directions_are_separate_from_all_others(sources: Sources) -> None:
    torch.testing.assert_close(sources.directions.norm(dim=1), torch.ones(256, dtype=torch.float64))
    overlaps = sources.planted @ sources.directions.T
    torch.testing.assert_close(overlaps, torch.eye(16, 256, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (sources.directions[16:] @ sources.directions[16:].T).fill_diagonal_(0).abs().max() > 0.3


def test_sources_are_sparse_and_not_negative(sources: Sources) -> None:
    assert (sources.values >= 0).all()
    assert float((sources.values > 0).double().mean()) == pytest.approx(0.02, rel=0.02)
    active = sources.values[sources.values > 0]
    assert float(active.mean()) == pytest.approx(math.sqrt(2 / math.pi), rel=0.05)
    torch.testing.assert_close(sources.x, sources.values @ sources.directions)
    assert set(sources.weights.tolist()) == {-1.0, 1.0}


def test_the_seed_decides_and_x_does_not_depend_on_the_output() -> None:
    one, same, other = (draw_sources(SourceSettings(n_samples=16, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.weights, same.weights)
    assert not torch.equal(one.x, other.x)


def test_gradients_are_those_of_each_nonlinearity(sources: Sources) -> None:
    p, w, u = sources.x @ sources.planted.T, sources.weights, sources.planted
    expected = {
        "identity": torch.ones_like(p) * w @ u,
        "tanh": (1 - p.tanh() ** 2) * w @ u,
        "relu": (p > 0) * w @ u,
        "product": p.view(-1, 8, 2).flip(2).flatten(1) * w[0::2].repeat_interleave(2) @ u,
    }
    for phi, gradient in expected.items():
        torch.testing.assert_close(output_gradients(sources, phi), gradient)
    with pytest.raises(UnknownNameError, match="identity, tanh, relu, product"):
        output_gradients(sources, "sine")  # type: ignore[arg-type]


@pytest.mark.parametrize("phi", ["identity", "tanh", "relu", "product"])
def test_true_directions_are_all_recovered(sources: Sources, phi: str) -> None:
    found = recoveries(sources, oracle_dictionary(sources), phi)
    assert len(found) == 3 * len(COSINES)
    for cosine in COSINES:
        one = at(found, "planted", cosine)
        assert (one.recall, one.ceiling, one.precision, one.n_selected) == (1.0, 1.0, 1.0, 16)
        assert at(found, "twice", cosine).recall == 1.0
        assert at(found, "twice", cosine).precision == 0.5
        # 2 % of 256 features are fewer than the planted directions.
        assert (at(found, "percentile", cosine).n_selected, at(found, "percentile", cosine).n_recovered) == (6, 6)


def test_in_superposition_even_true_directions_need_not_rank_at_the_top() -> None:
    sources = draw_sources(SourceSettings(n_samples=2048, directions="random"))
    one = at(recoveries(sources, oracle_dictionary(sources), "identity"))
    assert one.ceiling == 1.0
    assert one.recall < 0.7


def test_a_random_dictionary_recovers_nothing_because_nothing_is_there(sources: Sources) -> None:
    one = at(recoveries(sources, random_dictionary(sources, 512, seed=3), "relu"), cosine=0.7)
    assert (one.recall, one.ceiling, one.chance, one.precision) == (0.0, 0.0, 0.0, 0.0)


def test_chance_is_the_recall_of_features_drawn_at_random(sources: Sources) -> None:
    """Planted direction 0 has two features in eight, the others have none; any two of the eight are drawn."""
    rows = sources.directions[[0, 0, *range(20, 26)]]
    dictionary = SourceDictionary("mine", torch.rand(2048, 8, dtype=torch.float64), rows)
    settings = SourceSettings(n_planted=2, n_samples=2048)
    two = draw_sources(settings)
    found = at(recoveries(Sources(sources.directions, two.values, sources.x, two.weights), dictionary, "identity"))
    assert found.chance == pytest.approx((1 - math.comb(6, 2) / math.comb(8, 2)) / 2)
    assert (found.n_selected, found.n_recovered, found.n_ceiling, found.precision) == (2, 1, 1, 1.0)


def test_features_without_a_score_are_never_selected(sources: Sources) -> None:
    features = torch.zeros(2048, 40, dtype=torch.float64)
    features[:, :3] = 1.0
    dictionary = SourceDictionary("mine", features, sources.directions[:40])
    one = at(recoveries(sources, dictionary, "identity"))
    assert (one.n_selected, one.n_recovered, one.n_ceiling) == (3, 3, 16)
    silent = SourceDictionary("mine", features * 0, sources.directions[:40])
    assert at(recoveries(sources, silent, "identity")).precision == 0.0


def test_the_outer_product_of_gradients_finds_the_planted_span_where_they_vary(sources: Sources) -> None:
    assert subspace_score(output_gradients(sources, "tanh"), sources.planted) == pytest.approx(1.0)
    # One constant gradient is one direction of sixteen, inside the span.
    assert subspace_score(output_gradients(sources, "identity"), sources.planted) == pytest.approx(1 / 16)
    orthogonal = sources.directions[16:].repeat(8, 1)
    assert subspace_score(orthogonal, sources.planted) == pytest.approx(0.0, abs=1e-12)


def test_a_trained_dictionary_recovers_what_it_holds_and_the_run_repeats_itself() -> None:
    settings = SourceSettings(d=16, n_true=24, n_planted=4, density=0.08, n_samples=4096)
    found = run_synthetic(settings, nonlinearities=("relu",), widths=(48,), steps=600)
    assert found == run_synthetic(settings, nonlinearities=("relu",), widths=(48,), steps=600)
    assert {(one.dictionary, one.width) for one in found} == {("oracle", 24), ("trained", 48), ("random", 48)}
    trained = at([one for one in found if one.dictionary == "trained"], "twice", 0.9)
    assert trained.ceiling >= 0.75
    assert trained.recall == trained.ceiling
    assert trained.recall > trained.chance + 0.3
    for one in found:
        assert 0 <= one.n_recovered <= one.n_ceiling <= one.n_planted
        assert 0 <= one.chance <= one.ceiling


@pytest.mark.parametrize(
    "wrong", [{"n_planted": 3}, {"n_planted": 64}, {"n_true": 4}, {"density": 0.0}, {"directions": "mixed"}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        SourceSettings(**wrong)  # type: ignore[arg-type]
