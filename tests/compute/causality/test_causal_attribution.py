"""Attribution in closed form against the form with features and error as leaves of the graph, and its identities."""

from __future__ import annotations

from dataclasses import replace

import causal_models as tiny
import pytest
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.attribution import attribution, attribution_patch
from circuit_artifacts.compute.causality.capture import metric_values, patched, positions_mask, site_values
from circuit_artifacts.compute.saes import Architecture, SparseAutoencoder, TrainingFacts

IDS = tiny.token_ids()
MASK = positions_mask(IDS, {int(IDS[0, 0]), int(IDS[1, 3])})
FACTS = {
    "plain": None,
    "layer_norm": TrainingFacts(apply_b_dec_to_input=True, normalization="layer_norm"),
    "rescaled": TrainingFacts(apply_b_dec_to_input=False, normalization="none", decoder_norm_rescaling=True),
}
# Norms of these two compute in float32 whatever the dtype of the model.
CLOSE = {"llama": 2e-5, "gemma2": 2e-5, "neox": 1e-11, "gpt2": 1e-11, "ours": 1e-11}


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {family: tiny.build(family) for family in tiny.FAMILIES}


def leaves(model: nn.Module, sae: SparseAutoencoder, site: str, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features and errors (B, T, ...) as leaves of the model's graph, and the gradients of the metric there."""
    made: list[Tensor] = []

    def rebuild(h: Tensor) -> Tensor:
        f = sae.encode(h, "faithful").detach().requires_grad_()
        reconstruction = sae.decode(f, "faithful", x=h.detach())
        error = (h - reconstruction).detach().requires_grad_()
        made.extend([f, error])
        return reconstruction + error

    with patched(model, site, layer, rebuild):
        metric = metric_values(model(IDS).logits, IDS)
    return made[0].detach(), made[1].detach(), *torch.autograd.grad(metric.sum(), made)


@pytest.mark.parametrize(("site", "layer"), [("resid_post", 1), ("mlp_out", 0), ("embed", 0)])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_closed_form_is_the_form_with_leaves(
    models: dict[str, nn.Module], family: str, arch: Architecture, site: str, layer: int
) -> None:
    sae = tiny.autoencoder(arch)
    f, error, f_gradient, error_gradient = leaves(models[family], sae, site, layer)
    found = attribution(site_values(models[family], IDS, site=site, layer=layer), sae, MASK)
    kept = MASK[:, :, None]
    expected = -f * f_gradient * kept
    scale = float(expected.abs().max())
    ours = replace(found.nodes, value=found.effects).dense()
    torch.testing.assert_close(ours, expected, rtol=0, atol=CLOSE[family] * scale)
    expected_error = -(error * error_gradient * kept).sum(dim=-1)
    scale = float(expected_error.abs().max())
    torch.testing.assert_close(found.error, expected_error, rtol=0, atol=CLOSE[family] * scale)


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_closed_form_with_normalised_inputs_and_rescaled_rows(
    models: dict[str, nn.Module], facts: TrainingFacts | None
) -> None:
    """Where the path from a feature to the site is not just its decoder row."""
    sae = tiny.autoencoder("relu", trained=facts)
    f, _, f_gradient, _ = leaves(models["neox"], sae, "resid_post", 1)
    found = attribution(site_values(models["neox"], IDS, site="resid_post", layer=1), sae, MASK)
    ours = replace(found.nodes, value=found.effects).dense()
    torch.testing.assert_close(ours, -f * f_gradient * MASK[:, :, None])


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_effects_of_everything_add_up_to_that_of_the_activation(
    models: dict[str, nn.Module], arch: Architecture, facts: TrainingFacts | None
) -> None:
    values = site_values(models["gpt2"], IDS, site="resid_post", layer=1)
    found = attribution(values, tiny.autoencoder(arch, trained=facts), MASK)
    total = replace(found.nodes, value=found.effects).dense().sum(dim=-1) + found.error + found.bias
    torch.testing.assert_close(total, -(values.gradient * values.activation).sum(dim=-1) * MASK)


@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_blocks_change_nothing(models: dict[str, nn.Module], arch: Architecture) -> None:
    values = site_values(models["ours"], IDS, site="resid_post", layer=1)
    whole = attribution(values, tiny.autoencoder(arch), MASK)
    for block in (1, 5):
        part = attribution(values, tiny.autoencoder(arch), MASK, block=block)
        torch.testing.assert_close(part.effects, whole.effects)
        torch.testing.assert_close(part.error, whole.error)


def test_patching_moves_features_to_what_they_are_in_another_run(models: dict[str, nn.Module]) -> None:
    sae, model = tiny.autoencoder("jumprelu"), models["neox"]
    values = site_values(model, IDS, site="resid_post", layer=1)
    other = site_values(model, tiny.token_ids(seed=9), site="resid_post", layer=1).activation
    found = attribution_patch(values, other, sae, MASK)
    before, after = sae.encode(values.activation, "faithful"), sae.encode(other, "faithful")
    expected = (after - before) * (values.gradient @ sae.W_dec.T) * MASK[:, :, None]
    torch.testing.assert_close(replace(found.nodes, value=found.effects).dense(), expected)
    assert torch.equal(found.nodes.dense() != 0, (before != 0) & MASK[:, :, None])
    assert (found.nodes.value == 0).any()  # on in the patched run only
    total = expected.sum(dim=-1) + found.error + found.bias
    torch.testing.assert_close(total, (values.gradient * (other - values.activation)).sum(dim=-1) * MASK)


def test_patching_with_the_same_run_does_nothing(models: dict[str, nn.Module]) -> None:
    values = site_values(models["neox"], IDS, site="resid_post", layer=1)
    found = attribution_patch(values, values.activation, tiny.autoencoder("relu"), MASK)
    assert not found.effects.any()
    assert not found.error.any()


def test_graddrop_averages_absolute_effects(models: dict[str, nn.Module]) -> None:
    sae = tiny.autoencoder("relu")
    values = site_values(models["gpt2"], IDS, site="resid_post", layer=0, atp_variant="graddrop")
    found = attribution(values, sae, MASK)
    parts = [attribution(replace(values, gradient=gradient, dropped=()), sae, MASK) for _, gradient in values.dropped]
    torch.testing.assert_close(found.effects, torch.stack([part.effects.abs() for part in parts]).mean(dim=0))
    torch.testing.assert_close(found.error, torch.stack([part.error.abs() for part in parts]).mean(dim=0))
    plain = attribution(replace(values, dropped=()), sae, MASK)
    assert not torch.allclose(plain.effects.abs(), found.effects)


def test_autoencoders_may_be_in_another_precision_than_the_model(models: dict[str, nn.Module]) -> None:
    values = site_values(models["gpt2"], IDS, site="resid_post", layer=1)
    exact = attribution(values, tiny.autoencoder("relu"), MASK)
    single = attribution(values, tiny.autoencoder("relu").float(), MASK)
    assert single.effects.dtype == torch.float32
    torch.testing.assert_close(single.effects.double(), exact.effects, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(single.error, exact.error, rtol=1e-3, atol=1e-5)
