"""Scores of random directions that carry the activations of real features: the null of causal-dimensionality spec 2.2.

Each feature that fires gets another direction and keeps its activations and the length of its decoder row, so that only
the direction differs (the length is ours; rows of most autoencoders have length 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.attribution import attribution, node_effects
from circuit_artifacts.compute.causality.capture import SiteValues
from circuit_artifacts.compute.causality.scores import FeatureScores, Reduction
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import UnknownNameError

__all__ = ["NullKind", "null_scores"]

NullKind = Literal["permuted", "haar"]
"""``permuted`` deals the decoder rows of features that fire out anew, ``haar`` draws directions uniformly."""


def null_scores(
    batches: Iterable[tuple[SiteValues, Tensor]],
    sae: SparseAutoencoder,
    features: npt.NDArray[np.int64],
    *,
    kind: NullKind = "permuted",
    n_seeds: int = 20,
    seed: int = 0,
    reduction: Reduction = "mean_abs",
    mode: EncodeMode = "faithful",
) -> npt.NDArray[np.float64]:
    """Score every firing feature with a random direction in place of its own.

    Args:
        batches: the corpus on which features were scored, a second time, as in `score_features`.
        sae: the autoencoder.
        features: (m,), those that fire on it; see ``FeatureScores.features``.
        kind: of the random directions.
        n_seeds: how often, each time with other directions.
        seed: of the first time; the next has the next seed.
        reduction: as the features were scored.
        mode: as in `SparseAutoencoder.encode`.

    Returns:
        (n_seeds, m).

    Raises:
        UnknownNameError: no such kind, reduction or mode.
        ModelError: as `attribution`.
    """
    if kind not in get_args(NullKind):
        problem = "there is no such null"
        raise UnknownNameError(problem, where="kind", found=repr(kind), expected=", ".join(get_args(NullKind)))
    listed = torch.from_numpy(features).to(sae.W_dec.device)
    rows, lengths = sae.W_dec[listed], sae.W_dec.norm(dim=1)
    place = torch.full((sae.d_sae,), -1, device=listed.device)
    place[listed] = torch.arange(len(listed), device=listed.device)
    scores = [FeatureScores(sae.d_sae, reduction) for _ in range(n_seeds)]
    for values, mask in batches:
        found = attribution(values, sae, mask, mode=mode)
        nodes = found.nodes.where(place[found.nodes.feature] >= 0)
        change = replace(nodes, feature=place[nodes.feature], value=-nodes.value * lengths[nodes.feature])
        for number, score in enumerate(scores):
            effects = node_effects(values, change, _directions(rows, kind, seed + number))
            score.add(replace(found, nodes=nodes, effects=effects))
    return np.stack([score.scores[features] for score in scores])


def _directions(rows: Tensor, kind: NullKind, seed: int) -> Tensor:
    """Unit rows (m, d); drawn anew for each batch, which costs less than keeping those of all seeds."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "permuted":
        drawn = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
    else:
        drawn = torch.randn(rows.shape, generator=generator, dtype=rows.dtype).to(rows.device)
    return torch.nn.functional.normalize(drawn, dim=1)
