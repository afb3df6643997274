"""Every way in which an autoencoder's files can be wrong gets its own, located words; nothing is guessed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_fixture import LAYOUTS, D, S, linear, parts, write_config, write_npz, write_sae, write_safetensors, write_torch
from torch import Tensor

from circuit_artifacts.compute.saes import load_sae
from circuit_artifacts.compute.saes.stored import read_tensors
from circuit_artifacts.errors import (
    CircuitArtifactsError,
    FormatError,
    MissingArtifactError,
    ModelError,
    UnsafeContentError,
)

P = parts()


WRITERS = {"torch": write_torch, "npz": write_npz, "safetensors": write_safetensors}


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """The one file of weights in a folder, after a change to its tensors."""
    (file,) = (path for path in folder.rglob("*") if path.suffix in {".pt", ".npz", ".safetensors"})
    container, mapped = read_tensors(file)
    tensors = {name: tensor.clone() for name, tensor in mapped.items()}
    change(tensors)
    WRITERS[container](file, tensors)
    return file


def rewritten_npz(folder: Path, **arrays: np.ndarray) -> Path:
    """The same for Gemma Scope, with arrays that torch does not have."""
    tensors = {name: P[name].numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    np.savez(folder / "params.npz", **tensors | arrays)
    return folder / "params.npz"


MATRICES = {
    "dictionary_learning": "decoder.weight", "saelens": "W_dec", "gemma_scope": "W_dec", "sparsify": "W_dec",
    "llama_scope": "decoder.weight",
}  # fmt: skip


@pytest.mark.parametrize(("layout", "name"), MATRICES.items())
def test_a_transposed_matrix(layout: str, name: str, tmp_path: Path) -> None:
    file = rewritten(write_sae(layout, tmp_path), lambda t: t.update({name: t[name].T}))
    with pytest.raises(ModelError, match=f"{name}: the matrix is transposed") as caught:
        load_sae(file.parent if file.parent.name != "checkpoints" else file)
    assert caught.value.file == str(file)


@pytest.mark.parametrize(("layout", "name"), MATRICES.items())
def test_a_width_of_its_own(layout: str, name: str, tmp_path: Path) -> None:
    file = rewritten(write_sae(layout, tmp_path), lambda t: t.update({name: t[name][:-1]}))
    with pytest.raises(ModelError, match=rf"{name}: the widths of the tensors disagree \(found \("):
        load_sae(file)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_tensor_and_what_there_is_instead(layout: str, tmp_path: Path) -> None:
    bias = "b_enc" if layout in {"saelens", "gemma_scope"} else "encoder.bias"
    file = rewritten(write_sae(layout, tmp_path), lambda t: t.pop(bias))
    with pytest.raises(
        ModelError, match=rf"tensors are missing: {bias} \(found .*{MATRICES[layout]}.*, expected .*{bias}"
    ):
        load_sae(file)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_too_many(layout: str, tmp_path: Path) -> None:
    file = rewritten(write_sae(layout, tmp_path), lambda t: t.update(W_skip=torch.zeros(D, D)))
    with pytest.raises(ModelError, match="not part of the format, and may change what it computes: W_skip"):
        load_sae(file)


@pytest.mark.parametrize("threshold", [torch.tensor(0.5), torch.full((S,), 0.5)])
def test_the_published_dictionaries_have_no_threshold(threshold: Tensor, tmp_path: Path) -> None:
    file = rewritten(write_sae("dictionary_learning", tmp_path), lambda t: t.update(threshold=threshold))
    with pytest.raises(ModelError, match="not part of the format, and may change what it computes: threshold"):
        load_sae(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("layout", "name"), MATRICES.items())
def test_values_that_are_not_finite(layout: str, name: str, value: float, tmp_path: Path) -> None:
    file = rewritten(write_sae(layout, tmp_path), lambda t: t[name].__setitem__((1, 1), value))
    with pytest.raises(ModelError, match=f"{name}: the tensor holds values that are not finite in torch.float32"):
        load_sae(file)


def test_values_that_the_dtype_asked_for_cannot_hold(tmp_path: Path) -> None:
    file = rewritten(write_sae("gemma_scope", tmp_path), lambda t: t["W_dec"].__setitem__((1, 1), 1e6))
    assert load_sae(file).W_dec[1, 1] == 1e6
    with pytest.raises(ModelError, match="not finite in torch"):
        load_sae(file, dtype=torch.float16)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    file = rewritten(write_sae("sparsify", tmp_path), lambda t: t.update(b_dec=t["b_dec"].long()))
    with pytest.raises(ModelError, match=r"b_dec: the tensor holds no floating-point numbers \(found torch.int64"):
        load_sae(file)


@pytest.mark.parametrize(
    ("layout", "config", "message"),
    [
        (
            "saelens",
            {"d_in": D + 1},
            r"d_in: .* have different widths \(found 6, expected 7",
        ),
        ("saelens", {"d_sae": 2 * S}, "d_sae: the configuration and the tensors"),
        ("saelens", {"activation_fn_kwargs": {}}, r"k or activation_fn_kwargs\.k: a top-k autoencoder without its k"),
        ("saelens", {"activation_fn_kwargs": {"k": S + 1}}, r"k: k is not between 1 .*expected 1 to 20"),
        ("saelens", {"activation_fn_kwargs": {"k": 3.0}}, r"activation_fn_kwargs\.k: the configuration cannot be used"),
        ("saelens", {"activation_fn_str": "tanh-relu"}, r"activation_fn: .*found tanh-relu, expected relu, topk"),
        ("saelens", {"activation_fn_str": "relu", "architecture": "transcoder"}, "architecture: .*found transcoder"),
        (
            "saelens",
            {"normalize_activations": "batch_norm"},
            "normalize_activations.*: the configuration cannot be used",
        ),
        (
            "saelens",
            {"d_in": "6"},
            r"d_in: .*cannot be used \(found '6', expected Input should be a",
        ),
        (
            "sparsify",
            {"activation": "groupmax"},
            "activation: .*the greatest feature of each group.*sparsify library",
        ),
        ("sparsify", {"activation": "gelu"}, "activation: the activation is unknown"),
        ("sparsify", {"signed": True}, "signed: the configuration cannot be used"),
        ("sparsify", {"skip_connection": True}, "skip_connection: the configuration cannot be used"),
        ("sparsify", {"num_latents": S - 1}, "d_sae: the configuration and the tensors have different widths"),
        ("sparsify", {"k": None}, "k: the configuration cannot be used"),
        ("llama_scope", {"act_fn": "topk"}, r"act_fn: the configuration cannot be used \(found 'topk'"),
        ("llama_scope", {"apply_decoder_bias_to_pre_encoder": True}, "apply_decoder_bias_to_pre_encoder: "),
        ("llama_scope", {"dataset_average_activation_norm": {"in": 0.0}}, r"dataset_average_activation_norm\.in: "),
        ("llama_scope", {"hook_point_out": "blocks.15.hook_mlp_out"}, "a transcoder, not an autoencoder"),
        ("llama_scope", {"d_model": D + 1}, "d_in: the configuration and the tensors have different widths"),
        ("dictionary_learning", {"trainer": {"dict_size": S + 1}}, "d_sae: the configuration and the tensors"),
    ],
)
def test_a_configuration_that_does_not_fit(layout: str, config: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_sae(layout, tmp_path)
    file = next(folder.glob("*.json"), folder / "config.json")
    values = json.loads(file.read_text()) if file.exists() else {}
    write_config(file, **values | config)
    with pytest.raises((ModelError, FormatError), match=message) as caught:
        load_sae(folder)
    assert str(folder) in caught.value.file


@pytest.mark.parametrize("layout", ["saelens", "sparsify", "llama_scope"])
def test_a_missing_configuration(layout: str, tmp_path: Path) -> None:
    folder = write_sae(layout, tmp_path)
    (file,) = folder.glob("*.json")
    file.unlink()
    with pytest.raises(MissingArtifactError, match="the autoencoder's configuration is missing") as caught:
        load_sae(folder)
    assert caught.value.file == str(file)


@pytest.mark.parametrize("text", ["{", "[1]", "\x80", "[" * 100_000, '{"d_in": NaN}'])
def test_a_configuration_that_is_no_json_object(text: str, tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    (folder / "cfg.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=r"cfg\.json.*configuration"):
        load_sae(folder)


def test_saelens_scaling_by_fine_tuning(tmp_path: Path) -> None:
    file = rewritten(write_sae("saelens", tmp_path), lambda t: t.update(scaling_factor=torch.full((S,), 1.5)))
    with pytest.raises(ModelError, match="scaling_factor: decoding would need the factors"):
        load_sae(file)


def test_the_folder_of_a_dictionary_states_its_size(tmp_path: Path) -> None:
    folder = write_sae("dictionary_learning", tmp_path)
    renamed = folder.rename(folder.with_name("10_32768"))
    with pytest.raises(ModelError, match="d_sae: the configuration and the tensors have different widths"):
        load_sae(renamed)


def test_batch_top_k_is_not_taken_for_top_k(tmp_path: Path) -> None:
    tensors = linear(P) | {"b_dec": P["b_dec"], "k": torch.tensor(3), "threshold": torch.tensor(0.5)}
    folder = write_torch(tmp_path / "ae.pt", tensors)
    with pytest.raises(ModelError, match=r"k: .*found no dict_class in a config.json, expected AutoEncoderTopK"):
        load_sae(folder)
    write_config(folder / "config.json", trainer={"dict_class": "BatchTopKSAE"})
    with pytest.raises(ModelError, match="found BatchTopKSAE"):
        load_sae(folder)


def test_a_scale_for_an_autoencoder_without_use_for_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sae\.safetensors:activation_scale: .*no use for it"):
        load_sae(write_sae("sparsify", tmp_path), activation_scale=2.0)


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch touched",)


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_torch(tmp_path / "ae.pt", {"encoder.weight": Harmful()})
    with pytest.raises(UnsafeContentError, match="system"):
        load_sae(folder)
    np.savez(tmp_path / "params.npz", W_enc=np.array([Harmful()], dtype=object))
    with pytest.raises(UnsafeContentError, match="W_enc"):
        load_sae(tmp_path / "params.npz")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not a state dict .found list"),
        ({"encoder.weight": [1]}, "'encoder.weight': .*found list"),
        ({1: P["b_dec"]}, "1: "),
    ],
)
def test_other_things_in_torch_files(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        load_sae(write_torch(tmp_path / "ae.pt", content))


def test_other_tensors(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path / "sae.safetensors", {"lm_head.weight": P["W_enc"]})
    with pytest.raises(FormatError, match=r"found lm_head.weight, expected w_enc \(saelens\); encoder.weight"):
        load_sae(folder)


def test_strings_in_an_npz(tmp_path: Path) -> None:
    file = rewritten_npz(tmp_path, b_dec=np.array(["a"] * D))
    with pytest.raises(FormatError, match="b_dec: the array holds no numbers"):
        load_sae(file)


def test_big_endian_arrays_are_read(tmp_path: Path) -> None:
    file = rewritten_npz(tmp_path, b_dec=P["b_dec"].numpy().astype(">f4"))
    assert torch.equal(load_sae(file).b_dec, P["b_dec"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(layout: str, fraction: float, tmp_path: Path) -> None:
    file = rewritten(write_sae(layout, tmp_path), lambda _: None)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(CircuitArtifactsError, match=r"ae\.pt|params\.npz|safetensors"):
        load_sae(file)
