"""Principal components against the covariance matrix; t-SNE against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, brentq
from scipy.stats import entropy

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports import projection
from circuit_artifacts.reports.projection import conditional_probabilities, pca_2d, tsne_2d, unit_rows

RANDOM = np.random.default_rng(0)
CENTRES = RANDOM.standard_normal((3, 20))
LABELS = np.repeat(np.arange(3), 15)
VECTORS = CENTRES[LABELS] + 0.3 * RANDOM.standard_normal((45, 20))
DISTANCES = 1 - np.abs(unit_rows(VECTORS) @ unit_rows(VECTORS).T)


def test_components_are_eigenvectors_of_the_covariance() -> None:
    coordinates, parts = pca_2d(VECTORS)
    values, vectors = np.linalg.eigh(np.cov(VECTORS.T))
    expected = (VECTORS - VECTORS.mean(axis=0)) @ vectors[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(coordinates), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(parts, values[[-1, -2]] / values.sum())


def test_the_sign_of_a_component_does_not_depend_on_the_order_of_rows() -> None:
    order = RANDOM.permutation(len(VECTORS))
    np.testing.assert_allclose(pca_2d(VECTORS[order])[0], pca_2d(VECTORS)[0][order], atol=1e-9)
    along = np.outer([-2.0, 1.0, 1.0], [0.1, -3.0])  # the entry of greatest size is the second, so that is positive
    assert pca_2d(along)[0][:, 0] == pytest.approx(np.array([2.0, -1.0, -1.0]) * np.hypot(0.1, 3))


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (5, 1)])
def test_components_that_do_not_exist_are_zero(shape: tuple[int, int]) -> None:
    coordinates, parts = pca_2d(RANDOM.standard_normal(shape))
    assert coordinates.shape == (shape[0], 2)
    np.testing.assert_allclose(coordinates[:, 1], 0, atol=1e-12)
    assert parts[1] == pytest.approx(0)


def test_rows_of_length_zero_stay_there() -> None:
    np.testing.assert_array_equal(unit_rows([[0.0, 0.0], [3.0, 4.0]]), [[0, 0], [0.6, 0.8]])


@given(st.floats(1.1, 40), st.floats(1e-6, 1e6))
def test_every_neighbourhood_has_the_perplexity(perplexity: float, scale: float) -> None:
    found = conditional_probabilities(scale * DISTANCES, perplexity)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (np.diag(found) == 0).all()
    bits = -np.sum(found * np.log2(np.where(found > 0, found, 1)), axis=1)
    np.testing.assert_allclose(2**bits, perplexity, rtol=1e-6)


def test_neighbourhoods_are_gaussian_in_the_distance() -> None:
    others = np.delete(DISTANCES[0], 0) ** 2

    def excess(precision: float) -> float:
        return float(entropy(np.exp(-precision * others), base=2) - np.log2(10))

    precision = brentq(excess, 1e-3, 1e3)
    weights = np.exp(-precision * others)
    np.testing.assert_allclose(conditional_probabilities(DISTANCES, 10)[0, 1:], weights / weights.sum(), rtol=1e-6)


def test_equal_points_are_equal_neighbours() -> None:
    found = conditional_probabilities(np.zeros((5, 5)), 3)
    np.testing.assert_allclose(found, (1 - np.eye(5)) / 4)


@pytest.mark.parametrize("perplexity", [1, 44, 100])
def test_a_perplexity_that_cannot_be_is_refused(perplexity: float) -> None:
    with pytest.raises(SchemaError, match="above 1 and below 44"):
        conditional_probabilities(DISTANCES, perplexity)


def test_distances_are_a_square() -> None:
    with pytest.raises(SchemaError, match="square"):
        conditional_probabilities(DISTANCES[:3], 2)


def test_the_gradient_is_that_of_the_divergence() -> None:
    conditional = conditional_probabilities(DISTANCES[:8, :8], 3)
    joint = (conditional + conditional.T) / 16
    points = RANDOM.standard_normal((8, 2))

    def divergence(flat: np.ndarray) -> float:
        across = flat.reshape(8, 1, 2) - flat.reshape(1, 8, 2)
        closeness = (1 - np.eye(8)) / (1 + (across**2).sum(axis=2))
        shares = closeness / closeness.sum()
        off = ~np.eye(8, dtype=bool)
        return float(np.sum(joint[off] * np.log(joint[off] / shares[off])))

    expected = approx_fprime(points.ravel(), divergence, 1e-7).reshape(8, 2)
    np.testing.assert_allclose(projection._gradient(joint, points), expected, atol=1e-5)


def test_planted_clusters_are_apart() -> None:
    points = tsne_2d(DISTANCES, iterations=600)
    means = np.array([points[label == LABELS].mean(axis=0) for label in range(3)])
    radius = max(np.linalg.norm(points[label == LABELS] - means[label], axis=1).max() for label in range(3))
    assert min(np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 2 * radius
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)


def test_equal_arguments_give_equal_coordinates() -> None:
    first, again = (tsne_2d(DISTANCES, iterations=300) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, tsne_2d(DISTANCES, iterations=300, seed=1))
