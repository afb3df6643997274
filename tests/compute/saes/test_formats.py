"""Every published format gives the weights it holds, and encodes as sae-locality spec 6 says, in both modes."""

import logging
import math
from pathlib import Path

import pytest
import torch
from sae_fixture import (
    LAYOUTS,
    D,
    S,
    X,
    linear,
    parts,
    write_config,
    write_npz,
    write_sae,
    write_safetensors,
    write_torch,
)
from torch import Tensor

from circuit_artifacts.compute.saes import SparseAutoencoder, load_sae

P = parts()
FOUR = {name: P[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
LLAMA_SCALE = math.sqrt(D) / 11.5


def top(pre: Tensor, k: int = 3) -> Tensor:
    values, places = pre.topk(k)
    return torch.zeros_like(pre).scatter(-1, places, values.relu())


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.std(-1, keepdim=True) + 1e-5)


def pre(x: Tensor) -> Tensor:
    return x @ P["W_enc"] + P["b_enc"]


def llama(x: Tensor) -> Tensor:
    rounded = {name: tensor.to(torch.bfloat16).float() for name, tensor in P.items()}
    values = (x * LLAMA_SCALE) @ rounded["W_enc"] + rounded["b_enc"]
    return values * (values > 0.25 * LLAMA_SCALE)


JUMP = pre(X) * (pre(X) > P["threshold"])
EXPECTED = {
    "dictionary_learning": (pre(X).relu(), pre(X - P["b_dec"]).relu()),
    "saelens": (top(pre(X)), top(pre(layer_norm(X) - P["b_dec"]))),
    "gemma_scope": (JUMP, JUMP),
    "sparsify": (top(pre(X)), top(pre(X - P["b_dec"]).relu())),
    "llama_scope": (llama(X), llama(X)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_in_both_modes(layout: str, tmp_path: Path) -> None:
    sae = load_sae(write_sae(layout, tmp_path))
    compat, faithful = EXPECTED[layout]
    torch.testing.assert_close(sae.encode(X), compat)
    torch.testing.assert_close(sae.encode(X, mode="faithful"), faithful)
    assert not sae.training
    assert {parameter.dtype for parameter in sae.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in sae.parameters())


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens", "gemma_scope", "sparsify"])
def test_the_weights_are_those_of_the_file(layout: str, tmp_path: Path) -> None:
    sae = load_sae(write_sae(layout, tmp_path))
    for name, tensor in FOUR.items():
        assert torch.equal(sae.get_parameter(name), tensor)
    f = sae.encode(X)
    torch.testing.assert_close(sae.decode(f), f @ P["W_dec"] + P["b_dec"])


@pytest.mark.parametrize(
    ("layout", "arch", "k", "subtracts", "hook_point", "layer", "source"),
    [
        ("dictionary_learning", "relu", None, True, "resid_out_layer3", 3, f"resid_out_layer3/10_{S}/ae.pt"),
        ("saelens", "topk", 3, True, "blocks.7.hook_resid_post", 7, "blocks.7.hook_resid_post/sae_weights.safetensors"),
        ("gemma_scope", "jumprelu", None, False, "layer_12", 12, "layer_12/width_16k/average_l0_82/params.npz"),
        ("sparsify", "topk", 3, True, "layers.5", 5, "layers.5/sae.safetensors"),
        (
            "llama_scope", "jumprelu", None, False, "blocks.15.hook_resid_post", 15,
            "Llama3_1-8B-Base-L15R-8x/checkpoints/final.safetensors",
        ),
    ],
)  # fmt: skip
def test_the_description_says_what_the_files_say(
    layout: str, arch: str, k: int, subtracts: bool, hook_point: str, layer: int, source: str, tmp_path: Path
) -> None:
    description = load_sae(write_sae(layout, tmp_path)).description
    assert (description.architecture, description.d_in, description.d_sae, description.k) == (arch, D, S, k)
    assert description.trained.apply_b_dec_to_input is subtracts
    assert description.trained.assumed == ()
    origin = description.origin
    assert (origin.format, origin.hook_point, origin.layer) == (layout, hook_point, layer)
    assert origin.dtype == ("bfloat16" if layout == "llama_scope" else "float32")
    # Nothing of this machine's folders.
    assert origin.source == source


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_file_itself_may_be_named(layout: str, tmp_path: Path) -> None:
    folder = write_sae(layout, tmp_path)
    for file in folder.rglob("*.*"):
        if file.is_file():
            assert torch.equal(load_sae(str(file)).encode(X), load_sae(folder).encode(X))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list mapped files")
def test_float32_files_are_mapped_and_not_copied(tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    wide = torch.zeros(1 << 17, 64)
    tensors = {
        "encoder.weight": wide,
        "encoder.bias": torch.zeros(1 << 17),
        "W_dec": wide + 1,
        "b_dec": torch.zeros(64),
    }
    write_safetensors(folder / "sae.safetensors", tensors)
    write_config(folder / "cfg.json", d_in=64, num_latents=1 << 17, k=3)
    sae = load_sae(folder)
    mapped = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if "layers.5" in line
    ]
    for name in ("W_enc", "W_dec"):
        address = sae.get_parameter(name).data_ptr()
        assert any(int(start, 16) <= address < int(end, 16) for start, end in mapped)


# dictionary_learning


@pytest.mark.parametrize("legacy", [False, True])
def test_dictionaries_in_both_forms_of_torch_files(legacy: bool, tmp_path: Path) -> None:
    tensors = linear(P) | {"bias": P["b_dec"]}
    sae = load_sae(write_torch(tmp_path / "ae.pt", tensors, _use_new_zipfile_serialization=not legacy))
    torch.testing.assert_close(sae.encode(X, "faithful"), pre(X - P["b_dec"]).relu())
    torch.testing.assert_close(sae(X, "faithful"), sae.encode(X, "faithful") @ P["W_dec"] + P["b_dec"])
    assert (sae.origin.layer, sae.origin.hook_point) == (None, None)


def test_dictionaries_in_safetensors(tmp_path: Path) -> None:
    sae = load_sae(write_safetensors(tmp_path / "ae.safetensors", linear(P) | {"bias": P["b_dec"]}))
    assert (sae.arch, sae.origin.format) == ("relu", "dictionary_learning")
    torch.testing.assert_close(sae.encode(X, "faithful"), pre(X - P["b_dec"]).relu())


def test_dictionaries_of_the_april_update_subtract_nothing(tmp_path: Path) -> None:
    sae = load_sae(write_torch(tmp_path / "ae.pt", linear(P) | {"decoder.bias": P["b_dec"]}))
    assert torch.equal(sae.encode(X, "faithful"), sae.encode(X))
    torch.testing.assert_close(sae.decode(sae.encode(X)), pre(X).relu() @ P["W_dec"] + P["b_dec"])


def test_gated_dictionaries(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in linear(P).items() if name != "encoder.bias"}
    tensors |= {"decoder_bias": P["b_dec"], "gate_bias": P["b_gate"], "r_mag": P["r_mag"], "mag_bias": P["b_mag"]}
    sae = load_sae(write_torch(tmp_path / "ae.pt", tensors))
    product = (X - P["b_dec"]) @ P["W_enc"]
    expected = (product * P["r_mag"].exp() + P["b_mag"]).relu() * (product + P["b_gate"] > 0)
    torch.testing.assert_close(sae.encode(X, "faithful"), expected)


def test_jumprelu_dictionaries(tmp_path: Path) -> None:
    sae = load_sae(write_torch(tmp_path / "ae.pt", FOUR | {"threshold": P["threshold"]}))
    torch.testing.assert_close(sae.encode(X, "faithful"), JUMP)
    assert sae.trained.assumed == ("apply_b_dec_to_input",)


def test_top_k_dictionaries(tmp_path: Path) -> None:
    tensors = linear(P) | {"b_dec": P["b_dec"], "k": torch.tensor(3, dtype=torch.int), "threshold": torch.tensor(-1.0)}
    write_config(tmp_path / "config.json", trainer={"dict_class": "AutoEncoderTopK", "layer": 4, "lm_name": "gpt2"})
    sae = load_sae(write_torch(tmp_path / "ae.pt", tensors))
    torch.testing.assert_close(sae.encode(X, "faithful"), top(pre(X - P["b_dec"])))
    assert (sae.k, sae.origin.layer, sae.origin.model, sae.origin.dtype) == (3, 4, "gpt2", "float32")


# SAELens


def saelens(folder: Path, tensors: dict[str, Tensor] = FOUR, **config: object) -> SparseAutoencoder:
    write_config(folder / "cfg.json", **{"d_in": D, "d_sae": S} | config)
    return load_sae(write_safetensors(folder / "sae_weights.safetensors", tensors))


def test_saelens_before_6_subtracted_the_bias_unless_told_otherwise(tmp_path: Path) -> None:
    sae = saelens(tmp_path, activation_fn_str="relu", hook_point="blocks.2.hook_resid_pre")
    torch.testing.assert_close(sae.encode(X, "faithful"), pre(X - P["b_dec"]).relu())
    assert sae.trained.assumed == ("apply_b_dec_to_input", "normalization")
    assert (sae.origin.hook_point, sae.origin.layer) == ("blocks.2.hook_resid_pre", 2)
    told = saelens(tmp_path, apply_b_dec_to_input=False, normalize_activations="none")
    torch.testing.assert_close(told.encode(X, "faithful"), pre(X).relu())
    assert told.trained.assumed == ()


def test_saelens_since_6(tmp_path: Path) -> None:
    sae = saelens(
        tmp_path,
        architecture="topk",
        k=3,
        rescale_acts_by_decoder_norm=True,
        apply_b_dec_to_input=True,
        normalize_activations="none",
        metadata={"hook_name": "blocks.9.hook_mlp_out", "model_name": "gemma", "sae_lens_version": "6.18.0"},
    )
    norms = P["W_dec"].norm(dim=-1)
    torch.testing.assert_close(sae.encode(X, "faithful"), top(pre(X - P["b_dec"]) * norms))
    assert (sae.origin.hook_point, sae.origin.layer, sae.origin.model) == ("blocks.9.hook_mlp_out", 9, "gemma")


@pytest.mark.parametrize("name", ["threshold", "log_threshold"])
def test_saelens_jumprelu(name: str, tmp_path: Path) -> None:
    threshold = P["threshold"].log() if name == "log_threshold" else P["threshold"]
    sae = saelens(tmp_path, FOUR | {name: threshold}, architecture="jumprelu", apply_b_dec_to_input=False)
    torch.testing.assert_close(sae.encode(X), JUMP)
    torch.testing.assert_close(sae.encode(X, "faithful"), JUMP)


def test_saelens_gated(tmp_path: Path) -> None:
    tensors = {name: P[name] for name in ("W_enc", "W_dec", "b_dec", "b_gate", "r_mag", "b_mag")}
    sae = saelens(tmp_path, tensors, architecture="gated", apply_b_dec_to_input=False)
    product = X @ P["W_enc"]
    expected = (product * P["r_mag"].exp() + P["b_mag"]).relu() * (product + P["b_gate"] > 0)
    torch.testing.assert_close(sae.encode(X, "faithful"), expected)


def test_saelens_with_one_factor(tmp_path: Path) -> None:
    config = {"normalize_activations": True, "apply_b_dec_to_input": True}
    assert saelens(tmp_path, **config).trained.normalization == "expected_average_only_in"
    sae = load_sae(tmp_path, activation_scale=0.5)
    torch.testing.assert_close(sae.encode(X, "faithful"), pre(X / 2 - P["b_dec"]).relu())
    assert sae.trained.activation_scale == 0.5


def test_a_scaling_factor_of_ones_is_nothing(tmp_path: Path) -> None:
    sae = saelens(tmp_path, FOUR | {"scaling_factor": torch.ones(S)})
    torch.testing.assert_close(sae.encode(X), pre(X).relu())


# Gemma Scope


def test_gemma_scope_in_lower_case(tmp_path: Path) -> None:
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    tensors = {names.get(name, name): tensor for name, tensor in (FOUR | {"threshold": P["threshold"]}).items()}
    torch.testing.assert_close(load_sae(write_npz(tmp_path / "params.npz", tensors)).encode(X), JUMP)


def test_gemma_scope_negative_thresholds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    threshold = -P["threshold"]
    sae = load_sae(write_npz(tmp_path / "params.npz", FOUR | {"threshold": threshold}))
    torch.testing.assert_close(sae.encode(X), pre(X) * (pre(X) > threshold))
    torch.testing.assert_close(sae.encode(X, "faithful"), pre(X).relu())
    assert f"{S} negative thresholds let negative values through" in caplog.text


def test_gemma_scope_of_embeddings_take_scaled_embeddings(tmp_path: Path) -> None:
    file = tmp_path / "embedding" / "width_4k" / "average_l0_6" / "params.npz"
    sae = load_sae(write_npz(file, FOUR | {"threshold": P["threshold"]}))
    torch.testing.assert_close(sae.encode(X * math.sqrt(D)), JUMP)
    torch.testing.assert_close(sae.decode(JUMP), (JUMP @ P["W_dec"] + P["b_dec"]) * math.sqrt(D))
    assert (sae.origin.hook_point, sae.origin.layer) == ("embedding", None)
    assert sae.origin.folded_scale == pytest.approx(1 / math.sqrt(D))


# sparsify and Llama Scope


def test_sparsify_transcoders_do_not_subtract_the_bias(tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    write_config(folder / "cfg.json", d_in=D, num_latents=S, k=3, transcode=True)
    sae = load_sae(folder)
    assert torch.equal(sae.encode(X, "faithful"), sae.encode(X))


def test_sparsify_width_from_the_expansion_factor(tmp_path: Path) -> None:
    folder = tmp_path / "layers.0.mlp"
    p = {"encoder.weight": torch.ones(12, 6), "encoder.bias": torch.ones(12), "W_dec": torch.ones(12, 6), "b_dec": X[0]}
    write_safetensors(folder / "sae.safetensors", p)
    write_config(folder / "cfg.json", d_in=6, expansion_factor=2, num_latents=0, k=3)
    origin = load_sae(folder).origin
    assert (origin.hook_point, origin.layer) == ("layers.0.mlp", 0)


def test_llama_scope_folds_the_scale_of_inputs(tmp_path: Path) -> None:
    sae = load_sae(write_sae("llama_scope", tmp_path))
    rounded = {name: tensor.to(torch.bfloat16).float() for name, tensor in P.items()}
    torch.testing.assert_close(sae.W_enc, rounded["W_enc"] * LLAMA_SCALE, check_stride=False)
    torch.testing.assert_close(sae.threshold, torch.full((S,), 0.25 * LLAMA_SCALE))
    f = sae.encode(X)
    torch.testing.assert_close(sae.decode(f, "faithful"), (f @ rounded["W_dec"] + rounded["b_dec"]) / LLAMA_SCALE)
    assert sae.origin.folded_scale == LLAMA_SCALE


# all


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_other_dtypes_are_cast_and_noted(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    tensors = {"encoder.weight": P["W_enc"].T, "encoder.bias": P["b_enc"], "W_dec": P["W_dec"], "b_dec": P["b_dec"]}
    write_safetensors(folder / "sae.safetensors", {name: tensor.to(dtype) for name, tensor in tensors.items()})
    sae = load_sae(folder)
    assert sae.origin.dtype == str(dtype).removeprefix("torch.")
    assert torch.equal(sae.W_dec, P["W_dec"].to(dtype).float())


def test_the_dtype_asked_for(tmp_path: Path) -> None:
    sae = load_sae(write_sae("gemma_scope", tmp_path), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in sae.parameters()} == {torch.bfloat16}
    assert sae.encode(X).dtype == torch.bfloat16
    assert sae.origin.dtype == "float32"


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("dictionary_learning", "b_dec is not subtracted"),
        (
            "saelens",
            "inputs are fed raw, not normalised by layer_norm, so that the set of active features is",
        ),
        ("sparsify", "b_dec is not subtracted"),
        ("gemma_scope", None),
        ("llama_scope", None),
    ],
)
def test_a_warning_says_where_compat_departs_from_training(
    layout: str, words: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_sae(write_sae(layout, tmp_path))
    assert len(caplog.records) == (words is not None)
    assert (words or "") in caplog.text
