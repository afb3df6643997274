"""Dictionaries: every form that is read, every one that is refused, and what their numbers mean."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_fixture import D_IN, D_SAE, dictionary_path, tensors, write_dictionary
from safetensors.torch import save_file
from torch import Tensor

from circuit_artifacts.causal_dimensionality import load_sae
from circuit_artifacts.causal_dimensionality.dictionaries import (
    Dictionary,
    features,
    inventory,
    normalised,
    open_dictionary,
    sae_class,
)
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import (
    FormatError,
    MissingArtifactError,
    SchemaError,
    UnknownNameError,
    UnsafeContentError,
)

SITE = "resid_out_layer3"
STATE = tensors(0)


def file_in(folder: Path, suffix: str = "pt") -> RepositoryFile:
    name = dictionary_path(SITE, suffix=suffix)
    return RepositoryFile(folder / name, name)


def stored(folder: Path, content: object, **options: Any) -> RepositoryFile:
    write_dictionary(folder, SITE, content, **options)
    return file_in(folder)


def reconstruction(dictionary: Dictionary, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum((x - dictionary.bias) @ dictionary.encoder.T + dictionary.encoder_bias, 0)
    return hidden @ dictionary.decoder.T + dictionary.bias


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_all_forms_hold_the_same_dictionary(tmp_path: Path, form: str) -> None:
    if form == "safetensors":
        file = file_in(tmp_path, "safetensors")
        file.path.parent.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in STATE.items()}, file.path)
    else:
        file = stored(tmp_path, STATE, _use_new_zipfile_serialization=form == "zip")
    found = open_dictionary(file)
    assert (found.d_in, found.d_sae, found.dtype, found.payload) == (D_IN, D_SAE, "float32", 4 * (D_IN + D_SAE * 17))
    for name, array in {
        "bias": found.bias,
        "encoder.weight": found.encoder,
        "encoder.bias": found.encoder_bias,
        "decoder.weight": found.decoder,
    }.items():
        np.testing.assert_array_equal(array, STATE[name].numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    found = open_dictionary(stored(tmp_path, half))
    assert found.dtype == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(found.encoder, half["encoder.weight"].float().numpy())


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in STATE.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("bias"), "of class unknown"),
        (STATE | {"threshold": torch.zeros(D_SAE)}, "of class unknown"),
        (without("bias") | {"decoder.bias": STATE["bias"]}, "of class relu_april_update"),
        (
            {"W_enc": STATE["decoder.weight"], "W_dec": STATE["encoder.weight"], "threshold": torch.ones(D_SAE)},
            "jumprelu",
        ),
        (
            STATE | {"bias": torch.zeros(D_IN + 1)},
            r"bias: a tensor has another shape \(found \(9,\), expected \(8,\)\)",
        ),
        (STATE | {"decoder.weight": STATE["encoder.weight"]}, r"decoder.weight: .*found \(32, 8\), expected \(8, 32\)"),
        (STATE | {"encoder.weight": torch.zeros(D_SAE * D_IN)}, "encoder.weight: .*expected two axes"),
        (STATE | {"encoder.bias": torch.zeros(D_SAE, dtype=torch.int64)}, "encoder.bias: .*no floating-point numbers"),
        (tensors(0, d_sae=16), "folder's name promises another number of features .found 16, expected 32"),
    ],
)
def test_what_is_no_published_dictionary_is_refused(tmp_path: Path, content: dict[str, Tensor], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        open_dictionary(stored(tmp_path, content))


def test_damaged_absent_and_dangerous_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        open_dictionary(file_in(tmp_path))
    file = stored(tmp_path, STATE)
    file.path.write_bytes(file.path.read_bytes()[:-100])
    with pytest.raises(FormatError):
        open_dictionary(file)
    with pytest.raises(UnsafeContentError):
        open_dictionary(stored(tmp_path, {"bias": Path("x")}))


@pytest.mark.parametrize("name", list(STATE))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_located(tmp_path: Path, name: str, value: float) -> None:
    content = {key: tensor.clone() for key, tensor in STATE.items()}
    content[name].view(-1)[7] = value
    file = stored(tmp_path, content)
    place = 0 if name == "encoder.weight" else 7  # the eighth number of the first row
    with pytest.raises(SchemaError, match=rf"{name}\[{place}\]: a number is not finite"):
        inventory(file)
    if name != "bias":  # which is of no feature
        with pytest.raises(SchemaError, match=rf"{name}\[{place}\]"):
            list(features(open_dictionary(file)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (STATE, "relu"),
        (("W_enc", "W_dec", "b_enc", "b_dec", "threshold"), "jumprelu"),
        (("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"), "gated"),
        (("encoder.weight", "encoder.bias", "W_dec", "b_dec"), "topk"),
        (("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"), "relu_april_update"),
        (("weight",), "unknown"),
    ],
)
def test_classes_are_told_by_their_tensors(names: Any, expected: str) -> None:
    assert sae_class(names) == expected


def test_rows_are_the_features_whatever_part_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.causal_dimensionality.dictionaries._BATCH_ROWS", 5)
    tables = list(features(open_dictionary(stored(tmp_path, STATE)), 3, 31))
    assert [len(table) for table in tables] == [5, 5, 5, 5, 5, 3]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["index"] for row in rows] == list(range(3, 31))
    for row in rows:
        encoder, decoder = STATE["encoder.weight"][row["index"]], STATE["decoder.weight"][:, row["index"]]
        np.testing.assert_array_equal(np.float32(row["encoder"]), encoder.numpy())
        np.testing.assert_array_equal(np.float32(row["decoder"]), decoder.numpy())
        assert np.float32(row["encoder_bias"]) == STATE["encoder.bias"][row["index"]].item()
        assert row["encoder_norm"] == pytest.approx(encoder.double().norm().item(), abs=1e-12)
        assert row["decoder_norm"] == pytest.approx(1, abs=1e-6)


def test_an_inventory_row_describes_the_file(tmp_path: Path) -> None:
    content = STATE | {"decoder.weight": STATE["decoder.weight"] * torch.linspace(0.5, 2, D_SAE)}
    file = stored(tmp_path, content)
    (row,) = inventory(file).to_pylist()
    assert (row["site"], row["hook"], row["layer"], row["set_id"]) == (SITE, "resid_out", 3, 10)
    assert (row["encoder_shape"], row["decoder_shape"]) == ([D_SAE, D_IN], [D_IN, D_SAE])
    assert row["bytes"] == file.path.stat().st_size
    assert row["sha256"] == hashlib.sha256(file.path.read_bytes()).hexdigest()
    norms = np.linspace(0.5, 2, D_SAE)
    found = [row[f"decoder_norm_{name}"] for name in ("min", "mean", "max")]
    np.testing.assert_allclose(found, [norms.min(), norms.mean(), norms.max()], rtol=1e-6)
    biases = STATE["encoder.bias"].double()
    found = [row[f"encoder_bias_{name}"] for name in ("min", "mean", "max")]
    np.testing.assert_allclose(found, [biases.min(), biases.mean(), biases.max()], rtol=1e-12)
    assert row["bias_norm"] == pytest.approx(STATE["bias"].double().norm().item())


def test_normalising_leaves_reconstructions_as_they_are(tmp_path: Path) -> None:
    scales = torch.linspace(0.5, 2, D_SAE)
    scales[4] = 0  # a feature without a direction
    found = open_dictionary(stored(tmp_path, STATE | {"decoder.weight": STATE["decoder.weight"] * scales}))
    again = normalised(found)
    x = np.random.default_rng(0).normal(size=(20, D_IN)).astype(np.float32)
    np.testing.assert_allclose(reconstruction(again, x), reconstruction(found, x), atol=1e-5)
    np.testing.assert_allclose(np.delete(again.decoder_norms, 4), 1, rtol=1e-6)
    np.testing.assert_array_equal(again.encoder[4], found.encoder[4])


# load_sae


def load(folder: Path, **options: Any) -> SparseAutoencoder:
    return load_sae(SITE, data_root=folder, **options)


def test_the_module_is_a_plain_relu_autoencoder(tmp_path: Path) -> None:
    # Holds down: the card's JumpReLU, whose default threshold in the library it is from is not 0.
    sae = load_sae(SITE, data_root=stored(tmp_path, STATE).path.parents[3])
    assert (sae.arch, sae.threshold) == ("relu", None)
    x = torch.randn(5, D_IN, generator=torch.Generator().manual_seed(1))
    pre = (x - STATE["bias"]) @ STATE["encoder.weight"].T + STATE["encoder.bias"]
    torch.testing.assert_close(sae.encode(x, "faithful"), torch.relu(pre))
    torch.testing.assert_close(sae(x, "faithful"), torch.relu(pre) @ STATE["decoder.weight"].T + STATE["bias"])
    assert sae.origin is not None
    assert (sae.origin.hook_point, sae.origin.layer, sae.origin.format) == (SITE, 3, "dictionary_learning")


def test_a_normalised_module_says_so(tmp_path: Path) -> None:
    stored(tmp_path, STATE | {"decoder.weight": STATE["decoder.weight"] * torch.linspace(0.5, 2, D_SAE)})
    sae, again = load(tmp_path), load(tmp_path, normalise=True)
    x = torch.randn(5, D_IN, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again(x, "faithful"), sae(x, "faithful"))
    torch.testing.assert_close(again.W_dec.norm(dim=-1), torch.ones(D_SAE))
    torch.testing.assert_close(again.encode(x, "faithful"), sae.encode(x, "faithful") * torch.linspace(0.5, 2, D_SAE))
    assert again.origin is not None
    assert "normalised" in again.origin.format
    assert dataclasses.asdict(again.description)["origin"]["format"] == again.origin.format


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda folder: load_sae("resid_out_layer6", data_root=folder),
            UnknownNameError,
            "expected embed, attn_out_layer0",
        ),
        (lambda folder: load_sae("embed", data_root=folder), MissingArtifactError, "embed"),
        (lambda folder: load(folder / "absent"), OSError, "data_root is not a folder"),
    ],
)
def test_what_is_not_there_is_named(
    tmp_path: Path, call: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    stored(tmp_path, STATE)
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_another_class_of_autoencoder_is_not_loaded_silently(tmp_path: Path) -> None:
    stored(tmp_path, without("bias") | {"decoder.bias": STATE["bias"]})
    with pytest.raises(SchemaError, match="relu_april_update"):
        load(tmp_path)
