"""Influence against the plain way: a stub for the embedding, the whole model, one backward pass per row."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import tiny_model
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.hooks import hook_point
from circuit_artifacts.compute.locality.influence import WindowInfluence, window_influence, window_influences
from circuit_artifacts.compute.models import load_model, sparsify_linear
from circuit_artifacts.compute.saes import Architecture, EncodeMode, SparseAutoencoder, TrainingFacts
from circuit_artifacts.errors import ModelError, UnknownNameError

LENGTH, VOCABULARY, N_LAYERS = 7, 50, 3


def autoencoder(arch: Architecture, width: int, *, n_features: int = 24, shift: float = 0.0) -> SparseAutoencoder:
    """Random weights; trained, it says, on layer-normalised inputs less b_dec, which faithful mode does."""
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return SparseAutoencoder(
        arch,
        weights(width, n_features),
        weights(n_features) * 0.1 + shift,
        weights(n_features, width),
        weights(width),
        threshold=weights(n_features) * 0.1 if arch == "jumprelu" else None,
        k=5 if arch == "topk" else None,
        trained=TrainingFacts(apply_b_dec_to_input=True, normalization="layer_norm"),
    )


class Stub(nn.Module):
    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, _ids: Tensor) -> Tensor:
        return self.x


def oracle(
    model: nn.Module, sae: SparseAutoencoder, ids: Tensor, *, layer: int, threshold: float, mode: EncodeMode = "compat"
) -> dict[str, Any]:
    """One window, one backward pass per active feature and per dimension, through model and autoencoder together."""
    point = hook_point(model, "embed", 0)
    parent, _, name = point.name.rpartition(".")
    x = point.module(ids[None]).detach().requires_grad_()
    outputs = []
    block = hook_point(model, "resid_post", layer).module
    handle = block.register_forward_hook(lambda _m, _i, out: outputs.append(out[0] if isinstance(out, tuple) else out))
    setattr(model.get_submodule(parent), name, Stub(x))
    try:
        model(ids[None])
    finally:
        setattr(model.get_submodule(parent), name, point.module)
        handle.remove()
    y = outputs[0][0, -1]
    f = sae.encode(y[None], mode)[0]

    def squares(value: Tensor) -> npt.NDArray[np.float32]:
        (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
        return gradient[0].square().sum(-1).numpy()

    features = [int(a) for a in (f > threshold).nonzero()[:, 0]]
    return {
        "features": features,
        "activation": f.detach()[features].numpy(),
        "J": np.array([squares(f[a]) for a in features]).reshape(-1, len(ids)),
        "R": sum(squares(value) for value in y),
    }


def bits(influence: npt.NDArray[np.float32]) -> float:
    return float(scipy.stats.entropy((influence + 1e-12) / (influence.sum() + 1e-12), base=2))


def check(found: WindowInfluence, expected: dict[str, Any]) -> None:
    """Equal but for the order of float32 sums: a few hundred terms, so 1e-4 of a vector's largest entry is far off."""
    np.testing.assert_array_equal(found.features, expected["features"])
    np.testing.assert_allclose(found.activation, expected["activation"], rtol=1e-5, atol=1e-6)
    assert found.influence.shape == expected["J"].shape
    assert found.influence.dtype == np.float32
    for ours, theirs in zip(found.influence, expected["J"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6 * theirs.max())
    np.testing.assert_allclose(found.entropy_bits, [bits(row) for row in expected["J"]], atol=1e-4)
    if found.token_influence is not None:
        np.testing.assert_allclose(found.token_influence, expected["R"], rtol=1e-4, atol=1e-6 * expected["R"].max())
        assert found.token_entropy_bits == pytest.approx(bits(expected["R"]), abs=1e-4)


def _neox() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **sizes))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=N_LAYERS, n_head=2))


def _grouped(config: Callable[..., Any], model: Callable[..., nn.Module], **extra: Any) -> nn.Module:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": N_LAYERS, "max_position_embeddings": 32}
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    return model(config(vocab_size=VOCABULARY, **heads, **sizes, **special, **extra))


