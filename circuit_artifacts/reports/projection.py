"""Vectors in two dimensions: principal components, and t-SNE by its definition, for a few hundred points.

t-SNE follows van der Maaten and Hinton (2008): all pairs, adaptive gains, momentum. Where the paper leaves room, the
choices are those of common implementations: early exaggeration 12, and a learning rate of n / 48, at least 50.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from circuit_artifacts.errors import SchemaError

__all__ = ["Floats", "conditional_probabilities", "pca_2d", "tsne_2d", "unit_rows"]

Floats = npt.NDArray[np.float64]

_LEAST_NORM = 1e-12
_LEAST = 1e-12
_BISECTIONS = 200
_EXAGGERATION, _EXAGGERATED_ITERATIONS = 12.0, 250
_MOMENTUM_AT_FIRST, _MOMENTUM = 0.5, 0.8
_LEAST_GAIN = 0.01
_START_SCALE = 1e-4


def unit_rows(vectors: npt.ArrayLike) -> Floats:
    """Rows of length 1, float64 (n, d); norms below 1e-12 count as that (locality spec 5.6)."""
    rows = np.asarray(vectors, np.float64)
    units: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST_NORM)
    return units


def pca_2d(vectors: npt.ArrayLike) -> tuple[Floats, Floats]:
    """The first two principal components, by singular value decomposition of the centred rows.

    The sign of a component is free; here its entry of greatest size is positive.

    Args:
        vectors: (n, d) with n > 0.

    Returns:
        Coordinates, float64 (n, 2), and each component's part of the variance, float64 (2,). A component that does
        not exist, for want of points or dimensions, is zero.
    """
    rows = np.asarray(vectors, np.float64)
    left, singular, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    coordinates, parts = np.zeros((len(rows), 2)), np.zeros(2)
    kept = min(2, len(singular))
    coordinates[:, :kept] = (left * singular * signs)[:, :kept]
    variance = singular**2
    parts[:kept] = (variance / max(variance.sum(), _LEAST))[:kept]
    return coordinates, parts


def conditional_probabilities(distances: npt.ArrayLike, perplexity: float) -> Floats:
    """Gaussian neighbourhoods of a given perplexity.

    Row i is p(j|i), proportional to exp(-b_i d_ij^2), and 0 for j = i; bisection finds the b_i for which 2 to the power
    of the row's entropy in bits is the perplexity.

    Args:
        distances: (n, n), symmetric.
        perplexity: the number of neighbours that matter; above 1, below n - 1.

    Returns:
        float64 (n, n), rows sum to 1.

    Raises:
        SchemaError: not a square matrix, or a perplexity that n points cannot have.
    """
    squares = np.square(np.asarray(distances, np.float64))
    if squares.ndim != 2 or squares.shape[0] != squares.shape[1]:
        problem = "distances are a square matrix"
        raise SchemaError(problem, where="distances", found=squares.shape)
    n = len(squares)
    if not 1 < perplexity < n - 1:
        problem = "no neighbourhood has this perplexity"
        raise SchemaError(problem, where="perplexity", found=perplexity, expected=f"above 1 and below {n - 1}")
    off = ~np.eye(n, dtype=bool)
    nearest = np.where(off, squares, np.inf).min(axis=1, keepdims=True)
    # Only differences to the nearest neighbour matter; in units of their mean, 1 is a fair first guess of b.
    excess = np.where(off, squares - nearest, np.inf)
    unit = np.where(off, excess, 0).sum(axis=1, keepdims=True) / (n - 1)
    excess = excess / np.maximum(unit, _LEAST)
    precision, low, high = np.ones((n, 1)), np.zeros((n, 1)), np.full((n, 1), np.inf)
    wanted = np.log(perplexity)
    for _ in range(_BISECTIONS):
        weights = np.exp(-precision * excess)
        total = weights.sum(axis=1, keepdims=True)
        mean = (weights * np.where(off, excess, 0)).sum(axis=1, keepdims=True) / total
        wide = np.log(total) + precision * mean > wanted
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), 2 * precision, (low + high) / 2)
        if np.all(high - low <= 1e-14 * low):
            break
    probabilities: Floats = weights / total
    return probabilities


def tsne_2d(distances: npt.ArrayLike, *, perplexity: float = 10.0, iterations: int = 2000, seed: int = 0) -> Floats:
    """t-SNE of points that are known by their distances; time and memory grow with n squared.

    Args:
        distances: (n, n), symmetric.
        perplexity: of the neighbourhoods.
        iterations: steps of gradient descent, of which the first 250 exaggerate similarities.
        seed: of the random start.

    Returns:
        float64 (n, 2), centred. Equal arguments give equal coordinates on one machine.

    Raises:
        SchemaError: as :func:`conditional_probabilities`.
    """
    conditional = conditional_probabilities(distances, perplexity)
    n = len(conditional)
    joint = np.maximum((conditional + conditional.T) / (2 * n), _LEAST)
    rate = max(n / _EXAGGERATION / 4, 50.0)
    points = np.random.default_rng(seed).standard_normal((n, 2)) * _START_SCALE
    step, gains = np.zeros_like(points), np.ones_like(points)
    for iteration in range(iterations):
        early = iteration < _EXAGGERATED_ITERATIONS
        gradient = _gradient(joint * _EXAGGERATION if early else joint, points)
        gains = np.maximum(np.where(gradient * step < 0, gains + 0.2, gains * 0.8), _LEAST_GAIN)
        step = (_MOMENTUM_AT_FIRST if early else _MOMENTUM) * step - rate * gains * gradient
        points = points + step
        points -= points.mean(axis=0)
    return points


def _gradient(joint: Floats, points: Floats) -> Floats:
    """4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2), without a matrix product: the same on many threads."""
    across, down = (np.subtract.outer(axis, axis) for axis in points.T)
    closeness = 1 / (1 + across * across + down * down)
    np.fill_diagonal(closeness, 0)
    shares = np.maximum(closeness / closeness.sum(), _LEAST)
    pull = (joint - shares) * closeness
    return 4 * np.stack([(pull * across).sum(axis=1), (pull * down).sum(axis=1)], axis=1)
