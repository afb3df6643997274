from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.agreement import circuit, circuit_recall, node_threshold, recall_sweep
from circuit_artifacts.compute.causality.submodule_effects import SubmoduleEffects
from circuit_artifacts.errors import ModelError


def submodule(
    name: str,
    integrated: Tensor,
    attributed: Tensor | None = None,
    activation: Tensor | None = None,
    alive: float = 1.0,
) -> SubmoduleEffects:
    n = len(integrated)
    attributed = integrated if attributed is None else attributed
    return SubmoduleEffects(
        name=name,
        integrated=integrated.double(),
        attributed=attributed.double(),
        activation=(torch.zeros(n) if activation is None else activation).double(),
        fires=torch.arange(n) < alive * n,
        integrated_error=99.0,
        attributed_error=99.0,
        n_examples=1,
    )


def spikes(values: dict[int, float], n: int = 100) -> Tensor:
    """Small values of alternating sign, and a few larger ones."""
    full = torch.linspace(0.001, 0.002, n) * (-1.0) ** torch.arange(n)
    for place, value in values.items():
        full[place] = value
    return full


# Ten members: eight in the first submodule, two in the second. Scores rank three of those and one of these high.
TRUTH = [
    submodule("embed_0", spikes(dict.fromkeys(range(8), 0.5))),
    submodule("mlp_out_0", spikes({90: -0.5, 91: 0.5})),
]
SCORES = [
    submodule("embed_0", spikes({}), spikes({0: -9.0, 50: 7.0, 1: 6.0, 51: 5.0, 2: 4.0}), alive=0.5),
    submodule("mlp_out_0", spikes({}), spikes({60: 3.0, 90: 2.0, 61: 1.0}), alive=0.1),
]


def points(**options: object) -> dict[tuple[str, float], tuple[int, int]]:
    found = circuit_recall(TRUTH, SCORES, threshold=0.1, **options)
    assert found is not None
    assert found.n_true == 10
    return {(point.scope, point.q): (point.n_hit, point.n_most) for point in found.points}


def test_recall_where_the_answer_is_known() -> None:
    found = points()
    assert found["per_submodule", 0.99] == (1, 2)
    assert found["per_submodule", 0.98] == (1 + 1, 4)
    assert found["per_submodule", 0.95] == (3 + 1, 5 + 2)
    assert found["global", 0.99] == (1, 2)
    assert found["global", 0.98] == (2, 4)
    assert found["global", 0.95] == (3 + 1, 10)


def test_the_circuit_has_no_error_nodes_and_takes_both_signs() -> None:
    members = circuit(TRUTH, 0.1)
    assert members[0].nonzero()[:, 0].tolist() == list(range(8))
    assert members[1].nonzero()[:, 0].tolist() == [90, 91]
    assert not any(mask.any() for mask in circuit(TRUTH, 0.5)), "above the threshold, not at it"


def test_baselines_know_how_many_features_fire() -> None:
    found = circuit_recall(TRUTH, SCORES, threshold=0.1)
    assert found is not None
    by = {(point.scope, point.q): point for point in found.points}
    assert by["per_submodule", 0.98].random_baseline == pytest.approx(0.02)
    assert by["per_submodule", 0.98].firing_baseline == pytest.approx((8 * 0.02 / 0.5 + 2 * 0.02 / 0.1) / 10)
    assert by["global", 0.98].firing_baseline == pytest.approx(0.02 / 0.3)
    silent = [submodule(one.name, one.integrated, alive=0.0) for one in SCORES]
    (point, *_) = circuit_recall(TRUTH, silent, threshold=0.1).points
    assert point.firing_baseline == 1.0


def test_activations_alone_are_scored_too() -> None:
    scores = [submodule("a", spikes({}), spikes({5: 9.0}), spikes({3: -9.0, 4: 8.0}))]
    found = circuit_recall([submodule("a", spikes({3: 1.0, 4: 1.0}))], scores, threshold=0.5, quantiles=(0.98,))
    assert found is not None
    for point in found.points:
        assert (point.n_hit, point.n_hit_activation) == (0, 2)
        assert (point.recall, point.activation_recall) == (0.0, 1.0)


def test_a_score_of_zero_is_no_hit_where_the_percentile_is_zero() -> None:
    scores = [submodule("a", torch.zeros(100), torch.zeros(100).index_fill(0, torch.tensor([7]), 1.0))]
    found = circuit_recall([submodule("a", spikes({7: 1.0, 8: 1.0}))], scores, threshold=0.5, quantiles=(0.95,))
    assert found is not None
    for point in found.points:
        assert (point.n_hit, point.n_most, point.n_hit_activation) == (1, 1, 0)


def test_scores_default_to_the_circuits_own_examples() -> None:
    found = circuit_recall(TRUTH, threshold=0.1, quantiles=(0.9,))
    assert found is not None
    assert [(point.scope, point.recall) for point in found.points] == [("per_submodule", 1.0), ("global", 1.0)]


def test_recall_does_not_fall_as_the_percentile_does() -> None:
    g = torch.Generator().manual_seed(0)
    truth, scores = (
        [submodule(name, *(torch.randn(200, generator=g) for _ in range(3))) for name in "ab"] for _ in range(2)
    )
    found = circuit_recall(truth, scores, threshold=1.0, quantiles=(0.99, 0.98, 0.95, 0.5, 0.0))
    assert found is not None
    for scope in ("per_submodule", "global"):
        of_scope = [point for point in found.points if point.scope == scope]
        for name in ("n_hit", "n_hit_activation", "n_most"):
            counts = [getattr(point, name) for point in of_scope]
            assert counts == sorted(counts)
            assert counts[-1] == found.n_true


def test_a_threshold_gives_the_size_asked_for() -> None:
    g = torch.Generator().manual_seed(0)
    effects = [submodule(name, torch.randn(200, generator=g)) for name in "ab"]
    for size in (1, 56, 399, 400):
        assert sum(int(mask.sum()) for mask in circuit(effects, node_threshold(effects, size))) == size


@pytest.mark.parametrize("size", [0, 3, 5, 101])
def test_sizes_that_no_threshold_gives_are_refused(size: int) -> None:
    """Ties at the third and fourth effect, and only four features with an effect."""
    effects = [submodule("a", torch.tensor([3.0, -2.0, 1.0, 1.0, 0.0, 0.0]))]
    with pytest.raises(ModelError, match="1 to 4, without ties"):
        node_threshold(effects, size)


def test_a_sweep_goes_from_small_circuits_to_large_and_leaves_out_what_cannot_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    g = torch.Generator().manual_seed(0)
    effects = [submodule("a", torch.randn(200, generator=g))]
    with caplog.at_level(logging.WARNING):
        found = recall_sweep(effects, thresholds=(1.0, 50.0, 0.1), sizes=(7, 1000))
    assert [one.n_true for one in found] == [7, int((effects[0].integrated.abs() > 1).sum()), 186]
    assert "1000 features is left out" in caplog.text
    assert "above 50" in caplog.text


def test_other_submodules_are_refused() -> None:
    with pytest.raises(ModelError, match="embed_0, mlp_out_0"):
        circuit_recall(TRUTH, SCORES[:1], threshold=0.1)
    assert circuit_recall(TRUTH, SCORES, threshold=7.0) is None
