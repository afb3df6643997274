"""The bundled autoencoders are what their record says, fit their budget, and read what every step feeds them."""

import hashlib
import importlib
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from circuit_artifacts import provenance
from circuit_artifacts.compute.models import load_model, load_tokenizer
from circuit_artifacts.compute.models.checkpoint import MINI_FOLDER as MODEL
from circuit_artifacts.compute.saes import load_sae
from circuit_artifacts.compute.saes.places import MINI_FOLDER as SAES
from circuit_artifacts.compute.saes.quality import sae_quality
from circuit_artifacts.errors import MissingArtifactError, UnsafeContentError

SCRIPTS = Path(__file__).parents[3] / "scripts"
RECORD: dict[str, Any] = json.loads((SAES / "training.json").read_text())
NAMES = tuple(RECORD["saes"])
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("train_mini_saes")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def prompts(script: ModuleType) -> Tensor:
    """The windows of held-out prompts that quality was measured on, from the prompts that the package brings."""
    corpus = sys.modules["mini_corpus"]
    file = MODEL.parent / "mini_atlas" / "11A_object_prompts.parquet"
    texts = pq.read_table(file, columns=["prompt_text"])["prompt_text"].to_pylist()[::25]
    documents = corpus.encode(load_tokenizer("mini").backend, texts)
    return script.spaced_windows(documents, script.HELD_OUT_WINDOWS)


@pytest.fixture(scope="module")
def activations(script: ModuleType, prompts: Tensor) -> list[Tensor]:
    return script.collect(load_model("mini"), prompts)


@cache
def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_there_is(script: ModuleType) -> None:
    expected = {f"resid_post/layer_{layer}/relu_256" for layer in range(8)}
    expected |= {f"resid_post/layer_4/{name}" for name in ("jumprelu_256", "topk_256")}
    expected |= {f"resid_post/layer_4/relu_{width}" for width in (64, 128, 512, 1024)}
    there = {file.parent.relative_to(SAES).as_posix() for file in SAES.rglob("cfg.json")}
    assert there == set(NAMES) == set(script.recipes()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_as_recorded(name: str) -> None:
    recorded = RECORD["saes"][name]
    sae = load_sae("mini", path=name)
    arch, width = name.rsplit("/", 1)[1].split("_")
    assert (sae.arch, sae.d_in, sae.d_sae, sae.origin.layer) == (arch, 64, int(width), recorded["layer"])
    assert (sae.origin.source, sae.origin.model, sae.origin.dtype) == (f"mini/{name}", "mini", "float16")
    assert f"layer_{recorded['layer']}/" in name
    assert (recorded["recipe"]["arch"], recorded["recipe"]["d_sae"]) == (arch, int(width))
    assert digest(SAES / name / "sae_weights.safetensors") == recorded["weights_sha256"]
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(sae.d_sae), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_way_to_encode_is_the_right_one(name: str, activations: list[Tensor]) -> None:
    sae = load_sae("mini", path=name)
    x = activations[sae.origin.layer][:2000]
    assert sae.compat_differences == ()
    assert torch.equal(sae.encode(x, "compat"), sae.encode(x, "faithful"))
    assert sae.encode(x).min() >= 0


@pytest.mark.parametrize("name", NAMES)
def test_quality_is_as_recorded(name: str, activations: list[Tensor]) -> None:
    recorded = RECORD["saes"][name]["held_out_prompts"]
    sae = load_sae("mini", path=name)
    x = activations[sae.origin.layer]
    features = sae.encode(x)
    error = (x - sae.decode(features)).square().sum(dtype=torch.float64)
    explained = 1 - error / (x - x.mean(dim=0)).square().sum(dtype=torch.float64)
    assert len(x) == recorded["tokens"]
    assert (features > 0).double().sum(dim=1).mean() == pytest.approx(recorded["l0"], rel=0.01)
    assert explained == pytest.approx(recorded["variance_explained"], abs=0.005)
    assert (features > 0).any(dim=0).logical_not().double().mean() == pytest.approx(recorded["dead_share"], abs=0.01)


def test_most_of_the_loss_is_recovered_on_other_text(prompts: Tensor) -> None:
    recorded = RECORD["saes"]["resid_post/layer_4/relu_256"]["held_out_prompts"]
    quality = sae_quality(
        load_model("mini"), load_sae("mini", path="resid_post/layer_4/relu_256"), prompts[::16], layer=4
    )
    assert quality.loss_recovered == pytest.approx(recorded["loss_recovered"], abs=0.05)
    assert quality.loss_zero > quality.loss_reconstructed > quality.loss


def test_wider_dictionaries_of_one_recipe_explain_more() -> None:
    sweep = [RECORD["saes"][f"resid_post/layer_4/relu_{width}"] for width in (64, 128, 256, 512, 1024)]
    recipes = [{name: value for name, value in item["recipe"].items() if name != "d_sae"} for item in sweep]
    assert all(recipe == recipes[0] for recipe in recipes)
    explained = [item["held_out_modules"]["variance_explained"] for item in sweep]
    assert explained == sorted(explained)
    assert explained[2] > 0.8
    assert all(8 <= item["held_out_modules"]["l0"] <= 20 for item in sweep)


def test_the_budget() -> None:
    """Model and autoencoders together are to stay below 2 MB."""
    size = {
        folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in (SAES, MODEL)
    }
    assert size[SAES] < 1_350_000
    assert sum(size.values()) < 2_000_000


def test_the_record_names_the_bundled_model_and_its_corpus() -> None:
    trained = json.loads((MODEL / "training.json").read_text())
    assert RECORD["model"] == {"id": "mini", "revision": None, "sha256": digest(MODEL / "model.safetensors")}
    assert RECORD["training"]["corpus_sha256"] == trained["training"]["corpus_sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_carries_its_provenance(name: str) -> None:
    for file in ("cfg.json", "sae_weights.safetensors"):
        record = provenance.read(SAES / name / file)
        assert record is not None
        assert (record.mirror, record.step) == ("sae-locality-mini", "sae training")
        assert record.model == RECORD["model"]
        kept = {key: value for key, value in record.parameters["recipe"].items() if value}
        assert kept == RECORD["saes"][name]["recipe"]


def test_the_card_is_made_from_the_record(script: ModuleType) -> None:
    assert (SAES / "README.md").read_text() == script.card(RECORD)


def test_folders_and_files_of_the_bundled_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they are installed, and whatever lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    name = NAMES[0]
    for path in (name, f"{name}/", f"{name}/sae_weights.safetensors", f"{name}/cfg.json"):
        assert load_sae("mini", path=path).origin.source == f"mini/{name}"
    with pytest.raises(MissingArtifactError, match="no sparse autoencoder in the folder"):
        load_sae(Path("mini"))


def test_paths_that_the_bundled_ones_lack() -> None:
    for path in ("", "resid_post/layer_4", "resid_post/layer_9/relu_256"):
        with pytest.raises(MissingArtifactError, match=r"path= with one of resid_post/layer_0/relu_256, ") as caught:
            load_sae("mini", path=path)
        assert caught.value.file == "mini"
    for path in ("../mini_atlas", "/etc", "resid_post/../../mini_atlas"):
        with pytest.raises(UnsafeContentError, match="leads out of the bundled autoencoders"):
            load_sae("mini", path=path)