def _gemma2() -> nn.Module:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    # A window shorter than the text, and logits small enough that the soft cap bends them.
    return _grouped(Gemma2Config, Gemma2ForCausalLM, head_dim=4, sliding_window=4, attn_logit_softcapping=2.0)


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _grouped(LlamaConfig, LlamaForCausalLM)


def _qwen2() -> nn.Module:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return _grouped(Qwen2Config, Qwen2ForCausalLM)


def _ours() -> nn.Module:
    with tempfile.TemporaryDirectory() as folder:
        return load_model(str(tiny_model.write_tiny_model(Path(folder) / "m", n_layer=N_LAYERS)))


FAMILIES = {"neox": _neox, "gpt2": _gpt2, "gemma2": _gemma2, "llama": _llama, "qwen2": _qwen2, "ours": _ours}


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    built = {}
    for name, build in FAMILIES.items():
        model = build()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        built[name] = model.eval()
    return built


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(0, VOCABULARY, (4, LENGTH), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("layer", [0, N_LAYERS - 1])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_one_backward_pass_per_feature(
    models: dict[str, nn.Module], ids: Tensor, family: str, arch: Architecture, layer: int
) -> None:
    model, sae = models[family], autoencoder(arch, 16)
    for threshold in (0.0, 0.5):
        expected = oracle(model, sae, ids[0], layer=layer, threshold=threshold)
        assert expected["features"]
        found = window_influence(model, sae, ids[0], layer=layer, threshold=threshold)
        check(found, expected)
        alone = window_influence(model, sae, ids[0], layer=layer, threshold=threshold, token_vector=False)
        check(alone, expected)
        assert alone.token_influence is None
        assert alone.token_entropy_bits is None


@pytest.mark.parametrize("family", ["gemma2", "ours"])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_faithful_mode_differentiates_the_normalisation_too(
    models: dict[str, nn.Module], ids: Tensor, family: str, arch: Architecture
) -> None:
    model, sae = models[family], autoencoder(arch, 16)
    expected = oracle(model, sae, ids[0], layer=1, threshold=0.0, mode="faithful")
    found = window_influence(model, sae, ids[0], layer=1, threshold=0.0, sae_encode="faithful")
    check(found, expected)
    compat = window_influence(model, sae, ids[0], layer=1, threshold=0.0)
    shared, ours, theirs = np.intersect1d(found.features, compat.features, return_indices=True)
    assert len(shared)
    assert not np.allclose(found.influence[ours], compat.influence[theirs], rtol=0.05)


@pytest.mark.parametrize("n_features", [1, 12, 64])
@pytest.mark.parametrize("pass_tokens", [1, 3 * LENGTH, 40 * LENGTH, 10_000])
@pytest.mark.parametrize("token_vector", [True, False])
def test_the_size_of_a_pass_changes_nothing(
    models: dict[str, nn.Module], ids: Tensor, n_features: int, pass_tokens: int, token_vector: bool
) -> None:
    """From one row of one window at a time to all at once; fewer and more active features than dimensions."""
    sae = autoencoder("relu", 16, n_features=n_features)
    options = {"layer": 1, "threshold": 0.0, "token_vector": token_vector}
    found = window_influences(models["llama"], sae, ids, pass_tokens=pass_tokens, **options)
    assert len(found) == len(ids)
    counts = {len(window.features) for window in found}
    assert len(counts) > 1  # windows of one pass are ragged
    assert (max(counts) > 16) == (n_features == 64)
    for window, row in zip(found, ids, strict=True):
        check(window, oracle(models["llama"], sae, row, layer=1, threshold=0.0))


@pytest.mark.parametrize("token_vector", [True, False])
@pytest.mark.parametrize("n_features", [15, 16, 17])
def test_as_many_active_features_as_dimensions(
    models: dict[str, nn.Module], ids: Tensor, n_features: int, token_vector: bool
) -> None:
    """Around the width, another matrix product takes over."""
    sae = autoencoder("relu", 16, n_features=n_features, shift=100.0)
    expected = oracle(models["qwen2"], sae, ids[0], layer=1, threshold=0.0)
    assert len(expected["features"]) == n_features
    options = {"layer": 1, "threshold": 0.0, "token_vector": token_vector}
    found = window_influence(models["qwen2"], sae, ids[0], **options)
    check(found, expected)


@pytest.mark.parametrize("token_vector", [True, False])
def test_a_window_where_nothing_is_active(models: dict[str, nn.Module], ids: Tensor, token_vector: bool) -> None:
    sae = autoencoder("relu", 16)
    expected = oracle(models["gpt2"], sae, ids[0], layer=1, threshold=1e6)
    options = {"layer": 1, "threshold": 1e6, "token_vector": token_vector}
    found = window_influence(models["gpt2"], sae, ids[0], **options)
    check(found, expected)
    assert found.influence.shape == (0, LENGTH)
    assert found.entropy_bits.shape == (0,)
    assert (found.token_influence is not None) == token_vector


def test_listed_features_are_measured_alone_and_only_if_active(models: dict[str, nn.Module], ids: Tensor) -> None:
    model, sae = models["neox"], autoencoder("relu", 16)
    options = {"layer": 2, "threshold": 0.0, "token_vector": False}
    everything = window_influences(model, sae, ids, **options)
    inactive = sorted(set(range(24)) - set(everything[1].features.tolist()))
    last, first = everything[0].features[[-1, 0]].tolist()
    found = window_influences(model, sae, ids[:3], features=[[last, first], inactive, []], **options)
    assert [window.features.tolist() for window in found] == [[last, first], [], []]
    np.testing.assert_allclose(found[0].influence, everything[0].influence[[-1, 0]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0].activation, everything[0].activation[[-1, 0]], rtol=1e-5)


def test_the_model_stops_at_the_layer(models: dict[str, nn.Module], ids: Tensor) -> None:
    model = models["llama"]
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in (("next block", model.model.layers[1]), ("head", model.lm_head))
    ]
    window_influence(model, autoencoder("relu", 16), ids[0], layer=0, threshold=0.0)
    assert ran == []
    for handle in handles:
        handle.remove()


