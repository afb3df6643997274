"""Sparse-weight inference at the size of csp_yolo2, with random weights at 1 % density (row 8 of the table)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import Row, Side, at_least, at_most, compare
from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer, sparsify_linear

__all__ = ["run"]

DENSITY, TOKENS = 0.01, 128
CONFIG = CircuitConfig(
    n_layer=8,
    d_model=2048,
    n_head=128,
    d_head=16,
    d_mlp=8192,
    block_size=1024,
    d_pos_emb=32,
    vocab_size=2048,
    rms_norm=True,
    tied_unembed=False,
    sink=True,
    afrac=0.25,
    enable_bigram_table=True,
)


def run(work: Path) -> Iterator[Row]:
    """Rows about speed and memory; needs 4 GB.

    Args:
        work: not used.
    """
    del work
    dense = _random_model()
    sparse = copy.deepcopy(dense)
    sparsify_linear(sparse)
    ids = torch.randint(CONFIG.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    yield compare(
        f"forward pass of {TOKENS} tokens, 419 M weights at {DENSITY:.0%} density",
        Side("compressed rows", lambda: _forward(sparse, ids)),
        Side("the same model dense", lambda: _forward(dense, ids)),
        at_least(2),
        rounds=3,
    )
    sizes = [_bytes(model) for model in (sparse, dense)]
    yield Row(
        "memory of its weights",
        f"compressed rows: {sizes[0] / 1e6:.0f} MB",
        f"dense: {sizes[1] / 1e6:.0f} MB",
        100 * sizes[0] / sizes[1],
        "%",
        at_most(50, "%"),
    )


@torch.no_grad()
def _random_model() -> CircuitTransformer:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = CircuitTransformer(CONFIG)
    model = model.to_empty(device="cpu").eval()
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "ln_" in name else 0.0)
        if parameter.ndim == 2:
            count = max(1, int(DENSITY * parameter.numel()))
            places = torch.randint(parameter.numel(), (count,), generator=generator)
            parameter.view(-1)[places] = 0.2 * torch.randn(count, generator=generator)
    for buffer in model.buffers():
        buffer.zero_()
    return model


@torch.inference_mode()
def _forward(model: nn.Module, ids: Tensor) -> None:
    model(ids)


def _bytes(model: nn.Module) -> int:
    total = 0
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.layout == torch.sparse_csr:
            total += sum(part.nbytes for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()))
        else:
            total += tensor.nbytes
    return total
