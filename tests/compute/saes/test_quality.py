"""Quality of autoencoders that are known to be perfect or blind, in models whose losses can be computed otherwise."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_model import write_tiny_gpt2, write_tiny_model
from torch import Tensor

from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.models import load_model
from circuit_artifacts.compute.saes import SparseAutoencoder, TrainingFacts
from circuit_artifacts.compute.saes.quality import sae_quality
from circuit_artifacts.errors import ModelError, UnknownNameError

V, WIDTH, LAST = 320, 16, 1
IDS = torch.randint(0, V, (6, 20), generator=torch.Generator().manual_seed(0))


def perfect(width: int = WIDTH, shift: float = 0.0) -> SparseAutoencoder:
    """Each dimension has a feature for either sign, so that exactly one of the two is active."""
    identity = torch.eye(width)
    both = torch.cat([identity, -identity])
    b_dec = torch.full((width,), shift)
    facts = TrainingFacts(apply_b_dec_to_input=shift != 0, normalization="none")
    return SparseAutoencoder("relu", both.T.clone(), torch.zeros(2 * width), both, b_dec, trained=facts)


def blind(b_dec: Tensor) -> SparseAutoencoder:
    """No feature is ever active; every reconstruction is the bias."""
    return SparseAutoencoder("relu", torch.zeros(WIDTH, 5), -torch.ones(5), torch.ones(5, WIDTH), b_dec)


@pytest.mark.parametrize("write", [write_tiny_model, write_tiny_gpt2])
def test_a_perfect_autoencoder_costs_nothing(write: Callable[[Path], Path], tmp_path: Path) -> None:
    model = load_model(write(tmp_path))
    quality = sae_quality(model, perfect(), IDS, layer=0, batch_size=4)
    residual = capture(model, IDS, site="resid_post", layers=[0])[0].flatten(0, 1)
    one_sided = int(((residual > 0).all(dim=0) | (residual < 0).all(dim=0)).sum())
    assert (quality.tokens, quality.l0, quality.dead_share) == (IDS.numel(), WIDTH, one_sided / (2 * WIDTH))
    assert quality.variance_explained == pytest.approx(1.0)
    assert quality.loss_reconstructed == pytest.approx(quality.loss, abs=1e-6)
    assert quality.loss_recovered == pytest.approx(1.0)


def test_a_blind_autoencoder_is_the_ablation(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path))
    mean = capture(model, IDS, site="resid_post", layers=[LAST])[LAST].flatten(0, 1).mean(dim=0)
    quality = sae_quality(model, blind(mean), IDS, layer=LAST, batch_size=4)
    assert (quality.l0, quality.dead_share) == (0.0, 1.0)
    assert quality.variance_explained == pytest.approx(0.0, abs=1e-5)
    assert quality.loss_reconstructed == pytest.approx(quality.loss_mean, abs=1e-5)
    assert quality.loss_recovered == pytest.approx(0.0, abs=1e-5)
    zero = sae_quality(model, blind(torch.zeros(WIDTH)), IDS, layer=LAST)
    assert zero.loss_reconstructed == zero.loss_zero
    # Behind the last block, zeros leave the unembedding nothing: every token is as likely as any other.
    assert zero.loss_zero == pytest.approx(math.log(V), abs=1e-6)
    assert zero.variance_explained < 0


def test_losses_are_those_of_the_next_token(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path))
    probabilities = model(IDS).logits.double().softmax(dim=-1)
    expected = [-math.log(probabilities[w, t, IDS[w, t + 1]]) for w in range(len(IDS)) for t in range(IDS.shape[1] - 1)]
    before = model(IDS).logits
    assert sae_quality(model, perfect(), IDS, layer=0).loss == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert torch.equal(model(IDS).logits, before)  # no hook stays behind


def test_the_mode_and_the_site_are_respected(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path))
    shifted = perfect(shift=0.5)
    assert sae_quality(model, shifted, IDS, layer=0, mode="faithful").variance_explained == pytest.approx(1.0)
    assert sae_quality(model, shifted, IDS, layer=0).variance_explained < 0.999
    neurons = sae_quality(model, perfect(3 * WIDTH), IDS, layer=0, site="mlp_neurons")
    assert neurons.loss_reconstructed == pytest.approx(neurons.loss, abs=1e-6)
    assert abs(neurons.loss_mean - neurons.loss) > 1e-3


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path))
    with pytest.raises(ModelError, match=r"windows: losses take windows of at least two tokens \(found \(6, 1\)"):
        sae_quality(model, perfect(), IDS[:, :1], layer=0)
    with pytest.raises(ModelError, match="another width"):
        sae_quality(model, perfect(8), IDS, layer=0)
    with pytest.raises(UnknownNameError, match="resid_post has no such layer"):
        sae_quality(model, perfect(), IDS, layer=2)
