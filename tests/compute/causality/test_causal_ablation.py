"""Exact effects against one ablation at a time, and against attribution where the model is linear after the site."""

from __future__ import annotations

from dataclasses import replace

import causal_models as tiny
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.ablation import FeatureEffects, Scope, feature_effects, identity_noise
from circuit_artifacts.compute.causality.capture import Metric, metric_values, patched, positions_mask
from circuit_artifacts.compute.causality.scores import score_features
from circuit_artifacts.compute.saes import Architecture, SparseAutoencoder, TrainingFacts
from circuit_artifacts.errors import SchemaError, UnknownNameError

IDS = tiny.token_ids(3, 6)
MASK = positions_mask(IDS, {int(IDS[0, 0]), int(IDS[1, 3])})
FEATURES = [11, 3, 4, 20]
PLACE = {"site": "resid_post", "layer": 1, "mask": MASK}
ANSWERS = torch.tensor([[3, 4], [5, 6], [7, 8]])


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {family: tiny.build(family) for family in tiny.FAMILIES}


def one_at_a_time(
    model: nn.Module, sae: SparseAutoencoder, feature: int, metric: Metric, tokens: list[int] | None = None
) -> Tensor:
    """The effect (B,) of a feature at given tokens, all by default, through the decoder and an error node."""

    def without(h: Tensor) -> Tensor:
        f = sae.encode(h, "faithful")
        error = h - sae.decode(f, "faithful", x=h)
        kept = f.clone()
        where = MASK if tokens is None else MASK & torch.isin(torch.arange(IDS.shape[1]), torch.tensor(tokens))
        kept[..., feature] = torch.where(where, 0.0, f[..., feature])
        return sae.decode(kept, "faithful", x=h) + error

    answers = ANSWERS if metric == "logit_diff" else None
    with torch.no_grad():
        logits = model(IDS).logits
        if metric == "logit_top1":
            answers = logits[:, -1].argmax(dim=-1, keepdim=True)
        clean = metric_values(logits, IDS, metric=metric, answers=answers)
        with patched(model, "resid_post", 1, without):
            return metric_values(model(IDS).logits, IDS, metric=metric, answers=answers) - clean


@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_all_tokens_at_once(models: dict[str, nn.Module], family: str, arch: Architecture) -> None:
    sae = tiny.autoencoder(arch)
    found = feature_effects(models[family], IDS, sae, FEATURES, **PLACE)
    assert found.features.tolist() == FEATURES
    for row, feature in enumerate(FEATURES):
        expected = one_at_a_time(models[family], sae, feature, "ce_sum").numpy()
        # The norms of llama and gemma2 compute in float32.
        np.testing.assert_allclose(found.exact[row], expected, rtol=1e-6, atol=1e-4 if family[-1] in "a2" else 1e-10)
        np.testing.assert_array_equal(found.exact_abs[row], np.abs(found.exact[row]))


@pytest.mark.parametrize("metric", ["ce_mean", "logit_diff", "logit_top1"])
def test_metrics(models: dict[str, nn.Module], metric: Metric) -> None:
    """The top token stays that of the unmodified model, whatever an ablation puts first."""
    sae = tiny.autoencoder("relu")
    answers = ANSWERS if metric == "logit_diff" else None
    found = feature_effects(models["neox"], IDS, sae, FEATURES, **PLACE, metric=metric, answers=answers)
    expected = np.stack([one_at_a_time(models["neox"], sae, feature, metric) for feature in FEATURES])
    np.testing.assert_allclose(found.exact, expected, rtol=1e-7, atol=1e-10)


def test_one_token_at_a_time(models: dict[str, nn.Module]) -> None:
    sae = tiny.autoencoder("jumprelu")
    found = feature_effects(models["gpt2"], IDS, sae, FEATURES, **PLACE, scope="per_token")
    for row, feature in enumerate(FEATURES):
        effects = np.stack(
            [one_at_a_time(models["gpt2"], sae, feature, "ce_sum", [token]).numpy() for token in range(IDS.shape[1])]
        )
        np.testing.assert_allclose(found.exact[row], effects.sum(axis=0), atol=1e-10)
        np.testing.assert_allclose(found.exact_abs[row], np.abs(effects).sum(axis=0), atol=1e-10)


def test_effects_of_attribution_are_summed_over_tokens(models: dict[str, nn.Module]) -> None:
    sae = tiny.autoencoder("relu")
    found = feature_effects(models["ours"], IDS, sae, list(range(24)), **PLACE)
    small = replace_scale(sae, 1e-6)
    expected = feature_effects(models["ours"], IDS, small, list(range(24)), **PLACE)
    # The features write a millionth of what they did, and the effect of so small a change is its first-order effect.
    np.testing.assert_allclose(found.atp, expected.exact * 1e6, rtol=1e-3, atol=1e-4)


def replace_scale(sae: SparseAutoencoder, scale: float) -> SparseAutoencoder:
    return SparseAutoencoder("relu", sae.W_enc, sae.b_enc, sae.W_dec * scale, sae.b_dec, trained=sae.trained)


