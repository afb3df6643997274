"""Stage 11 scoring against one prompt at a time (csp_atlas spec 3.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import write_tiny_gpt2, write_tiny_model
from torch import nn
from torch.nn import functional

from circuit_artifacts.compute.csp.losses import UNSCORED_LOSS, sequence_losses
from circuit_artifacts.compute.models import load_model


@pytest.fixture(scope="module", params=["circuit", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder: Path = tmp_path_factory.mktemp("model")
    return load_model((write_tiny_model if request.param == "circuit" else write_tiny_gpt2)(folder))


def _sequences(n: int = 25) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 300, random.integers(2, 30)).tolist() for _ in range(n)]


def _alone(model: nn.Module, ids: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    return float(functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])))


@pytest.mark.parametrize("batch_tokens", [1, 64, 8192])
def test_equals_the_mean_cross_entropy_of_each_prompt_alone(model: nn.Module, batch_tokens: int) -> None:
    sequences = _sequences()
    losses = sequence_losses(model, sequences, batch_tokens=batch_tokens)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, [_alone(model, ids) for ids in sequences], atol=1e-5)


def test_prompts_without_a_next_token_get_the_published_constant(model: nn.Module) -> None:
    losses = sequence_losses(model, [[], [5], [5, 6], [7]])
    assert losses[[0, 1, 3]].tolist() == [50.0] * 3 == [UNSCORED_LOSS] * 3
    assert losses[2] == pytest.approx(_alone(model, [5, 6]), abs=1e-5)
    assert sequence_losses(model, [[1]]).tolist() == [50.0]
    assert sequence_losses(model, []).shape == (0,)


def test_equal_prompts_run_once_and_get_one_loss(model: nn.Module) -> None:
    rows: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    losses = sequence_losses(model, [[1, 2, 3], [4, 5], [1, 2, 3], [1, 2, 3]])
    handle.remove()
    assert sum(rows) == 2
    assert losses[0] == losses[2] == losses[3] != losses[1]
