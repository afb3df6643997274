"""The expected Jacobian outer product from single gradients, for models of any size.

Causal-dimensionality spec 2.1, estimators b and c.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.outer_products import (
    Estimator,
    Graph,
    OuterProductSums,
    added,
    batches,
    double,
    forward_graph,
    measured_positions,
    pass_size,
    require_usable,
    sums_of_sequences,
)
from circuit_artifacts.compute.causality.output_pullbacks import (
    Output,
    drawn_tokens,
    following_tokens,
    pulled_back,
    random_signs,
    score,
)
from circuit_artifacts.compute.locality.activations import frozen
from circuit_artifacts.errors import ModelError

__all__ = ["sketched_outer_product"]


def sketched_outer_product(
    model: nn.Module,
    sequences: Sequence[Tensor] | Tensor,
    *,
    site: str,
    layer: int,
    output: Output = "centred_logits",
    estimator: Estimator = "vjp_sketch",
    n_probes: int = 1,
    seed: int = 0,
    first: int = 0,
    special_ids: Collection[int] = (),
    pass_tokens: int | None = None,
) -> OuterProductSums:
    """A from gradients of combinations of outputs: one backward pass per sequence and probe.

    A pass gives g_t = J_t^T v at every position t. With v of random signs over all outputs of the sequence the mean of
    g_t g_t^T is J_t^T J_t, and products of effects on different outputs vanish (``vjp_sketch``: Hutchinson's estimator,
    of a matrix in place of its trace). ``gradient_outer_product`` differentiates log-probabilities of tokens: for
    ``fisher`` those that the model draws, for ``ce`` the true ones, where nothing is random.

    Args:
        model: as `jacobians.exact_outer_product`, and so the next three.
        sequences: see there.
        site: see there.
        layer: see there.
        output: see `output_pullbacks`; the estimators take those in ``outer_products.ESTIMATORS``.
        estimator: "vjp_sketch" or "gradient_outer_product".
        n_probes: probes per sequence; 1 for ``ce``. Another sequence tells more than another probe, but costs a
            forward pass.
        seed: of the probes, 0 or more. They depend on it and on the numbers of sequence and probe only, not on batches.
        first: number of the first sequence, where these are part of a longer list.
        special_ids: as `jacobians.exact_outer_product`.
        pass_tokens: tokens in one pass, over sequences of equal length that follow each other. None chooses by device.

    Raises:
        UnknownNameError: no such site, layer, output or estimator.
        ModelError: there is no sequence, or one is longer than the model takes; the estimator has no such output;
            several probes of ``ce``; "exact_jacobian".
    """
    require_usable(model, sequences, output, estimator, n_probes)
    if estimator == "exact_jacobian":
        problem = "whole Jacobians are no sketch"
        raise ModelError(problem, where="estimator", remedy="Call exact_outer_product.")
    parts = []
    with frozen(model):
        for start, ids in batches(model, sequences, pass_tokens or pass_size(model)):
            graph = forward_graph(model, ids, site, layer)
            measured = measured_positions(ids, special_ids, output)
            totals = double(graph.delta.new_zeros(len(ids), graph.delta.shape[-1], graph.delta.shape[-1]))
            squares = 0.0
            for probe in range(n_probes):
                randoms = [np.random.default_rng([seed, first + start + row, probe]) for row in range(len(ids))]
                target, cotangent = _probe(graph, ids, output, estimator, randoms)
                (gradient,) = torch.autograd.grad(
                    target, graph.delta, cotangent.to(target.dtype), retain_graph=probe + 1 < n_probes
                )
                terms = double(gradient) * measured[..., None].to(totals.device)
                totals += terms.transpose(1, 2) @ terms
                squares += float(terms.square().sum(dim=-1).square().sum())
            n_positions = int(measured.sum())
            parts.append(
                sums_of_sequences(
                    totals.cpu().numpy(),
                    n_terms=n_positions * n_probes,
                    n_positions=n_positions,
                    n_samples=n_positions * n_probes,
                    term_trace_squares=squares,
                    term_norm_squares=squares,
                )
            )
    return added(parts)


def _probe(
    graph: Graph, ids: Tensor, output: Output, estimator: Estimator, randoms: Sequence[np.random.Generator]
) -> tuple[Tensor, Tensor]:
    """What is differentiated (B, T, n), and the combination of it."""
    if estimator == "gradient_outer_product":
        tokens = following_tokens(ids) if output == "ce" else drawn_tokens(graph.logits, randoms)
        return graph.logits, score(graph.logits, tokens)
    if output == "resid_final":
        return graph.final, random_signs(graph.final, randoms)
    return graph.logits, pulled_back(output, graph.logits.detach(), random_signs(graph.logits, randoms))
