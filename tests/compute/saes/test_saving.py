"""What is saved reads back the same, in the layout of SAELens, with its provenance and the same bytes each time."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from sae_fixture import LAYOUTS, D, S, X, parts, write_sae
from safetensors import safe_open

from circuit_artifacts import provenance
from circuit_artifacts.compute.saes import Gate, SparseAutoencoder, TrainingFacts, load_sae, save_sae
from circuit_artifacts.provenance import Provenance

RECORD = Provenance(mirror="sae-locality-mini", step="train saes", parameters={"seed": 0})
P = parts()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_format_comes_back_the_same(layout: str, tmp_path: Path) -> None:
    sae = load_sae(write_sae(layout, tmp_path / "published"))
    again = load_sae(save_sae(sae, tmp_path / "saved", record=RECORD))
    assert again.state_dict().keys() == sae.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in sae.state_dict().items())
    for mode in ("compat", "faithful"):
        assert torch.equal(again.encode(X, mode), sae.encode(X, mode))
        torch.testing.assert_close(again(X, mode), sae(X, mode))
    assert dataclasses.replace(again.description, origin=None) == dataclasses.replace(sae.description, origin=None)
    same = ("model", "hook_point", "layer", "folded_scale")
    assert [getattr(again.origin, name) for name in same] == [getattr(sae.origin, name) for name in same]
    assert (again.origin.format, again.origin.source) == ("saelens", "saved/sae_weights.safetensors")


@pytest.mark.parametrize(
    "trained",
    [
        TrainingFacts(apply_b_dec_to_input=True, normalization="expected_average_only_in", activation_scale=0.1),
        TrainingFacts(apply_b_dec_to_input=False, normalization="constant_norm_rescale", assumed=("normalization",)),
        None,
    ],
)
def test_facts_come_back(trained: TrainingFacts | None, tmp_path: Path) -> None:
    gate = Gate(P["b_gate"], P["r_mag"], P["b_mag"])
    sae = SparseAutoencoder("gated", P["W_enc"], None, P["W_dec"], P["b_dec"], gate=gate, trained=trained)
    again = load_sae(save_sae(sae, tmp_path, record=RECORD))
    assert again.trained == sae.trained
    assert torch.equal(again.encode(X, "faithful"), sae.encode(X, "faithful"))


def test_the_layout_is_that_of_saelens(tmp_path: Path) -> None:
    sae = SparseAutoencoder("jumprelu", P["W_enc"], P["b_enc"], P["W_dec"], P["b_dec"], P["threshold"])
    save_sae(sae, tmp_path, record=RECORD)
    config = json.loads((tmp_path / "cfg.json").read_text())
    named = {"architecture": "jumprelu", "d_in": D, "d_sae": S, "dtype": "float32", "apply_b_dec_to_input": False}
    assert named.items() <= config.items()
    with safe_open(tmp_path / "sae_weights.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
        assert provenance.KEY in file.metadata()
    assert shapes == {"W_enc": (D, S), "b_enc": (S,), "W_dec": (S, D), "b_dec": (D,), "threshold": (S,)}


def test_equal_autoencoders_give_equal_bytes_and_carry_their_record(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_sae(load_sae(write_sae("sparsify", tmp_path / "published")), tmp_path / name, record=RECORD)
    for file in ("cfg.json", "sae_weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert provenance.read(tmp_path / "a" / file).step == "train saes"
    assert str(tmp_path) not in (tmp_path / "a" / "cfg.json").read_text()
