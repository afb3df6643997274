"""The recipe of the bundled model: pruning keeps exactly what it should, and a batch depends on its step alone."""

from __future__ import annotations

import importlib
import itertools
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("train_mini_model")
    finally:
        sys.path.remove(str(SCRIPTS))


def test_pruning_keeps_the_largest_entries(script: ModuleType) -> None:
    weight = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    script.keep_largest(weight, 0.25, neuron_dimension=None)
    kept = weight != 0
    assert int(kept.sum()) == 32 * 48 // 4
    assert torch.equal(weight[kept], before[kept])
    assert before[kept].abs().min() >= before[~kept].abs().max()


@pytest.mark.parametrize("neuron_dimension", [0, 1])
def test_pruning_leaves_every_neuron_some_weights(script: ModuleType, neuron_dimension: int) -> None:
    """Without the guard, neurons with small weights would lose all of them and be dead for good."""
    weight = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    weight.select(neuron_dimension, 3).mul_(1e-6)
    script.keep_largest(weight, 0.25, neuron_dimension=neuron_dimension)
    per_neuron = (weight != 0).sum(dim=1 - neuron_dimension)
    assert int(weight.count_nonzero()) == 32 * 48 // 4
    assert int(per_neuron[3]) == script.LEAST_PER_NEURON
    assert int(per_neuron.min()) >= script.LEAST_PER_NEURON


def test_the_budget_falls_from_all_to_the_target(script: ModuleType) -> None:
    densities = [script.annealed_density(0.125, progress) for progress in np.linspace(0, 1, 201)]
    assert densities[0] == 1.0
    assert densities[-1] == 0.125
    assert densities[120:] == [0.125] * 81  # the second half trains at the target
    assert all(earlier >= later for earlier, later in itertools.pairwise(densities))


def test_a_batch_depends_on_its_step_alone(script: ModuleType) -> None:
    """So that a training run that was killed goes on with the batches it would have seen."""
    corpus = sys.modules[script.Batches.__module__]
    generator = random.Random(0)
    documents = [
        np.array([generator.randrange(100) for _ in range(generator.randrange(4, 12))], np.uint16) for _ in range(400)
    ]

    def batches() -> object:
        return corpus.Batches([(corpus.LibraryRows(documents, 65, 7), 3), (corpus.PromptRows(documents, 65, 7), 2)])

    steps = range(60)  # several epochs
    forwards, backwards = batches(), batches()
    one = [forwards(step) for step in steps]
    other = [backwards(step) for step in reversed(steps)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[0].shape == (5, 65)
    assert not np.array_equal(one[0], one[1])