def test_the_model_is_left_as_it_was_found(ids: Tensor) -> None:
    model = _gpt2().train()
    model.transformer.h[1].eval()
    model.transformer.wpe.weight.requires_grad_(requires_grad=False)
    before = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    sae = autoencoder("relu", 16)
    first = window_influence(model, sae, ids[0], layer=2, threshold=0.0)
    with pytest.raises(UnknownNameError, match="0 to 2"):
        window_influence(model, sae, ids[0], layer=3, threshold=0.0)
    with torch.no_grad():  # a caller's, which does not reach inside
        second = window_influence(model, sae, ids[0], layer=2, threshold=0.0)
    assert before == ([module.training for module in model.modules()], [p.requires_grad for p in model.parameters()])
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    np.testing.assert_array_equal(first.influence, second.influence)  # dropout was off, too
    check(first, oracle(model.eval(), sae, ids[0], layer=2, threshold=0.0))


def test_weights_in_compressed_rows_give_the_same(models: dict[str, nn.Module], ids: Tensor) -> None:
    model, sae = _ours(), autoencoder("relu", 16)
    expected = oracle(model, sae, ids[0], layer=2, threshold=0.0)
    assert sparsify_linear(model, max_density=1.0, min_entries=1)
    check(window_influence(model, sae, ids[0], layer=2, threshold=0.0), expected)


def test_what_cannot_be_measured_is_refused(models: dict[str, nn.Module], ids: Tensor) -> None:
    sae = autoencoder("relu", 16)
    options = {"layer": 1, "threshold": 0.0}
    with pytest.raises(ModelError, match=r"not \(found torch.bfloat16\). Load it with dtype=torch.float32"):
        window_influence(_gpt2().bfloat16(), sae, ids[0], **options)
    with pytest.raises(ModelError, match=r"longer than the model takes \(found 33 tokens, expected at most 32\)"):
        window_influence(models["gpt2"], sae, torch.zeros(33, dtype=torch.int64), **options)
    with pytest.raises(ModelError, match=r"another width .*found 8, expected 16"):
        window_influence(models["gpt2"], autoencoder("relu", 8), ids[0], **options)
    with pytest.raises(ModelError, match="threshold: with a negative threshold"):
        window_influence(models["gpt2"], sae, ids[0], layer=1, threshold=-0.1)
