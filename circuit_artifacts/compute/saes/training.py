"""Training a sparse autoencoder on a matrix of activations, at the size of small models and dictionaries.

Inputs are centred and scaled inside, so that one penalty means the same at every layer; at the end both are multiplied
into the weights. So the result reads raw activations without a pre-bias, and its compat and faithful modes agree. With
x such an input (its mean squared norm is d_in), f its features, whose decoder rows have norm 1, and e the error, the
loss is the mean of ``|e|^2 / d_in`` over a batch plus

============  ========================================================================================
``relu``      penalty * mean of sum(f), the L1 norm
``jumprelu``  penalty * mean number of active features; thresholds learn from the pre-activations that
              lie within half a bandwidth of them (Rajamanoharan et al. 2024, arXiv 2407.14435)
``topk``      auxiliary * mean of ``|e - e'|^2 / d_in``, where e' is made of the dead features with
              the greatest pre-activations (Gao et al. 2024, arXiv 2406.04093)
============  ========================================================================================

In the first half of training, dead features of all three are begun anew a few times, from the errors of inputs that are
badly reconstructed (Bricken et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import Adam, Optimizer

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.description import TrainingFacts
from circuit_artifacts.errors import ModelError
from circuit_artifacts.progress import track

__all__ = ["SaeRecipe", "train_sae"]

# Shares of all steps.
_RATE_FULL_AT, _RATE_FALLS_FROM, _PENALTY_FULL_AT = 0.02, 0.6, 0.1
_BEGUN_ANEW_AT: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
_DEAD_AFTER: Final = 0.05  # without firing

# A short memory of squared gradients: with the usual 0.999, those of the first steps keep features from turning off.
_BETAS: Final = (0.9, 0.99)
_FIRST_ENCODER_NORM: Final = 0.1
_FIRST_THRESHOLD: Final = 0.03
_NEW_ENCODER_NORM: Final = 0.2  # in those of living features
_LEAST_LOSS: Final = 1e-12  # so that there is something to draw from, if all is perfect
_CANDIDATES: Final = 4  # batches of inputs, from whose errors features begin anew
_AUXILIARY_SHARE: Final = 0.5  # dead features that reconstruct the error are at most so many of d_in


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeRecipe:
    """What is trained, and how. Penalties and bandwidth are in the scale of standardised inputs (see the module).

    Attributes:
        arch: the architecture.
        d_sae: number of features.
        penalty: weight of sparsity, for ``relu`` and ``jumprelu``.
        k: the most features active at once, for ``topk``.
        auxiliary: weight of the reconstruction from dead features, for ``topk``.
        bandwidth: of the gradients of thresholds, for ``jumprelu``.
        steps: updates.
        batch_size: inputs in each, drawn with replacement.
        learning_rate: of Adam, at its highest.
        seed: of everything random.

    Raises:
        ModelError: a number out of range, or a penalty, k or auxiliary that the architecture lacks or needs.
    """

    arch: Literal["relu", "jumprelu", "topk"]
    d_sae: int
    penalty: float = 0.0
    k: int | None = None
    auxiliary: float = 0.0
    bandwidth: float = 0.3
    steps: int = 6_000
    batch_size: int = 1024
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        topk = self.arch == "topk"
        wrong = {
            "k": (self.k is None) is topk or not 1 <= (self.k or 1) <= self.d_sae,
            "penalty": self.penalty < 0 or (topk and self.penalty > 0),
            "auxiliary": self.auxiliary < 0 or (not topk and self.auxiliary > 0),
        }
        wrong |= {name: getattr(self, name) <= 0 for name in ("d_sae", "bandwidth", "steps", "batch_size")}
        for name in [name for name, is_wrong in wrong.items() if is_wrong]:
            problem = f"no {self.arch} autoencoder can be trained so"
            raise ModelError(problem, where=name, found=getattr(self, name))


class _Weights(NamedTuple):
    """The parameters, for standardised inputs; ``jumprelu`` alone uses the last."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    log_threshold: Tensor


