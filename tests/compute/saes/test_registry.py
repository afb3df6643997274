"""Names of SAELens become addresses on the Hub, from its table alone; with the library itself where it is installed."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from hub import LoopbackHub
from sae_fixture import LAYOUTS, D, S, X, parts, write_config, write_sae, write_safetensors

from circuit_artifacts.compute.locality.presets import PRESETS
from circuit_artifacts.compute.saes import load_sae, registry
from circuit_artifacts.compute.saes.registry import look_up
from circuit_artifacts.errors import FormatError, MissingArtifactError, MissingExtraError, UnknownNameError

GPT2, GEMMA = "gpt2-small-resid-post-v5-32k", "gemma-scope-2b-pt-res-canonical"
TABLE = f"""
{GPT2}:
  conversion_func: null
  model: gpt2-small
  repo_id: jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs
  saes:
  - id: blocks.7.hook_resid_post
    path: v5_32k_layer_7.pt
    variance_explained: 0.9
{GEMMA}:
  repo_id: google/gemma-scope-2b-pt-res
  saes:
  - id: layer_12/width_16k/canonical
    path: layer_12/width_16k/average_l0_82
scaled:
  repo_id: someone/scaled
  saes:
  - id: a
    path: 7
    norm_scaling_factor: 0.25
corrected:
  repo_id: someone/scaled
  config_overrides:
    dataset_path: a/b
    normalize_activations: constant_norm_rescale
  saes:
  - id: a
    path: 7
broken:
  repo_id: 7
  saes: []
"""

installed = pytest.mark.skipif(importlib.util.find_spec("sae_lens") is None, reason="sae-lens is not installed")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the library: its table, and a package that must not be imported."""
    package = tmp_path / "site" / "sae_lens"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "pretrained_saes.yaml").write_text(TABLE)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "sae_lens", raising=False)
    return package / "pretrained_saes.yaml"


def test_names_become_folders_of_repositories(table: Path) -> None:
    found = look_up(f"{GPT2}/blocks.7.hook_resid_post")
    assert (found.repository, found.path) == ("jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs", "v5_32k_layer_7.pt")
    found = look_up(f"{GEMMA}/layer_12/width_16k/canonical")
    assert (found.repository, found.path) == ("google/gemma-scope-2b-pt-res", "layer_12/width_16k/average_l0_82")
    assert look_up("scaled/a").path == "7"


def test_a_folder_that_is_named_like_a_file(table: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    """GPT-2's are folders called v5_32k_layer_7.pt."""
    repository = "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs"
    folder = write_sae("saelens", tmp_path)
    files = {f"v5_32k_layer_7.pt/{path.name}": path for path in folder.iterdir()}
    commit = hub.add_repository(repository, files, kind="model")
    sae = load_sae(f"sae_lens:{GPT2}/blocks.7.hook_resid_post")
    assert torch.equal(sae.encode(X), load_sae(folder).encode(X))
    assert sae.origin.source == f"hf://{repository}@{commit}/v5_32k_layer_7.pt/sae_weights.safetensors"
    hub.reset()
    assert load_sae(repository, path="v5_32k_layer_7.pt").origin == sae.origin
    assert load_sae(f"sae_lens:{GPT2}", path="blocks.7.hook_resid_post").origin == sae.origin
    assert hub.requests == []


def test_another_format_goes_through_its_reader(table: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = LAYOUTS["gemma_scope"](tmp_path)
    files = {path.relative_to(tmp_path).as_posix(): path for path in folder.iterdir()}
    hub.add_repository("google/gemma-scope-2b-pt-res", files, kind="model")
    sae = load_sae(f"sae_lens:{GEMMA}/layer_12/width_16k/canonical")
    assert (sae.origin.format, sae.origin.layer, sae.arch) == ("gemma_scope", 12, "jumprelu")


def test_a_format_that_is_not_read(table: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    file = tmp_path / "params.safetensors"
    write_safetensors(file, {"w_enc": torch.ones(2, 2)})
    hub.add_repository(
        "google/gemma-scope-2b-pt-res", {f"layer_12/width_16k/average_l0_82/{file.name}": file}, kind="model"
    )
    with pytest.raises(MissingArtifactError, match="expected one of layer_12/width_16k/average_l0_82/sae_weights"):
        load_sae(f"sae_lens:{GEMMA}/layer_12/width_16k/canonical")


def test_what_the_table_adds_to_a_configuration(table: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    p = parts()
    write_config(
        tmp_path / "cfg.json", d_in=D, d_sae=S, architecture="standard",
        normalize_activations="expected_average_only_in", apply_b_dec_to_input=False,
    )  # fmt: skip
    write_safetensors(
        tmp_path / "sae_weights.safetensors", {name: p[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    )
    hub.add_repository(
        "someone/scaled",
        {f"7/{name}": tmp_path / name for name in ("cfg.json", "sae_weights.safetensors")},
        kind="model",
    )
    sae = load_sae("sae_lens:scaled/a")
    torch.testing.assert_close(sae.encode(X, "faithful"), torch.relu(0.25 * X @ p["W_enc"] + p["b_enc"]))
    assert load_sae("sae_lens:scaled/a", activation_scale=0.5).trained.activation_scale == 0.5
    assert load_sae("sae_lens:corrected/a").trained.normalization == "constant_norm_rescale"


def test_names_that_are_not_known(table: Path) -> None:
    with pytest.raises(UnknownNameError, match=rf"no such release \(found 'gpt2-small', expected {GPT2}, .* of 5 in"):
        load_sae("sae_lens:gpt2-small/blocks.7.hook_resid_post")
    with pytest.raises(UnknownNameError, match=rf"in {GPT2} \(found 'blocks.99', expected blocks.7.hook_resid_post,"):
        load_sae(f"sae_lens:{GPT2}/blocks.99")
    with pytest.raises(UnknownNameError, match="found ''"):
        load_sae(f"sae_lens:{GPT2}")


def test_a_table_of_another_form(table: Path) -> None:
    with pytest.raises(FormatError, match=r"^pretrained_saes\.yaml:broken\.repo_id: .*another form"):
        look_up("broken/a")
    for text, message in (("- a", "releases by name"), ("a: [", "cannot be read")):
        table.write_text(text)
        registry._read.cache_clear()
        with pytest.raises(FormatError, match=message):
            look_up("broken/a")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.compute.saes.registry.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'circuit-artifacts\[sae-lens\]'"):
        load_sae(f"sae_lens:{GPT2}/blocks.7.hook_resid_post")


@installed
@pytest.mark.parametrize("name", ["gpt2-small", "gemma-2-2b"])
def test_the_library_knows_the_published_presets_where_we_do(name: str) -> None:
    preset = PRESETS[name]
    for sae_id, path in zip(preset.sae_ids, preset.sae_paths, strict=True):
        found = look_up(f"{preset.sae_release}/{sae_id}")
        assert (found.repository, found.path) == (preset.sae_repo, path)


@installed
def test_the_library_itself_resolves_names_to_the_same_places() -> None:
    directory = pytest.importorskip("sae_lens.loading.pretrained_saes_directory", exc_type=ImportError)
    for release, entry in directory.get_pretrained_saes_directory().items():
        sae_id = next(iter(entry.saes_map))
        found = look_up(f"{release}/{sae_id}")
        assert (found.repository, found.path) == directory.get_repo_id_and_folder_name(release, sae_id)
