"""The expected Jacobian outer product A = E[J_t^T J_t] of a site: what the model's output is sensitive to there.

J_t is the derivative of the output at all positions with respect to the activation at position t, so it holds the
effect on all later tokens; the mean is over all positions that are not special (causal-dimensionality spec 2.1). In
statistics A is the expected Jacobian outer product (Trivedi and Wang 2020), or for one number as output the expected
gradient outer product, the matrix of active subspaces (Constantine 2015).

Here is what its estimators share; they are in `jacobians` and `sketches`. Sums are kept in float64, whatever the
model's dtype: the tail of the spectrum matters. No `vmap` is involved, so attention may be of any implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.capture import patched, positions_mask
from circuit_artifacts.compute.causality.output_pullbacks import OUTPUTS, Output
from circuit_artifacts.compute.hooks import layer_count, recording
from circuit_artifacts.compute.locality.activations import require_length
from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Graph",
    "OuterProductSums",
    "added",
    "batches",
    "double",
    "forward_graph",
    "measured_positions",
    "pass_size",
    "require_usable",
    "sums_of_sequences",
]

Estimator = Literal["exact_jacobian", "vjp_sketch", "gradient_outer_product"]
ESTIMATORS: Final[dict[str, tuple[str, ...]]] = {
    "exact_jacobian": OUTPUTS,
    "vjp_sketch": tuple(output for output in OUTPUTS if output != "ce"),
    "gradient_outer_product": ("fisher", "ce"),
}
"""The estimators, with the outputs that each can take."""

_PASS_TOKENS: Final = {"cpu": 1024}  # sequences, or copies of one, times tokens
_PASS_TOKENS_ELSEWHERE: Final = 4096


@dataclass(frozen=True, eq=False)
class OuterProductSums:
    """Sums over positions, from which A and what is known about its error follow; they add up over sequences.

    A term is what one position gives: the matrix J_t^T J_t, or g g^T for a gradient g, once per probe. Terms of one
    sequence are not independent, so squares are kept both of terms and of the sums over each sequence.

    Attributes:
        total: (d, d) float64, sum of terms.
        n_terms: how many.
        n_sequences: how many.
        n_positions: of them, those that are not special.
        n_samples: matrices of rank one in the sum; at most d are counted for one term, since no more are independent.
        term_trace_squares: sum over terms of tr(M)^2.
        term_norm_squares: sum over terms of ||M||^2.
        sequence_trace_squares: the same, over sequences.
        sequence_norm_squares: the same, over sequences.
        token_ranks: sum over positions of the effective rank of J_t^T J_t; only from whole Jacobians.
        n_token_ranks: over how many: positions without any effect have no rank.
    """

    total: npt.NDArray[np.float64]
    n_terms: int
    n_sequences: int
    n_positions: int
    n_samples: int
    term_trace_squares: float
    term_norm_squares: float
    sequence_trace_squares: float
    sequence_norm_squares: float
    token_ranks: float = 0.0
    n_token_ranks: int = 0

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """A, (d, d); 0 if there are no terms."""
        return self.total / max(1, self.n_terms)

    def __add__(self, other: OuterProductSums) -> OuterProductSums:
        """Of both sets of sequences together."""
        return OuterProductSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def sums_of_sequences(totals: npt.NDArray[np.float64], **others: Any) -> OuterProductSums:
    """From the sums over each of some sequences (B, d, d), and what they do not tell."""
    return OuterProductSums(
        totals.sum(axis=0),
        n_sequences=len(totals),
        sequence_trace_squares=float(np.square(np.trace(totals, axis1=1, axis2=2)).sum()),
        sequence_norm_squares=float(np.square(totals).sum()),
        **others,
    )


def added(parts: Iterable[OuterProductSums]) -> OuterProductSums:
    """All parts together; at least one."""
    return reduce(add, parts)


class Graph(NamedTuple):
    """A forward pass that can be differentiated.

    Attributes:
        delta: (B, T, d) of zeros, added at the site.
        final: (B, T, d_model), the residual stream after the last block.
        logits: (B, T, V).
    """

    delta: Tensor
    final: Tensor
    logits: Tensor


def forward_graph(model: nn.Module, ids: Tensor, site: str, layer: int) -> Graph:
    """Run the model, whose parameters are frozen, so that the graph begins at the site.

    Raises:
        UnknownNameError, ModelError: as `capture.patched`.
    """
    deltas: list[Tensor] = []
    finals: list[Tensor] = []

    def inject(activation: Tensor) -> Tensor:
        deltas.append(torch.zeros_like(activation, requires_grad=True))
        return activation + deltas[0]

    # Some caches of keys and values are written in place.
    options = {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}
    last = layer_count(model) - 1
    # In this order: at the last block the delta is added before the final residual stream is read.
    with (
        torch.enable_grad(),
        patched(model, site, layer, inject),
        recording(model, "resid_post", [last], lambda _layer, final: finals.append(final)),
    ):
        logits = model(ids, **options).logits
    return Graph(deltas[0], finals[0], logits)


def batches(
    model: nn.Module, sequences: Sequence[Tensor] | Tensor, most_tokens: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Sequences of equal length that follow each other, together: the first one's number, and ids (B, T).

    Args:
        model: gives the device.
        sequences: token ids (T,), each.
        most_tokens: of one batch, which holds at least one sequence.
    """
    device = next(model.parameters()).device
    start = 0
    while start < len(sequences):
        length = len(sequences[start])
        stop = start + 1
        while stop < len(sequences) and len(sequences[stop]) == length and (stop - start + 1) * length <= most_tokens:
            stop += 1
        yield start, torch.stack([sequences[number] for number in range(start, stop)]).to(device)
        start = stop


def measured_positions(ids: Tensor, special_ids: Collection[int], output: Output) -> Tensor:
    """At which positions t a term is taken: (B, T), bool. For ``ce`` not at the last one, which predicts nothing."""
    positions = positions_mask(ids, special_ids)
    if output == "ce":
        positions[:, -1] = False
    return positions


def pass_size(model: nn.Module) -> int:
    """Tokens of one pass where the caller does not say."""
    return _PASS_TOKENS.get(next(model.parameters()).device.type, _PASS_TOKENS_ELSEWHERE)


def double(values: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def require_usable(
    model: nn.Module, sequences: Sequence[Tensor] | Tensor, output: str, estimator: str, n_probes: int = 1
) -> None:
    """Refuse what cannot be measured.

    Raises:
        UnknownNameError: no such estimator, or no such output.
        ModelError: the estimator has no such output; there is no sequence, or one that the model does not take; no
            probes, or several where each is the same.
    """
    for where, name, known in (("estimator", estimator, ESTIMATORS), ("output", output, OUTPUTS)):
        if name not in known:
            problem = f"there is no such {where}"
            raise UnknownNameError(problem, where=where, found=repr(name), expected=", ".join(known))
    if output not in ESTIMATORS[estimator]:
        problem = f"{estimator} does not measure this output"
        raise ModelError(problem, where="output", found=output, expected=" or ".join(ESTIMATORS[estimator]))
    if n_probes < 1 or (output == "ce" and n_probes > 1):
        problem = "the true next tokens give one gradient" if n_probes > 1 else "without probes nothing is measured"
        raise ModelError(problem, where="n_probes", found=n_probes, expected="1" if n_probes > 1 else "1 or more")
    if not len(sequences):
        problem = "there are no sequences to measure"
        raise ModelError(problem, where="sequences")
    require_length(model, max(len(ids) for ids in sequences))
