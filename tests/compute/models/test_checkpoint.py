"""Every file form of a model gives the same logits, and every damage to it a named refusal."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from circuit_artifacts.compute.models import (
    CircuitConfig,
    CircuitTransformer,
    load_model,
    load_tokenizer,
    model_identity,
)
from circuit_artifacts.compute.models.checkpoint import MINI_FOLDER
from circuit_artifacts.compute.models.packing import pack, unpack
from circuit_artifacts.compute.models.sparse import SparseLinear
from circuit_artifacts.errors import (
    FormatError,
    MissingArtifactError,
    ModelError,
    SourceError,
    UnknownNameError,
    UnsafeContentError,
)

FIELDS = {
    "n_layer": 2, "d_model": 16, "n_head": 2, "d_head": 4, "d_mlp": 24, "vocab_size": 40, "block_size": 8,
    "rms_norm": True, "afrac": 0.5, "d_pos_emb": 4, "sink": True, "tied_unembed": False, "enable_bigram_table": True,
}  # fmt: skip
IDS = torch.randint(0, 40, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> CircuitTransformer:
    torch.manual_seed(4)
    model = CircuitTransformer(CircuitConfig(**FIELDS)).requires_grad_(requires_grad=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def write_hub(folder: Path, model: CircuitTransformer, *, shards: int = 1, **extra: object) -> Path:
    folder.mkdir(exist_ok=True)
    config = model.config.to_json() | {"architectures": ["X"], "auto_map": {}, "transformers_version": "4.49.0"}
    (folder / "config.json").write_text(json.dumps(config | extra))
    tensors = {f"circuit_model.{name}": value.clone() for name, value in model.state_dict().items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    index = {name: f"model-{number % shards + 1:05}-of-{shards:05}.safetensors" for number, name in enumerate(tensors)}
    for file in set(index.values()):
        save_file({name: tensors[name] for name in tensors if index[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def write_blob(folder: Path, model: CircuitTransformer) -> Path:
    """As published: an older field name, training keys, a stored causal mask, no logit bias."""
    folder.mkdir(exist_ok=True)
    config = model.config.to_json()
    config["n_mlp"] = config.pop("d_mlp")
    config |= {"pfrac": 0.01, "debug_exact_topk": True, "bigram_table_rank": None, "flash": False}
    (folder / "beeg_config.json").write_text(json.dumps(config))
    tensors = {name: value for name, value in model.state_dict().items() if name != "final_logits_bias"}
    tensors |= {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    torch.save(tensors, folder / "final_model.pt")
    return folder


def test_every_form_gives_the_same_logits(model: CircuitTransformer, tmp_path: Path) -> None:
    expected = model(IDS).logits
    for folder in (
        write_hub(tmp_path / "single", model),
        write_hub(tmp_path / "sharded", model, shards=3),
        write_blob(tmp_path / "blob", model),
    ):
        loaded = load_model(folder)
        assert torch.equal(loaded(IDS).logits, expected)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        identity = model_identity(loaded)
        assert (identity.id, identity.revision, len(identity.sha256)) == (folder.name, None, 64)


def test_identity_follows_the_weights(model: CircuitTransformer, tmp_path: Path) -> None:
    first = model_identity(load_model(write_hub(tmp_path / "a", model))).sha256
    assert model_identity(load_model(write_hub(tmp_path / "b", model))).sha256 == first
    model.transformer.wte.weight[3, 3] += 1
    assert model_identity(load_model(write_hub(tmp_path / "c", model))).sha256 != first
    with pytest.raises(ModelError, match="carries no identity"):
        model_identity(model)


def test_tied_weights_may_be_stored_once(tmp_path: Path) -> None:
    model = CircuitTransformer(CircuitConfig(**FIELDS | {"tied_unembed": True}))
    folder = write_hub(tmp_path / "tied", model)
    tensors = load_file(folder / "model.safetensors")
    del tensors["circuit_model.lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    loaded = load_model(folder)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)


def test_dtype_is_that_asked_for(model: CircuitTransformer, tmp_path: Path) -> None:
    loaded = load_model(write_hub(tmp_path / "m", model), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert loaded(IDS).logits.dtype == torch.bfloat16


def test_sparse_weights_become_compressed_rows_on_request(model: CircuitTransformer, tmp_path: Path) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("c_fc.weight"):
            parameter[:, 2:] = 0
    folder = write_hub(tmp_path / "m", model)
    # The layers are far below the size at which it pays, so the automatic choice leaves them dense.
    assert not any(isinstance(layer, SparseLinear) for layer in load_model(folder).modules())
    assert not any(isinstance(layer, SparseLinear) for layer in load_model(folder, sparse=False).modules())
    loaded = load_model(folder, sparse=True)
    assert any(isinstance(layer, SparseLinear) for layer in loaded.modules())
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("circuit_model.transformer.h.1.mlp.c_fc.bias"), r"missing transformer\.h\.1\.mlp\.c_fc\.bias"),
        (lambda t: t.update(extra=torch.ones(2)), "unexpected extra"),
        (lambda t: t.update({"circuit_model.bigram_table": torch.ones(40, 39)}), r"\(40, 39\).*instead of \(40, 40\)"),
        (lambda t: t.update({"circuit_model.final_logits_bias": torch.ones(40, dtype=torch.int64)}), "int64"),
    ],
)
def test_other_tensors_than_the_configuration_calls_for_are_listed(
    model: CircuitTransformer, tmp_path: Path, change: Callable[..., object], message: str
) -> None:
    folder = write_hub(tmp_path / "m", model)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_a_feature_that_is_not_implemented_is_refused(model: CircuitTransformer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json:unembed_rank"):
        load_model(write_hub(tmp_path / "m", model, unembed_rank=16))


def test_damaged_folders_are_refused(model: CircuitTransformer, tmp_path: Path) -> None:
    folder = write_hub(tmp_path / "m", model, shards=2)
    second = folder / "model-00002-of-00002.safetensors"
    content = second.read_bytes()
    second.write_bytes(content[:-10])
    with pytest.raises(FormatError, match="00002-of-00002"):
        load_model(folder)
    second.unlink()
    with pytest.raises(MissingArtifactError, match="shards are missing"):
        load_model(folder)
    second.write_bytes(content)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../m/model.safetensors"}}')
    with pytest.raises(UnsafeContentError, match="outside its folder"):
        load_model(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(FormatError, match="index of shards"):
        load_model(folder)
    (folder / "model.safetensors.index.json").unlink()
    save_file({"circuit_model.lm_head.weight": torch.ones(40, 16)}, folder / "extra.safetensors")
    with pytest.raises(FormatError, match="in two weights files"):
        load_model(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(MissingArtifactError, match="no safetensors"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(MissingArtifactError, match="holds no model"):
        load_model(folder)


def test_a_blob_that_runs_code_is_refused(model: CircuitTransformer, tmp_path: Path) -> None:
    folder = write_blob(tmp_path / "blob", model)
    torch.save({"weight": os.getcwd}, folder / "final_model.pt")
    with pytest.raises(UnsafeContentError, match="getcwd"):
        load_model(folder)
    torch.save([1, 2], folder / "final_model.pt")
    with pytest.raises(FormatError, match="not a state dict"):
        load_model(folder)


def test_models_of_transformers_load_without_remote_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16)).eval()
    model.save_pretrained(tmp_path / "gpt2")
    loaded = load_model(tmp_path / "gpt2")
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)
    assert model_identity(loaded).id == "gpt2"
    # A repository whose class comes with it as code.
    config = {"model_type": "other", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(config))
    (tmp_path / "gpt2" / "code.py").write_text(f"import os; os.mkdir({str(tmp_path / 'made')!r})")
    with pytest.raises(ModelError, match="without running code"):
        load_model(tmp_path / "gpt2")
    assert not (tmp_path / "made").exists()


def test_incomplete_transformers_weights_are_not_filled_with_noise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16))
    model.save_pretrained(tmp_path / "gpt2")
    tensors = load_file(tmp_path / "gpt2" / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, tmp_path / "gpt2" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight"):
        load_model(tmp_path / "gpt2")


def test_unknown_references_and_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="mini, an existing folder, or a Hub id"):
        load_model("no such thing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE") as caught:
        load_model("circuit-artifacts-tests/no-such-model")
    assert caught.value.file == "circuit-artifacts-tests/no-such-model"


# Packing.


@given(
    arrays("float16", array_shapes(max_dims=3, max_side=9), elements=st.floats(-9, 9, width=16)),
    st.integers(0, 9),
)
@settings(max_examples=60)
def test_packed_tensors_come_back(array: NDArray[np.float16], threshold: int) -> None:
    tensor = torch.from_numpy(array)
    tensor[tensor.abs() < threshold] = 0
    stored, metadata = pack({"a.weight": tensor})
    assert torch.equal(unpack(stored, metadata)["a.weight"], tensor)


@pytest.mark.parametrize("position", [0, 65_534, 65_535, 65_536, 131_070, 199_999])
def test_gaps_wider_than_16_bits_are_bridged(position: int) -> None:
    tensor = torch.zeros(200_000)
    tensor[position] = 1.5
    stored, metadata = pack({"x": tensor})
    assert sum(part.numel() for part in stored.values()) <= 8
    assert torch.equal(unpack(stored, metadata)["x"], tensor.half())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, _: s.pop("x.gaps"), "lacks its values or gaps"),
        (lambda s, _: s.update({"x.gaps": torch.tensor([5], dtype=torch.uint16)}), "reaches beyond its shape"),
        (lambda s, _: s.update({"x.gaps": torch.tensor([0], dtype=torch.uint16)}), "reaches beyond its shape"),
        (lambda _, m: m.update(packed_shapes="["), "unreadable"),
        (lambda _, m: m.update(packed_shapes='{"x": "4"}'), "unreadable"),
    ],
)
def test_damaged_packing_is_refused(change: Callable[..., object], message: str) -> None:
    stored, metadata = pack({"x": torch.tensor([0, 0, 3.0, 0])})
    change(stored, metadata)
    with pytest.raises(FormatError, match=message):
        unpack(stored, metadata, file="model.safetensors")


# The bundled model.


def test_the_bundled_model_is_what_its_record_says() -> None:
    record = json.loads((MINI_FOLDER / "training.json").read_text())
    model, tokenizer = load_model("mini"), load_tokenizer("mini")
    config = model.config
    assert (config.n_layer, config.d_model, config.mlp_width, config.vocab_size) == (8, 64, 256, tokenizer.vocab_size)
    identity = model_identity(model)
    assert (identity.id, identity.sha256) == ("mini", record["weights_sha256"])
    assert sum(int(p.count_nonzero()) for p in model.parameters()) == record["nonzero_parameters"]
    for block in model.transformer.h:
        for layer in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            assert float((layer.weight != 0).float().mean()) == pytest.approx(1 / 8, abs=0.002)
    assert sum(file.stat().st_size for file in MINI_FOLDER.iterdir()) < 1_000_000


def test_the_bundled_model_knows_python() -> None:
    model, tokenizer = load_model("mini"), load_tokenizer("mini")
    losses = json.loads((MINI_FOLDER / "training.json").read_text())["loss_nats_per_token"]
    assert losses["held_out_modules"]["shipped"] < losses["held_out_modules"]["bigram_counts"]
    assert losses["held_out_prompts"]["shipped"] < losses["held_out_prompts"]["bigram_counts"]
    text = "def load(path):\n    with open(path) as file:\n        return file.read()\n"
    ids = torch.tensor([tokenizer.encode(text)])
    loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])
    assert float(loss) < 4
