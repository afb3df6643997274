"""Sparse sources in superposition, an output that reads some of them, and dictionaries of features for them.

The world of `synthetic`. What the published model looked like is unknown: all sizes are ours (causal-dimensionality
spec 2.7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from circuit_artifacts.compute.saes.training import SaeRecipe, train_sae
from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "Nonlinearity",
    "SourceDictionary",
    "SourceSettings",
    "Sources",
    "draw_sources",
    "oracle_dictionary",
    "output_gradients",
    "random_dictionary",
    "trained_dictionary",
]

Nonlinearity = Literal["identity", "tanh", "relu", "product"]
"""What the output applies to the projection on a planted direction; ``product`` multiplies those of two directions."""

_APPLIED: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "identity": torch.clone,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What is drawn; everything but the sizes and the distribution of the sources is ours.

    Attributes:
        d: width of x.
        n_true: number of sources.
        n_planted: how many of them the output reads; even, so that ``product`` can pair them.
        density: probability that a source is active; its value is then the absolute one of a normal number.
        n_samples: inputs.
        directions: ``separate`` makes the planted directions orthogonal to each other and to all others, so that the
            other sources do not enter y. ``random`` leaves them as drawn: every source then enters y through the
            overlap of its direction with the planted ones, and even true directions need not rank at the top.
        seed: of everything random.

    Raises:
        ModelError: sizes that do not fit each other.
    """

    d: int = 64
    n_true: int = 256
    n_planted: int = 16
    density: float = 0.02
    n_samples: int = 16_384
    directions: Literal["separate", "random"] = "separate"
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "d": self.d < 1,
            "n_true": self.n_true < self.n_planted,
            "n_planted": self.n_planted < 2 or self.n_planted % 2 or self.n_planted >= self.d,
            "density": not 0 < self.density <= 1,
            "n_samples": self.n_samples < 1,
            "directions": self.directions not in ("separate", "random"),
        }
        for name in [name for name, is_wrong in wrong.items() if is_wrong]:
            problem = "no synthetic sources can be drawn so"
            raise ModelError(problem, where=name, found=getattr(self, name))


@dataclass(frozen=True)
class Sources:
    """What was drawn, in float64.

    Attributes:
        directions: (n_true, d), unit rows; the first ``n_planted`` are the planted ones.
        values: (N, n_true), not negative.
        x: (N, d), ``values @ directions``.
        weights: (n_planted,), of each planted direction in the output: 1 or -1.
    """

    directions: Tensor
    values: Tensor
    x: Tensor
    weights: Tensor

    @property
    def planted(self) -> Tensor:
        """The planted directions, (n_planted, d)."""
        return self.directions[: len(self.weights)]


@dataclass(frozen=True)
class SourceDictionary:
    """Features of the inputs.

    Attributes:
        name: ``oracle``, ``trained`` or ``random``.
        features: (N, m), float64.
        decoder: (m, d), float64.
    """

    name: str
    features: Tensor
    decoder: Tensor


def draw_sources(settings: SourceSettings) -> Sources:
    """Draw directions, sources and output weights; equal settings give equal tensors."""
    generator = torch.Generator().manual_seed(settings.seed)
    directions = torch.randn(settings.n_true, settings.d, generator=generator, dtype=torch.float64)
    if settings.directions == "separate":
        frame, _ = torch.linalg.qr(directions[: settings.n_planted].T)
        others = directions[settings.n_planted :]
        directions = torch.cat([frame.T, others - others @ frame @ frame.T])
    directions = normalize(directions, dim=1)
    shape = (settings.n_samples, settings.n_true)
    active = torch.rand(shape, generator=generator, dtype=torch.float64) < settings.density
    values = active * torch.randn(shape, generator=generator, dtype=torch.float64).abs()
    weights = torch.randint(2, (settings.n_planted,), generator=generator).double() * 2 - 1
    return Sources(directions, values, values @ directions, weights)


def output_gradients(sources: Sources, phi: Nonlinearity) -> Tensor:
    """Gradient (N, d) of ``y = sum over c of w_c phi(<u_c, x>)`` with respect to each x.

    With ``product``, y is the sum over pairs of neighbouring planted directions of ``w_c <u_c, x> <u_c', x>``.

    Raises:
        UnknownNameError: no such nonlinearity.
    """
    if phi not in get_args(Nonlinearity):
        problem = "there is no such nonlinearity"
        raise UnknownNameError(problem, found=repr(phi), expected=", ".join(get_args(Nonlinearity)))
    with torch.enable_grad():
        x = sources.x.detach().requires_grad_()
        projections = x @ sources.planted.T
        if phi == "product":
            terms = projections[:, 0::2] * projections[:, 1::2] * sources.weights[0::2]
        else:
            terms = _APPLIED[phi](projections) * sources.weights
        (gradient,) = torch.autograd.grad(terms.sum(), x)
    return gradient


def oracle_dictionary(sources: Sources) -> SourceDictionary:
    """The sources themselves and their directions."""
    return SourceDictionary("oracle", sources.values, sources.directions)


def random_dictionary(sources: Sources, width: int, *, seed: int) -> SourceDictionary:
    """Random unit directions, which fire where x points their way."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(width, sources.x.shape[1], generator=generator, dtype=torch.float64)
    decoder = normalize(directions, dim=1)
    return SourceDictionary("random", torch.relu(sources.x @ decoder.T), decoder)


def trained_dictionary(sources: Sources, recipe: SaeRecipe) -> SourceDictionary:
    """A sparse autoencoder trained on the inputs.

    Raises:
        ModelError: as `train_sae`.
    """
    sae = train_sae(sources.x.float(), recipe)
    with torch.no_grad():
        features = sae.encode(sources.x)
    return SourceDictionary("trained", features.double(), sae.W_dec.detach().double())
