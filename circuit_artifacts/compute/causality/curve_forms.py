"""Curves of a count N of features against the width W of the autoencoder (causal-dimensionality spec 2.4).

==============  =============================================  ====================================================
``exp``         kappa (1 - exp(-W / W0))
``mm``          kappa W / (W + K)                              Michaelis and Menten's
``hill``        kappa W^a / (W^a + K^a)
``weibull``     kappa (1 - exp(-(W / W0)^b))
``exp_offset``  N0 + (kappa - N0) (1 - exp(-W / W0))
``power``       c W^a                                          grows for ever: there is no kappa
==============  =============================================  ====================================================

In logarithms each is a level, ln kappa or ln c, plus a shape. Parameters are handled as vectors: the level first, then
the logarithms of the others, of which that of N0 is ln(N0 / kappa).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.optimize

from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = ["FORMS", "Form", "predict", "through_ends"]

Doubles = npt.NDArray[np.float64]

# Searched, in logarithms: scales from a millionth of the least width to 10^12 times the greatest, since a hill that
# passes for a power law has one far out; exponents; and the share of kappa at width 0.
_SCALE: Final = (-np.log(1e6), np.log(1e12))
_EXPONENT: Final = (np.log(0.05), np.log(20.0))
_SHARE: Final = (np.log(1e-6), 0.0)
_POWER: Final = (np.log(1e-3), np.log(20.0))


@dataclass(frozen=True)
class Form:
    """One kind of curve.

    Attributes:
        level: name of the first parameter.
        names: of the others.
        shape: of their logarithms (p,) and ln W (n,), ln N less the level (n,).
        limits: of those logarithms; of a scale relative to ln W.
        starts: where a search begins, likewise.
    """

    level: str
    names: tuple[str, ...]
    shape: Callable[[Doubles, Doubles], Doubles]
    limits: tuple[tuple[float, float], ...]
    starts: tuple[tuple[float, float], ...]

    @property
    def n_parameters(self) -> int:
        """All of them."""
        return 1 + len(self.names)

    def curve(self, vector: Doubles, log_widths: Doubles) -> Doubles:
        """Ln N (n,) of a vector of parameters (p,)."""
        found: Doubles = vector[0] + self.shape(vector[1:], log_widths)
        return found

    def box(self, ranges: tuple[tuple[float, float], ...], log_widths: Doubles) -> Doubles:
        """``limits`` or ``starts`` at these widths: lower and upper ends (2, p - 1)."""
        extremes = np.array([log_widths.min(), log_widths.max()])
        rows = [extremes + pair if name in {"W0", "K"} else pair for name, pair in zip(self.names, ranges, strict=True)]
        return np.array(rows, np.float64).T

    def parameters(self, vector: Doubles) -> dict[str, float]:
        """Parameters by their names."""
        values = dict(zip((self.level, *self.names), np.exp(vector).tolist(), strict=True))
        if "N0" in values:
            values["N0"] *= values["kappa"]
        return values

    def vector(self, parameters: Mapping[str, float]) -> Doubles:
        """The reverse of `parameters`."""
        values = dict(parameters)
        if "N0" in values:
            values["N0"] /= values["kappa"]
        return np.log([values[name] for name in (self.level, *self.names)])


def predict(form: str, parameters: Mapping[str, float], widths: npt.ArrayLike) -> Doubles:
    """N at some widths (n,).

    Args:
        form: one of ``FORMS``.
        parameters: all of the form's, by name.
        widths: (n,), above 0.

    Raises:
        UnknownNameError: no such form.
    """
    found = _form(form)
    counts: Doubles = np.exp(found.curve(found.vector(parameters), np.log(np.asarray(widths, np.float64))))
    return counts


def through_ends(
    form: str, widths: tuple[float, float], counts: tuple[float, float], *, kappa: float | None = None
) -> dict[str, float]:
    """The curve through the counts at two widths, to see what published end counts leave open.

    Args:
        form: one with two parameters; or with three, ``hill`` or ``weibull``, if `kappa` is given.
        widths: the two, ascending.
        counts: there.
        kappa: if given, the asymptote. A form with two parameters then passes through the first count only.

    Returns:
        The parameters.

    Raises:
        UnknownNameError: no such form.
        SchemaError: no such curve passes through the counts, or many do.
    """
    found = _form(form)
    x, y = np.log(np.asarray(widths, np.float64)), np.log(np.asarray(counts, np.float64))
    problem = "no single curve of this form passes through the counts"
    error = SchemaError(problem, where=form, found=f"counts {counts} at {widths}, kappa {kappa}")
    level = 0.0
    if kappa is not None and found.level == "kappa":
        level, shares = np.log(kappa), np.asarray(counts, np.float64) / kappa
        if shares.min() <= 0 or shares.max() >= 1:
            raise error
        if form in {"hill", "weibull"}:  # linear in ln W after a link
            linked = np.log(shares / (1 - shares)) if form == "hill" else np.log(-np.log1p(-shares))
            exponent = (linked[1] - linked[0]) / (x[1] - x[0])
            if exponent <= 0:
                raise error
            return found.parameters(np.array([level, x[0] - linked[0] / exponent, np.log(exponent)]))
    if found.n_parameters != 2 or (kappa is not None and found.level != "kappa"):
        raise error

    def miss(parameter: float) -> float:
        shape = found.shape(np.array([parameter]), x)
        return float(level + shape[0] - y[0] if kappa is not None else shape[1] - shape[0] - (y[1] - y[0]))

    try:
        low, high = found.box(found.limits, x)[:, 0].tolist()
        root = scipy.optimize.brentq(miss, low, high, xtol=1e-14)
    except ValueError:  # the same sign at both ends of the search
        raise error from None
    shape = np.array([root])
    if kappa is None:
        level = y[0] - found.shape(shape, x)[0]
    return found.parameters(np.concatenate([[level], shape]))


def _form(name: str) -> Form:
    if name not in FORMS:
        problem = "there is no such form of curve"
        raise UnknownNameError(problem, where="form", found=repr(name), expected=", ".join(FORMS))
    return FORMS[name]


def _log_filled(logarithm: Doubles) -> Doubles:
    """ln(1 - exp(-z)) of ln z, which for small z is ln z itself."""
    filled: Doubles = np.log(-np.expm1(-np.exp(np.clip(logarithm, -30, 700))))
    return np.where(logarithm < -30, logarithm, filled)


def _left_of_offset(log_share: float, logarithm: Doubles) -> Doubles:
    """ln(1 - (1 - r) exp(-z)) of ln r and ln z."""
    left: Doubles = np.log1p(np.expm1(log_share) * np.exp(-np.exp(np.clip(logarithm, -700, 700))))
    return left


_SCALE_START: Final = (-np.log(10.0), np.log(100.0))
_EXPONENT_START: Final = (np.log(0.2), np.log(3.0))

FORMS: Final[dict[str, Form]] = {
    "exp": Form("kappa", ("W0",), lambda q, x: _log_filled(x - q[0]), (_SCALE,), (_SCALE_START,)),
    "mm": Form("kappa", ("K",), lambda q, x: -np.logaddexp(0, q[0] - x), (_SCALE,), (_SCALE_START,)),
    "hill": Form(
        "kappa",
        ("K", "a"),
        lambda q, x: -np.logaddexp(0, np.exp(q[1]) * (q[0] - x)),
        (_SCALE, _EXPONENT),
        (_SCALE_START, _EXPONENT_START),
    ),
    "weibull": Form(
        "kappa",
        ("W0", "b"),
        lambda q, x: _log_filled(np.exp(q[1]) * (x - q[0])),
        (_SCALE, _EXPONENT),
        (_SCALE_START, _EXPONENT_START),
    ),
    "exp_offset": Form(
        "kappa",
        ("W0", "N0"),
        lambda q, x: _left_of_offset(q[1], x - q[0]),
        (_SCALE, _SHARE),
        (_SCALE_START, (np.log(1e-3), np.log(0.9))),
    ),
    "power": Form("c", ("a",), lambda q, x: np.exp(q[0]) * x, (_POWER,), ((np.log(0.05), np.log(2.0)),)),
}
"""The forms by name."""