class _Encoded(NamedTuple):
    """Pre-activations and features, (B, d_sae), and what a unit of penalty is paid for."""

    pre: Tensor
    features: Tensor
    penalised: Tensor | float


def train_sae(activations: Tensor, recipe: SaeRecipe) -> SparseAutoencoder:
    """Train an autoencoder from nothing; on one machine, equal arguments give equal weights.

    Args:
        activations: (N, d_in), floating point, on the CPU.
        recipe: what to train.

    Returns:
        A float32 autoencoder of raw activations, with decoder rows of norm 1. Its b_dec began at their mean.

    Raises:
        ModelError: no such matrix, or activations that are all equal or not finite.
    """
    if activations.ndim != 2 or not activations.dtype.is_floating_point:
        problem = "activations are not a matrix of floating-point numbers"
        raise ModelError(problem, found=f"{tuple(activations.shape)}, {activations.dtype}", expected="(N, d_in)")
    activations = activations.detach().float()
    centre = activations.mean(dim=0)
    scale = float((activations - centre).square().mean().sqrt())
    if not 0 < scale < math.inf:
        problem = "the activations are all equal, or not all finite"
        raise ModelError(problem, where="activations", found=f"standard deviation {scale}")
    generator = torch.Generator().manual_seed(recipe.seed)

    def draw(count: int) -> Tensor:
        return (activations[torch.randint(len(activations), (count,), generator=generator)] - centre) / scale

    with torch.enable_grad():
        weights = _trained(recipe, activations.shape[1], draw, generator)
    return SparseAutoencoder(
        recipe.arch,
        weights.W_enc,
        weights.b_enc * scale - centre @ weights.W_enc,
        weights.W_dec,
        weights.b_dec * scale + centre,
        threshold=weights.log_threshold.exp() * scale if recipe.arch == "jumprelu" else None,
        k=recipe.k,
        trained=TrainingFacts(apply_b_dec_to_input=False, normalization="none"),
    ).eval()


def _trained(recipe: SaeRecipe, d_in: int, draw: Callable[[int], Tensor], generator: torch.Generator) -> _Weights:
    weights = _initial(d_in, recipe.d_sae, generator)
    optimizer = Adam([weight.requires_grad_() for weight in weights], lr=recipe.learning_rate, betas=_BETAS)
    idle = torch.zeros(recipe.d_sae)  # steps since each feature was active
    anew = {round(share * recipe.steps) for share in _BEGUN_ANEW_AT}
    for step in track(range(recipe.steps), f"training {recipe.arch} {recipe.d_sae}", total=recipe.steps):
        progress = (step + 1) / (recipe.steps + 1)
        dead = idle > _DEAD_AFTER * recipe.steps
        if step in anew and bool(dead.any()):
            _begin_anew(
                weights, recipe, dead.nonzero()[:, 0], draw(_CANDIDATES * recipe.batch_size), optimizer, generator
            )
            idle[dead] = 0
        x = draw(recipe.batch_size)
        encoded = _encode(weights, x, recipe)
        error = x - _decode(weights, encoded.features)
        loss = _mean_square(error) + recipe.penalty * min(1.0, progress / _PENALTY_FULL_AT) * encoded.penalised
        if recipe.auxiliary and bool(dead.any()):
            loss = loss + recipe.auxiliary * _mean_square(error.detach() - _from_dead(weights, encoded.pre, dead))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _rate(progress)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        _step(optimizer, weights.W_dec)
        with torch.no_grad():
            idle = torch.where((encoded.features > 0).any(dim=0), 0.0, idle + 1)
    return _Weights(*(weight.detach() for weight in weights))


