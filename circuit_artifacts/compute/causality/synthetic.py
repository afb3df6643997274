"""Whether attribution patching finds the directions that matter, where they are known.

Sparse sources z point in directions u and make up x; an output y reads x along a few of the directions, the planted
ones. Features of a dictionary are ranked by their scores, and the directions of those at the top are compared with the
planted ones (causal-dimensionality spec 2.7). What the published model looked like is unknown: all sizes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor
from torch.nn.functional import normalize

from circuit_artifacts.compute.causality.synthetic_sources import (
    Nonlinearity,
    SourceDictionary,
    Sources,
    SourceSettings,
    draw_sources,
    oracle_dictionary,
    output_gradients,
    random_dictionary,
    trained_dictionary,
)
from circuit_artifacts.compute.saes.training import SaeRecipe

__all__ = ["COSINES", "Recovery", "recoveries", "run_synthetic", "subspace_score"]

COSINES: Final = (0.5, 0.7, 0.8, 0.9, 0.95)
"""How close to a planted direction, in absolute cosine, a feature must be to recover it."""

_RANK_RULE: Final = 0.02  # of all features
_NO_EIGENVALUE: Final = 1e-10  # of the largest
# Ours: as sparse as the sources at 512 features, in seconds.
_PENALTY, _STEPS, _BATCH = 0.05, 1500, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How many planted directions were found, by one rule, at one cosine.

    Attributes:
        phi: nonlinearity of the output.
        dictionary: its name.
        width: its number of features.
        rule: how many features are selected: ``planted`` as many as planted directions, ``twice`` twice as many,
            ``percentile`` 2 % of the features.
        n_selected: how many were; fewer than the rule says if fewer have a score.
        cosine: the least absolute cosine that counts.
        n_planted: planted directions.
        n_recovered: those that a selected feature comes close to.
        n_ceiling: those that any feature comes close to.
        chance: expected share recovered by as many features drawn at random from the dictionary.
        precision: share of the selected features that come close to a planted direction.
        subspace: see `subspace_score`.
    """

    phi: Nonlinearity
    dictionary: str
    width: int
    rule: Literal["planted", "twice", "percentile"]
    n_selected: int
    cosine: float
    n_planted: int
    n_recovered: int
    n_ceiling: int
    chance: float
    precision: float
    subspace: float

    @property
    def recall(self) -> float:
        """Share of the planted directions that was recovered."""
        return self.n_recovered / self.n_planted

    @property
    def ceiling(self) -> float:
        """The recall if all features were selected."""
        return self.n_ceiling / self.n_planted


def recoveries(sources: Sources, dictionary: SourceDictionary, phi: Nonlinearity) -> list[Recovery]:
    """What the top features of a dictionary recover, for every rule and cosine.

    Scores are those of zero ablation, the mean over inputs of ``|f_i <g, d_i>|``.
    """
    gradient = output_gradients(sources, phi)
    scores = (dictionary.features * (gradient @ dictionary.decoder.T)).abs().mean(dim=0)
    cosines = (normalize(dictionary.decoder, dim=1) @ sources.planted.T).abs()
    width, n_planted = cosines.shape
    subspace = subspace_score(gradient, sources.planted)
    ranked = scores.argsort(descending=True, stable=True)[: int((scores > 0).sum())]
    rules: dict[Literal["planted", "twice", "percentile"], int] = {
        "planted": n_planted,
        "twice": 2 * n_planted,
        "percentile": math.ceil(_RANK_RULE * width),
    }
    found = []
    for rule, count in rules.items():
        selected = ranked[:count]
        for cosine in COSINES:
            close = cosines >= cosine
            of_selected = close[selected]
            chance = np.mean(hypergeom.sf(0, width, close.sum(dim=0).numpy(), len(selected)))
            found.append(
                Recovery(
                    phi=phi,
                    dictionary=dictionary.name,
                    width=width,
                    rule=rule,
                    n_selected=len(selected),
                    cosine=cosine,
                    n_planted=n_planted,
                    n_recovered=int(of_selected.any(dim=0).sum()),
                    n_ceiling=int(close.any(dim=0).sum()),
                    chance=float(chance),
                    precision=float(of_selected.any(dim=1).double().mean()) if len(selected) else 0.0,
                    subspace=subspace,
                )
            )
    return found


def subspace_score(gradient: Tensor, planted: Tensor) -> float:
    """How much of the span of the planted directions the gradients' outer product finds, from 0 to 1.

    Mean squared cosine of the principal angles between that span and the top eigenvectors of ``A = E[g g^T]``, as many
    as there are planted directions. Where A has a lower rank, as with ``identity``, whose gradient is the same
    everywhere, the missing eigenvectors count as orthogonal to the span (ours).

    Args:
        gradient: (N, d).
        planted: (n, d), of rank n.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(gradient.T @ gradient / len(gradient))
    top = eigenvectors[:, eigenvalues > _NO_EIGENVALUE * eigenvalues[-1]][:, -len(planted) :]
    frame, _ = torch.linalg.qr(planted.T)
    return float((top.T @ frame).square().sum()) / len(planted)


def run_synthetic(
    settings: SourceSettings,
    *,
    nonlinearities: Sequence[Nonlinearity] = get_args(Nonlinearity),
    widths: Sequence[int] = (128, 512),
    steps: int = _STEPS,
) -> list[Recovery]:
    """Every dictionary under every nonlinearity; the same settings give the same result.

    Args:
        settings: what is drawn.
        nonlinearities: of the output.
        widths: of the trained and the random dictionaries.
        steps: of training.

    Raises:
        ModelError: as `train_sae`.
    """
    sources = draw_sources(settings)
    return [
        recovery
        for dictionary in _dictionaries(sources, widths, steps, settings.seed)
        for phi in nonlinearities
        for recovery in recoveries(sources, dictionary, phi)
    ]


def _dictionaries(sources: Sources, widths: Sequence[int], steps: int, seed: int) -> Iterator[SourceDictionary]:
    yield oracle_dictionary(sources)
    for width in widths:
        recipe = SaeRecipe(arch="relu", d_sae=width, penalty=_PENALTY, steps=steps, batch_size=_BATCH, seed=seed)
        yield trained_dictionary(sources, recipe)
        yield random_dictionary(sources, width, seed=seed + 1)
