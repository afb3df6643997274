"""The expected Jacobian outer product from whole Jacobians, for small models (causal-dimensionality spec 2.1 a)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.outer_products import (
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
from circuit_artifacts.compute.causality.output_pullbacks import Output, following_tokens, pulled_back, score
from circuit_artifacts.compute.causality.spectrum import Spectrum, effective_rank, spectrum_of
from circuit_artifacts.compute.locality.activations import frozen

__all__ = ["exact_outer_product"]


def exact_outer_product(
    model: nn.Module,
    sequences: Sequence[Tensor] | Tensor,
    *,
    site: str,
    layer: int,
    output: Output = "centred_logits",
    special_ids: Collection[int] = (),
    spectrum: Spectrum = "eig",
    pass_tokens: int | None = None,
) -> OuterProductSums:
    """A without any chance.

    What follows the last block sees each position alone. So the Jacobian of the outputs with respect to the final
    residual stream is first reduced to a factor (d_model, d_model) per position, by one pass through the head for each
    output; only the factors' columns, T d_model in all, are then pulled back through the model. That is the chain
    rule, and no approximation.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        sequences: token ids (T,), int64, each, without padding; a tensor (S, T) serves.
        site: one of ``hooks.SITES``.
        layer: block number; 0 for ``embed``.
        output: see `output_pullbacks`. The one row of ``ce`` is its gradient; the last position, which predicts
            nothing, is then left out.
        special_ids: tokens such as BOS and EOS, at whose positions t nothing is measured. Effects on the output at
            such positions do count.
        spectrum: of which values the ranks of single tokens are taken.
        pass_tokens: tokens in one pass, over copies of a sequence; memory grows with it. None chooses by device.

    Raises:
        UnknownNameError: no such site, layer, output or spectrum.
        ModelError: there is no sequence, or one is longer than the model takes.
    """
    require_usable(model, sequences, output, "exact_jacobian")
    budget = pass_tokens or pass_size(model)
    with frozen(model):
        return added(
            _sums(_position_products(model, ids, site, layer, output, budget), ids, special_ids, output, spectrum)
            for _, ids in batches(model, sequences)
        )


def _sums(
    products: tuple[Tensor, int], ids: Tensor, special_ids: Collection[int], output: Output, spectrum: Spectrum
) -> OuterProductSums:
    measured = measured_positions(ids, special_ids, output)[0].cpu()
    matrices, n_outputs = products
    terms = matrices.cpu()[measured].numpy()
    ranks = [effective_rank(values) for values in spectrum_of(terms, spectrum) if values.any()]
    # A position acts on itself and those behind it, but on the sum of the losses only once.
    n_rows = n_outputs * (torch.ones(ids.shape[1]) if output == "ce" else torch.arange(ids.shape[1], 0, -1))
    return sums_of_sequences(
        terms.sum(axis=0, keepdims=True),
        n_terms=len(terms),
        n_positions=len(terms),
        n_samples=int(n_rows[measured].clamp(max=terms.shape[-1]).sum()),
        term_trace_squares=float(np.square(np.trace(terms, axis1=1, axis2=2)).sum()),
        term_norm_squares=float(np.square(terms).sum()),
        token_ranks=float(sum(ranks)),
        n_token_ranks=len(ranks),
    )


def _position_products(
    model: nn.Module, ids: Tensor, site: str, layer: int, output: Output, budget: int
) -> tuple[Tensor, int]:
    """J_t^T J_t at each position of one sequence (1, T), (T, d, d) float64; and how many outputs a position has."""
    if output == "ce":
        graph = forward_graph(model, ids, site, layer)
        (gradient,) = torch.autograd.grad(graph.logits, graph.delta, score(graph.logits, following_tokens(ids)))
        return _squares(double(gradient)), 1
    graph = forward_graph(model, ids.expand(max(1, budget // ids.shape[1]), -1), site, layer)
    columns = _factors(graph, output)
    copies, length, width = graph.final.shape
    products = double(graph.delta.new_zeros(length, graph.delta.shape[-1], graph.delta.shape[-1]))
    for start in range(0, length * width, copies):
        numbers = torch.arange(start, min(start + copies, length * width), device=columns.device)
        cotangent = torch.zeros_like(graph.final)
        places = numbers // width
        cotangent[numbers - start, places] = columns[places, :, numbers % width].to(cotangent)
        (rows,) = torch.autograd.grad(graph.final, graph.delta, cotangent, retain_graph=True)
        products += _squares(double(rows[: len(numbers)]))
    return products, (graph.final if output == "resid_final" else graph.logits).shape[-1]


def _factors(graph: Graph, output: Output) -> Tensor:
    """L (T, d, d) with L L^T = H^T H, where H is the Jacobian of a position's outputs by its final residual."""
    copies, length, width = graph.final.shape
    metric = double(graph.final.new_zeros(length, width, width))
    if output == "resid_final":
        return metric + torch.eye(width).to(metric)
    vocabulary = graph.logits.shape[-1]
    for start in range(0, vocabulary, copies):
        numbers = torch.arange(start, min(start + copies, vocabulary))
        vectors = torch.zeros_like(graph.logits)
        vectors[numbers - start, :, numbers] = 1
        cotangent = pulled_back(output, graph.logits.detach(), vectors).to(graph.logits)
        (rows,) = torch.autograd.grad(graph.logits, graph.final, cotangent, retain_graph=True)
        metric += _squares(double(rows[: len(numbers)]))
    values, directions = torch.linalg.eigh(metric)
    factors: Tensor = directions * values.clamp(min=0).sqrt()[:, None, :]
    return factors


def _squares(rows: Tensor) -> Tensor:
    """Sum over the first dimension of (R, T, d) of the rows' outer products: (T, d, d)."""
    by_position = rows.transpose(0, 1)
    return by_position.transpose(1, 2) @ by_position