def _initial(d_in: int, d_sae: int, generator: torch.Generator) -> _Weights:
    """Random directions; the encoder is the decoder transposed, and small."""
    directions = normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    log_threshold = torch.full((d_sae,), math.log(_FIRST_THRESHOLD))
    return _Weights(
        _FIRST_ENCODER_NORM * directions.T, torch.zeros(d_sae), directions, torch.zeros(d_in), log_threshold
    )


def _rate(progress: float) -> float:
    """Share of the learning rate: a short linear rise, and a linear fall at the end."""
    return min(1.0, progress / _RATE_FULL_AT, (1 - progress) / (1 - _RATE_FALLS_FROM))


def _encode(weights: _Weights, x: Tensor, recipe: SaeRecipe) -> _Encoded:
    pre = x @ weights.W_enc + weights.b_enc
    if recipe.k is not None:
        values, places = pre.topk(recipe.k, dim=1)
        return _Encoded(pre, torch.zeros_like(pre).scatter(1, places, values.relu()), 0.0)
    features = pre.relu()
    if recipe.arch == "relu":
        return _Encoded(pre, features, features.sum(dim=1).mean())
    threshold = weights.log_threshold.exp()
    fixed = threshold.detach()
    with torch.no_grad():
        active = (features > threshold).to(pre.dtype)
        kernel = ((features - threshold).abs() < recipe.bandwidth / 2) / recipe.bandwidth
    # Zero in value; its gradient is what a step function of the threshold lacks.
    step = kernel * (fixed - threshold)
    return _Encoded(pre, features * active + fixed * step, (active + step).sum(dim=1).mean())


def _decode(weights: _Weights, features: Tensor) -> Tensor:
    return features @ weights.W_dec + weights.b_dec


def _mean_square(error: Tensor) -> Tensor:
    return error.square().mean()


def _from_dead(weights: _Weights, pre: Tensor, dead: Tensor) -> Tensor:
    """The part of the error that dead features explain: the greatest of their pre-activations, decoded."""
    count = min(int(dead.sum()), max(1, int(_AUXILIARY_SHARE * len(weights.b_dec))))
    values, places = pre[:, dead].topk(count, dim=1)
    features = torch.zeros_like(pre[:, dead]).scatter(1, places, values.relu())
    return features @ weights.W_dec[dead]


@torch.no_grad()
def _step(optimizer: Optimizer, W_dec: Tensor) -> None:
    """One update, in which decoder rows turn but keep their norm."""
    if W_dec.grad is not None:
        W_dec.grad -= (W_dec.grad * W_dec).sum(dim=1, keepdim=True) * W_dec
    optimizer.step()
    W_dec.copy_(normalize(W_dec, dim=1))


@torch.no_grad()
def _begin_anew(
    weights: _Weights,
    recipe: SaeRecipe,
    dead: Tensor,
    x: Tensor,
    optimizer: Optimizer,
    generator: torch.Generator,
) -> None:
    """Point dead features (n,) at the errors of inputs drawn by their squared loss, in place."""
    error = x - _decode(weights, _encode(weights, x, recipe).features)
    losses = error.square().sum(dim=1).clamp(min=_LEAST_LOSS)
    chosen = torch.multinomial(losses.square(), len(dead), replacement=True, generator=generator)
    directions = normalize(error[chosen], dim=1)
    living = torch.ones(recipe.d_sae, dtype=torch.bool).index_fill_(0, dead, value=False)
    norm = weights.W_enc[:, living].norm(dim=0).mean() if bool(living.any()) else torch.tensor(1.0)
    weights.W_dec[dead] = directions
    weights.W_enc[:, dead] = _NEW_ENCODER_NORM * norm * directions.T
    weights.b_enc[dead] = 0.0
    weights.log_threshold[dead] = math.log(_FIRST_THRESHOLD)
    for name, weight in weights._asdict().items():
        for moment in ("exp_avg", "exp_avg_sq"):
            state = optimizer.state[weight].get(moment)
            if state is not None and name != "b_dec":
                (state.T if name == "W_enc" else state)[dead] = 0.0
