"""Ranks of spectra against entropies of SciPy, sums over all pairs, and the published bias of few samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.compute.causality.spectrum import (
    effective_rank,
    eigenvalues,
    pair_participation_ratio,
    participation_ratio,
    sample_participation_ratio,
    spectrum_of,
)
from circuit_artifacts.errors import SchemaError, UnknownNameError

SPECTRA = st.lists(st.floats(0, 1e6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40).filter(
    lambda values: max(values) > 1e-6
)


def rotation(d: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.asarray(scipy.stats.ortho_group.rvs(d, random_state=seed), np.float64)


def gradients(n: int, d: int = 256) -> npt.NDArray[np.float64]:
    return np.random.default_rng(n).standard_normal((n, d))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_k_equal_values_have_rank_k_and_zeros_do_not_count(k: int) -> None:
    values = [0.0, *[2.5] * k, 0.0]
    assert effective_rank(values) == pytest.approx(k, rel=1e-14)
    assert participation_ratio(values) == pytest.approx(k, rel=1e-14)


def test_ranks_are_entropies_in_nats() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    assert effective_rank(values) == pytest.approx(np.exp(scipy.stats.entropy(values)), rel=1e-12)
    assert participation_ratio(values) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-12)


@given(SPECTRA, st.sampled_from([1e-300, 1e-3, 7.0, 1e290]))
def test_ranks_are_in_order_and_do_not_depend_on_scale_or_order(values: list[float], scale: float) -> None:
    rank, ratio = effective_rank(values), participation_ratio(values)
    assert 1 - 1e-9 <= ratio <= rank * (1 + 1e-9) <= np.count_nonzero(values) * (1 + 1e-8)
    scaled = np.array(values[::-1]) * scale
    assert effective_rank(scaled) == pytest.approx(rank, rel=1e-9)
    assert participation_ratio(scaled) == pytest.approx(ratio, rel=1e-9)


def test_eigenvalues_do_not_depend_on_the_basis() -> None:
    spectrum = np.array([5.0, 3.0, 2.0, 0.5, 0.0])
    turned = rotation(5) @ np.diag(spectrum) @ rotation(5).T
    np.testing.assert_allclose(eigenvalues(turned), spectrum, atol=1e-14)
    np.testing.assert_allclose(spectrum_of(turned, "sv"), np.sqrt(spectrum), atol=1e-7)
    np.testing.assert_allclose(eigenvalues(np.stack([turned, 2 * turned])), [spectrum, 2 * spectrum], atol=1e-14)


def test_rounding_below_zero_is_cut_and_more_is_refused() -> None:
    assert eigenvalues(np.diag([1.0, -1e-12])).tolist() == [1.0, 0.0]
    with pytest.raises(SchemaError, match=r"not positive semidefinite.*-0\.1"):
        eigenvalues(np.diag([1.0, -0.1]))


def test_nothing_has_no_rank() -> None:
    assert np.isnan(effective_rank([0.0, 0.0]))
    assert np.isnan(participation_ratio([0.0]))
    assert eigenvalues(np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_what_is_no_spectrum_is_refused() -> None:
    for values in ([], [1.0, -1.0], [1.0, np.nan], [[1.0]]):
        with pytest.raises(SchemaError, match="a spectrum is a list of finite values"):
            effective_rank(values)
    for matrix in (np.ones(3), np.ones((2, 3)), np.diag([1.0, np.inf])):
        with pytest.raises(SchemaError, match="square matrices of finite numbers"):
            eigenvalues(matrix)
    with pytest.raises(UnknownNameError, match=r"'ev'.*eig, sv"):
        spectrum_of(np.eye(2), "ev")  # type: ignore[arg-type]  # a wrong name


def test_few_samples_show_few_directions_as_published() -> None:
    found = [effective_rank(eigenvalues(g.T @ g)) for g in map(gradients, (64, 256, 1024))]
    np.testing.assert_allclose(found, [56, 155, 226], atol=2)  # of a flat spectrum, whose rank is 256
    ratio = participation_ratio(eigenvalues(gradients(64).T @ gradients(64)))
    assert ratio == pytest.approx(51, abs=1)
    unbiased = [
        sample_participation_ratio(np.random.default_rng(seed).standard_normal((64, 256))) for seed in range(20)
    ]
    assert np.mean([value or np.nan for value in unbiased]) == pytest.approx(256, abs=8)


def test_pairs_are_those_of_different_samples() -> None:
    g = gradients(9, 4)
    products, squares = g @ g.T, np.square(g).sum(axis=1)
    different = ~np.eye(9, dtype=bool)
    expected = np.outer(squares, squares)[different].mean() / np.square(products)[different].mean()
    assert sample_participation_ratio(g) == pytest.approx(expected, rel=1e-12)


def test_pairs_of_matrices_are_those_of_different_ones() -> None:
    terms = [g.T @ g for g in (gradients(5, 4), gradients(6, 4), gradients(7, 4))]
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    numerator = sum(np.trace(terms[a]) * np.trace(terms[b]) for a, b in pairs)
    denominator = sum((terms[a] * terms[b]).sum() for a, b in pairs)
    own = sum(np.trace(term) ** 2 for term in terms), sum((term**2).sum() for term in terms)
    total = np.sum(terms, axis=0)
    assert pair_participation_ratio(total, *own) == pytest.approx(numerator / denominator, rel=1e-12)


def test_one_sample_has_no_pairs() -> None:
    assert sample_participation_ratio(gradients(1, 4)) is None
    assert sample_participation_ratio(np.zeros((5, 4))) is None
