"""Attribution of all features at once: against a backward pass per feature, dense activations, and in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from benchmarks.harness import Row, Side, at_least, at_most, compare
from circuit_artifacts.compute.causality.capture import SiteValues, metric_values, patched, site_values
from circuit_artifacts.compute.causality.scores import score_features
from circuit_artifacts.compute.saes import SparseAutoencoder

__all__ = ["run"]

SITE, LAYER, BATCH, LENGTH, WIDTH = "resid_post", 3, 4, 128, 512
DICTIONARIES = (4096, 8192, 16_384)
L0 = 80
N_ONE_BY_ONE = 16  # of the features, since all of them would take an hour

NARROW, WIDE = 1 << 14, 1 << 20
SWEEP_WIDTH, SWEEP_TOKENS, SWEEP_BATCHES = 64, 1024, 2
MEGABYTE = 1e6


def run(work: Path) -> Iterator[Row]:
    """Rows about attribution; needs a gigabyte.

    Args:
        work: not used.
    """
    del work
    torch.manual_seed(0)
    model, ids = _model(), torch.randint(0, 1000, (BATCH, LENGTH))
    saes = [_autoencoder(width, WIDTH) for width in DICTIONARIES]
    every = f"all {sum(DICTIONARIES):,} features of {len(DICTIONARIES)} autoencoders"
    work_done = f"AtP scores, pythia-70m's shape, layer {LAYER}, {BATCH * LENGTH} tokens, L0 of about {L0}"
    ours = Side(f"`score_features`, {every}", lambda: _scores(model, ids, saes))
    single = Side(f"one backward pass per feature, {N_ONE_BY_ONE} of them", lambda: _one_by_one(model, ids, saes[-1]))
    leaves = Side(f"activations as leaves of the graph, {every}", lambda: [_leaves(model, ids, sae) for sae in saes])
    yield compare(work_done, ours, single, at_least(2), rounds=2)
    yield compare(work_done, ours, leaves, at_least(1.5), rounds=3)
    wide, narrow = (float(_in_fresh_interpreter(width)) for width in (WIDE, NARROW))
    yield Row(
        f"memory of scoring, {SWEEP_TOKENS:,} tokens at a time, {SWEEP_WIDTH} wide, L0 of about {L0}; without weights",
        f"{WIDE:,} features: {wide:.0f} MB",
        f"{NARROW:,} features: {narrow:.0f} MB",
        wide - narrow,
        "MB more",
        at_most(200, "MB more"),
    )


def _model() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 4 * WIDTH}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=50_304, **sizes)).eval().requires_grad_(requires_grad=False)


def _autoencoder(n_features: int, width: int) -> SparseAutoencoder:
    """Random features; of inputs whose length is the square root of the width, so many are on as L0 says."""
    encoder = torch.randn(width, n_features).div_(width**0.5)
    bias = torch.full((n_features,), -float(norm.isf(L0 / n_features)))
    return SparseAutoencoder("relu", encoder, bias, torch.randn(n_features, width), torch.zeros(width))


def _rescaled(x: Tensor) -> Tensor:
    return x * (x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True))


def _scores(model: nn.Module, ids: Tensor, saes: list[SparseAutoencoder]) -> list[np.ndarray]:
    values = site_values(model, ids, site=SITE, layer=LAYER)
    mask = torch.ones_like(ids, dtype=torch.bool)
    batch = SiteValues(_rescaled(values.activation), values.gradient, values.metric)
    return [scores.scores for scores in score_features([(batch, mask)], saes)]


def _leaves(model: nn.Module, ids: Tensor, sae: SparseAutoencoder) -> Tensor:
    """The plain way: the autoencoder in the model, and the gradient at its dense activations."""
    features: list[Tensor] = []

    def rebuild(h: Tensor) -> Tensor:
        features.append(sae.encode(_rescaled(h), "faithful").detach().requires_grad_())
        reconstruction = sae.decode(features[0], "faithful")
        return reconstruction + (h - reconstruction).detach()

    with patched(model, SITE, LAYER, rebuild):
        metric = metric_values(model(ids).logits, ids).sum()
    (gradient,) = torch.autograd.grad(metric, features[0])
    return (features[0] * gradient).abs().mean(dim=(0, 1))


def _one_by_one(model: nn.Module, ids: Tensor, sae: SparseAutoencoder) -> list[float]:
    """A zero along one decoder row for each feature, differentiated: a pass through the model per feature."""
    amounts: list[Tensor] = []
    activations: list[Tensor] = []

    def shift(h: Tensor) -> Tensor:
        activations.append(sae.encode(_rescaled(h), "faithful"))
        amounts.extend(torch.zeros(*h.shape[:2], 1, requires_grad=True) for _ in range(N_ONE_BY_ONE))
        return h + sum(amount * sae.W_dec[feature] for feature, amount in enumerate(amounts))

    with patched(model, SITE, LAYER, shift):
        metric = metric_values(model(ids).logits, ids).sum()
    gradients = [torch.autograd.grad(metric, amount, retain_graph=True)[0][..., 0] for amount in amounts]
    return [float((activations[0][..., i] * gradient).abs().mean()) for i, gradient in enumerate(gradients)]


def _in_fresh_interpreter(width: int) -> str:
    command = [sys.executable, "-m", "benchmarks.attribution", str(width)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _growth(width: int) -> float:
    """By how much peak memory grows once the weights are there, in megabytes."""
    torch.manual_seed(0)
    batches = []
    for _ in range(SWEEP_BATCHES):
        x, gradient = torch.randn(2, 1, SWEEP_TOKENS, SWEEP_WIDTH)
        batches.append((SiteValues(_rescaled(x), gradient, x.new_zeros(1)), x.new_ones(x.shape[:2], dtype=torch.bool)))
    small, large = _autoencoder(256, SWEEP_WIDTH), _autoencoder(width, SWEEP_WIDTH)
    score_features(batches[:1], [small])[0].scores.sum()  # what libraries take on first use
    before = _peak()
    score_features(batches, [large])[0].scores.sum()
    return _peak() - before


def _peak() -> float:
    """Of this interpreter, in megabytes; Linux only. What getrusage says begins at the peak of the parent process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MEGABYTE


if __name__ == "__main__":
    print(_growth(int(sys.argv[1])))
