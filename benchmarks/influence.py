"""Influence in one window of a model of pythia-70m's shape, against a backward pass per row, and as a share of GEMM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Row, Side, at_least, best_times, compare
from circuit_artifacts.compute.hooks import hook_point, output_tensor
from circuit_artifacts.compute.locality.influence import window_influence
from circuit_artifacts.compute.saes import SparseAutoencoder

__all__ = ["run"]

LAYER, LENGTH, WIDTH = 1, 64, 512
N_FEATURES, N_ACTIVE = 32_768, 24  # about as many as the published runs found active at this layer
GEMM_SIZE = 2048


def run(work: Path) -> Iterator[Row]:
    """Rows about influence.

    Args:
        work: not used.
    """
    del work
    torch.manual_seed(0)
    model, sae, ids = _model(), _autoencoder(), torch.randint(0, 1000, (LENGTH,))
    options = {"layer": LAYER, "threshold": 0.0}
    setting = f"pythia-70m's shape, layer {LAYER}, {LENGTH} tokens, {N_ACTIVE} active features"
    yield compare(
        f"J, {setting}",
        Side("`window_influence`", lambda: window_influence(model, sae, ids, token_vector=False, **options)),
        Side("one backward pass per feature", lambda: _row_by_row(model, sae, ids, token_vector=False)),
        at_least(1.5),
        rounds=3,
    )
    both = Side("`window_influence`", lambda: window_influence(model, sae, ids, **options))
    yield compare(
        f"J and R, {setting}",
        both,
        Side("one backward pass per feature and per dimension", lambda: _row_by_row(model, sae, ids)),
        at_least(1.5),
        rounds=2,
    )
    yield _share_of_gemm(model, ids, both, setting)


def _share_of_gemm(model: nn.Module, ids: Tensor, side: Side, setting: str) -> Row:
    """Only what the result needs counts as work: a window's backward pass for each dimension."""
    embedded, residual = _whole_model(model, ids)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(residual[0], embedded)
    useful = WIDTH * counter.get_total_flops()
    left, right = torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    # As much work as ours, so that both see the same share of a busy machine.
    repeats = round(useful / (2 * GEMM_SIZE**3))
    products = Side("products", lambda: [(left @ right)[0, 0] for _ in range(repeats)])
    seconds, product_seconds = best_times(side, products, rounds=4)
    rate, product_rate = useful / seconds, repeats * 2 * GEMM_SIZE**3 / product_seconds
    return Row(
        f"J and R, {setting}",
        f"{side.what}: {rate / 1e9:.0f} GFLOP/s of matrix products",
        f"float32 products of {GEMM_SIZE:,} by {GEMM_SIZE:,} matrices: {product_rate / 1e9:.0f} GFLOP/s",
        100 * rate / product_rate,
        "%",
        at_least(60, "%"),
    )


def _model() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 4 * WIDTH}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=50_304, **sizes))
    return model.eval().requires_grad_(requires_grad=False)


def _autoencoder() -> SparseAutoencoder:
    """Random, with a known number of active features."""
    encoder = torch.randn(WIDTH, N_FEATURES) / WIDTH**0.5
    return SparseAutoencoder("topk", encoder, torch.zeros(N_FEATURES), encoder.T, torch.zeros(WIDTH), k=N_ACTIVE)


def _row_by_row(model: nn.Module, sae: SparseAutoencoder, ids: Tensor, *, token_vector: bool = True) -> list[Tensor]:
    """The plain way: the whole model once, then a backward pass for each number that is differentiated."""
    embedded, residual = _whole_model(model, ids)
    features = sae.encode(residual[None])[0]
    targets: Iterable[Tensor] = features[features > 0]
    if token_vector:
        targets = [*targets, *residual]
    gradients = (torch.autograd.grad(target, embedded, retain_graph=True)[0] for target in targets)
    return [gradient[0].square().sum(dim=-1) for gradient in gradients]


def _whole_model(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (1, T, d), and the residual stream after the layer at the last token (d,)."""
    embedded = hook_point(model, "embed", 0).module(ids[None]).requires_grad_()
    outputs: list[Tensor] = []
    block = hook_point(model, "resid_post", LAYER).module
    handle = block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output_tensor(output)))
    model(inputs_embeds=embedded)
    handle.remove()
    return embedded, outputs[0][0, -1]
