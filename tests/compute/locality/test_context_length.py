"""The context-length sweep: its lengths, its prompt, and that all lengths read the same token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch

from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.locality.context_length import context_lengths, last_tokens, sample_prompt, sweep
from circuit_artifacts.compute.models import load_model
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import SchemaError


def test_published_lengths() -> None:
    """Locality golden numbers."""
    assert context_lengths(8, 128, 8) == list(range(8, 129, 8))
    assert context_lengths(8, 2048, 128) == [*range(8, 1929, 128), 2048]
    assert len(context_lengths(8, 2048, 128)) == 17
    assert context_lengths(8, 1024, 64) == [*range(8, 969, 64), 1024]
    assert context_lengths(32, 64, 16) == [32, 48, 64]


@pytest.mark.parametrize("max_context_len", [128, 1024, 2048])
def test_published_prompt_begins_at_the_same_character_whatever_its_length(max_context_len: int) -> None:
    """Locality golden numbers: seed 42 on the raw WikiText-2 training split, about 10,890,000 characters."""
    prompt = sample_prompt("a" * 10_890_000, lambda text: range(len(text)), max_context_len=max_context_len, seed=42)
    assert prompt.char_start == 10_727_801
    assert prompt.char_budget == 12 * max_context_len
    assert prompt.ids == list(range(11 * max_context_len, 12 * max_context_len))


def test_prompts_that_are_too_short_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"found 47 characters, expected at least 48"):
        sample_prompt("a" * 47, lambda text: range(len(text)), max_context_len=4, seed=0)
    with pytest.raises(SchemaError, match=r"found 3 tokens, expected at least 4"):
        last_tokens("a b c", lambda text: range(len(text.split())), 4)


def test_every_length_reads_the_same_last_token(tmp_path: Path) -> None:
    model = load_model(str(tiny_model.write_tiny_model(tmp_path)))
    ids = torch.arange(20, 32)

    sae = SparseAutoencoder("relu", torch.eye(16), torch.zeros(16), torch.eye(16), torch.zeros(16))
    options = {"layer": 1, "threshold": 0.0, "token_vector": False}
    found = list(sweep(model, sae, ids, lengths=[3, 12], **options))
    assert [length for length, _ in found] == [3, 12]
    for length, window in found:
        residual = capture(model, ids[None, -length:], site="resid_post", layers=[1])[1][0, -1].numpy()
        np.testing.assert_array_equal(window.features, np.flatnonzero(residual > 0))
        np.testing.assert_allclose(window.activation, residual[residual > 0], rtol=1e-5, atol=1e-6)
        assert window.influence.shape == (len(window.features), length)