@pytest.mark.parametrize("scope", ["per_feature", "per_token"])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_attribution_is_exact_where_the_model_is_linear_after_the_site(arch: Architecture, scope: Scope) -> None:
    options = {"site": "resid_post", "layer": 0, "mask": MASK, "metric": "logit_diff", "answers": ANSWERS}
    found = feature_effects(tiny.LinearHead(), IDS, tiny.autoencoder(arch), list(range(24)), **options, scope=scope)
    assert np.abs(found.exact).max() > 0.1
    np.testing.assert_allclose(found.exact, found.atp, atol=1e-12)


@pytest.mark.parametrize("scope", ["per_feature", "per_token"])
@pytest.mark.parametrize("pass_tokens", [1, 4 * 6, 10_000])
def test_the_size_of_a_pass_changes_nothing(models: dict[str, nn.Module], pass_tokens: int, scope: Scope) -> None:
    sae = tiny.autoencoder("topk")
    options = PLACE | {"scope": scope}
    whole = feature_effects(models["gpt2"], IDS, sae, FEATURES, **options)
    parts = feature_effects(models["gpt2"], IDS, sae, FEATURES, **options, pass_tokens=pass_tokens)
    np.testing.assert_allclose(parts.exact, whole.exact, atol=1e-10)
    np.testing.assert_allclose(parts.exact_abs, whole.exact_abs, atol=1e-10)


def test_normalised_inputs(models: dict[str, nn.Module]) -> None:
    facts = TrainingFacts(apply_b_dec_to_input=True, normalization="layer_norm")
    sae = tiny.autoencoder("relu", trained=facts)
    found = feature_effects(models["gpt2"], IDS, sae, FEATURES, **PLACE)
    expected = np.stack([one_at_a_time(models["gpt2"], sae, feature, "ce_sum") for feature in FEATURES])
    np.testing.assert_allclose(found.exact, expected, atol=1e-10)


def test_a_feature_that_is_off_costs_no_pass_and_has_no_effect(models: dict[str, nn.Module]) -> None:
    model, passes = models["gpt2"], []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    found = feature_effects(model, IDS, tiny.autoencoder("relu", shift=-1e6), FEATURES, **PLACE)
    handle.remove()
    assert not found.exact.any()
    assert not found.atp.any()
    assert len(passes) == 2  # the unmodified model, and the one with gradients


def test_batches_join_by_sequence(models: dict[str, nn.Module]) -> None:
    sae = tiny.autoencoder("relu")
    whole = feature_effects(models["gpt2"], IDS, sae, FEATURES, **PLACE)
    parts = [
        feature_effects(models["gpt2"], IDS[rows], sae, FEATURES, **PLACE | {"mask": MASK[rows]})
        for rows in (slice(0, 1), slice(1, 3))
    ]
    joined = FeatureEffects.joined(parts)
    np.testing.assert_allclose(joined.exact, whole.exact, atol=1e-10)
    np.testing.assert_allclose(joined.atp, whole.atp, atol=1e-10)
    np.testing.assert_allclose(joined.effect_size, np.abs(whole.exact).sum(axis=1) / int(MASK.sum()), atol=1e-10)


def test_graddrop_effects_are_those_of_scores(models: dict[str, nn.Module]) -> None:
    from circuit_artifacts.compute.causality.capture import site_values

    sae = tiny.autoencoder("relu")
    found = feature_effects(models["gpt2"], IDS, sae, FEATURES, **PLACE, atp_variant="graddrop")
    values = site_values(models["gpt2"], IDS, site="resid_post", layer=1, atp_variant="graddrop")
    (scores,) = score_features([(values, MASK)], [sae])
    np.testing.assert_allclose(found.atp.sum(axis=1) / int(MASK.sum()), scores.scores[FEATURES])


def test_noise_of_a_patch_that_changes_nothing(models: dict[str, nn.Module]) -> None:
    model = tiny.build("gpt2").float()
    exact = identity_noise(models["gpt2"], IDS, tiny.autoencoder("relu"), **PLACE)
    single = identity_noise(model, IDS, tiny.autoencoder("relu").float(), **PLACE)
    half = identity_noise(model.bfloat16(), IDS, tiny.autoencoder("relu").float(), **PLACE)
    assert exact.shape == (3,)
    assert exact.max() < 1e-10 < single.max() < 1e-2
    assert half.max() > 10 * single.max()


def test_what_cannot_be_ablated_is_refused(models: dict[str, nn.Module]) -> None:
    sae = tiny.autoencoder("relu")
    with pytest.raises(UnknownNameError, match="per_feature, per_token"):
        feature_effects(models["gpt2"], IDS, sae, [1], **PLACE, scope="all")
    with pytest.raises(UnknownNameError, match="no such feature"):
        feature_effects(models["gpt2"], IDS, sae, [24], **PLACE)
    with pytest.raises(SchemaError, match="listed twice"):
        feature_effects(models["gpt2"], IDS, sae, [1, 1], **PLACE)


def test_joined_effects_keep_every_column() -> None:
    one = FeatureEffects(np.array([4, 2]), np.ones((2, 1)), np.ones((2, 1)) * 2, np.ones((2, 1)) * 3, np.array([5]))
    both = FeatureEffects.joined([one, replace(one, tokens=np.array([7]))])
    assert both.features.tolist() == [4, 2]
    assert both.tokens.tolist() == [5, 7]
    assert both.exact_abs.shape == (2, 2)
