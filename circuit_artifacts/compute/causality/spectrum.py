"""How many directions a spectrum spreads over: effective rank and participation ratio.

Of values s_k as shares p_k of their sum, the effective rank is the exponential of their Shannon entropy (Roy and
Vetterli 2007), and the participation ratio is 1 / sum p_k^2, the same with Renyi's entropy of order 2. So
1 <= participation ratio <= effective rank <= number of values that are not 0 (causal-dimensionality spec 2.1).

Both are biased low when the matrix is a mean of few terms of rank one: from N samples in d dimensions with N far below
d, hardly more than N directions show. Of the participation ratio there is a version without most of that bias.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = [
    "SPECTRA",
    "Spectrum",
    "effective_rank",
    "eigenvalues",
    "pair_participation_ratio",
    "participation_ratio",
    "require_spectrum",
    "sample_participation_ratio",
    "spectrum_of",
]

Spectrum = Literal["eig", "sv"]
"""Of an outer product A = E[J^T J]: its eigenvalues, or their square roots, which are more even."""
SPECTRA: Final[tuple[str, ...]] = get_args(Spectrum)

_ROUNDING: Final = 1e-6  # of the largest eigenvalue: below 0 by more is no rounding, even of float32 products

Doubles = npt.NDArray[np.float64]


def effective_rank(values: npt.ArrayLike) -> float:
    """exp(-sum p ln p), natural logarithm, 0 ln 0 = 0; NaN if all values are 0.

    Args:
        values: (n,), singular values or eigenvalues, not negative, in any order.

    Raises:
        SchemaError: a value is negative or not finite, or there is none.
    """
    shares = _shares(values)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else np.nan


def participation_ratio(values: npt.ArrayLike) -> float:
    """(sum s)^2 / sum s^2; NaN if all values are 0.

    Args:
        values: as `effective_rank`.

    Raises:
        SchemaError: as `effective_rank`.
    """
    shares = _shares(values)
    return float(1 / np.square(shares).sum()) if shares.any() else np.nan


def eigenvalues(matrix: npt.NDArray[Any]) -> Doubles:
    """Eigenvalues of positive semidefinite matrices, computed in float64, largest first; rounding below 0 is cut off.

    Args:
        matrix: (..., d, d), symmetric; the lower triangle is read.

    Returns:
        (..., d).

    Raises:
        SchemaError: not square, not finite, or clearly not positive semidefinite.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not np.isfinite(matrix).all():
        problem = "eigenvalues need square matrices of finite numbers"
        raise SchemaError(problem, found=f"{matrix.shape}, {np.count_nonzero(~np.isfinite(matrix))} not finite")
    values = np.linalg.eigvalsh(matrix)[..., ::-1]
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0)
    if (values < -_ROUNDING * largest).any():
        problem = "the matrix is not positive semidefinite"
        raise SchemaError(problem, found=f"eigenvalue {values.min():.3g}", expected="0 or more")
    return np.maximum(values, 0)


def spectrum_of(matrix: npt.NDArray[Any], spectrum: Spectrum = "eig") -> Doubles:
    """The values whose ranks are taken: eigenvalues (..., d), largest first, or their square roots.

    Args:
        matrix: as `eigenvalues`.
        spectrum: one of ``SPECTRA``. "eig" is the effective rank of the outer product itself, as the sources word it.

    Raises:
        SchemaError: as `eigenvalues`.
        UnknownNameError: no such spectrum.
    """
    require_spectrum(spectrum)
    values = eigenvalues(matrix)
    return values if spectrum == "eig" else np.sqrt(values)


def require_spectrum(spectrum: str) -> None:
    """Refuse a name that is none of ``SPECTRA``.

    Raises:
        UnknownNameError: it is not.
    """
    if spectrum not in SPECTRA:
        problem = "there is no such spectrum"
        raise UnknownNameError(problem, where="spectrum", found=repr(spectrum), expected=", ".join(SPECTRA))


def sample_participation_ratio(gradients: npt.NDArray[Any]) -> float | None:
    """Participation ratio of E[g g^T] from independent samples, without the bias of the plug-in value.

    Args:
        gradients: (N, d).

    Returns:
        See `pair_participation_ratio`.
    """
    gradients = np.asarray(gradients, np.float64)
    squares = float(np.square(np.square(gradients).sum(axis=1)).sum())
    return pair_participation_ratio(gradients.T @ gradients, squares, squares)


def pair_participation_ratio(total: Doubles, own_trace_squares: float, own_norm_squares: float) -> float | None:
    """Participation ratio of E[M] from the sum of independent terms M_i, through pairs i != j only.

    The ratio of two U-statistics: the mean over pairs of tr(M_i) tr(M_j), which estimates (tr E[M])^2, by that of
    <M_i, M_j>, which estimates ||E[M]||^2. With M_i = g_i g_i^T these are |g_i|^2 |g_j|^2 and <g_i, g_j>^2
    (causal-dimensionality spec 2.1). The sums over pairs are those over all, less those of a term with itself, so
    neither samples nor their N x N products need be kept.

    Args:
        total: (d, d) float64, sum of the M_i.
        own_trace_squares: sum of tr(M_i)^2.
        own_norm_squares: sum of ||M_i||^2, Frobenius; for terms of rank one the same as `own_trace_squares`.

    Returns:
        The ratio, which may exceed d by chance; None where there are no pairs, or these do not overlap at all.
    """
    numerator = float(np.trace(total)) ** 2 - own_trace_squares
    squares = float(np.square(total).sum())
    denominator = squares - own_norm_squares
    # Of one term, both differences are 0 up to rounding.
    return numerator / denominator if denominator > 1e-12 * squares else None


def _shares(values: npt.ArrayLike) -> Doubles:
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or found.min() < 0:
        problem = "a spectrum is a list of finite values that are not negative"
        raise SchemaError(problem, found=f"shape {found.shape}, least {found.min(initial=np.inf):.3g}")
    # By the largest first, so that neither tiny nor huge values leave the range of the floats.
    scaled = found / (found.max() or 1)
    shares: Doubles = scaled / (scaled.sum() or 1)
    return shares
