"""Autoencoders are found in folders, archives and on the Hub, and their description names no folder of this machine."""

import zipfile
from pathlib import Path

import pytest
import torch
from hub import Fault, LoopbackHub
from sae_fixture import LAYOUTS, S, X, write_sae

from circuit_artifacts.compute.saes import load_sae
from circuit_artifacts.errors import (
    FormatError,
    MissingArtifactError,
    SourceError,
    UnknownNameError,
    UnsafeContentError,
)

REPOSITORY = "someone/dictionaries"
SITE = f"dictionaries/pythia-70m-deduped/resid_out_layer3/10_{S}"


def packed(root: Path) -> Path:
    """One archive of dictionaries, laid out as published."""
    folder = write_sae("dictionary_learning", root)
    archive = root / "dictionaries_10.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for site in ("embed", "resid_out_layer3"):
            file.write(folder / "ae.pt", f"dictionaries/pythia-70m-deduped/{site}/10_{S}/ae.pt")
        file.writestr(f"{SITE}/config.json", '{"trainer": {"lm_name": "EleutherAI/pythia-70m-deduped"}}')
    return archive


def uploaded(hub: LoopbackHub, root: Path, prefix: str = "") -> str:
    files = {f"{prefix}{path.relative_to(root).as_posix()}": path for path in root.rglob("*") if path.is_file()}
    return hub.add_repository(REPOSITORY, files, kind="model")


@pytest.mark.parametrize("end", ["", "/ae.pt", "/config.json"])
def test_inside_an_archive(end: str, tmp_path: Path) -> None:
    expected = load_sae(write_sae("dictionary_learning", tmp_path)).encode(X)
    sae = load_sae(f"{packed(tmp_path)}/{SITE}{end}")
    assert torch.equal(sae.encode(X), expected)
    assert sae.origin.model == "EleutherAI/pythia-70m-deduped"
    assert sae.origin.source == f"pythia-70m-deduped/resid_out_layer3/10_{S}/ae.pt"
    assert torch.equal(load_sae(packed(tmp_path), path=SITE).encode(X), expected)


def test_a_path_that_an_archive_lacks(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    with pytest.raises(MissingArtifactError, match=rf"resid_out_layer9: .*expected one of .*{SITE}/ae.pt"):
        load_sae(archive, path="dictionaries/resid_out_layer9")
    with pytest.raises(MissingArtifactError, match=f"{SITE}/ae.pt"):
        load_sae(archive)
    with pytest.raises(UnsafeContentError, match="leads out of the archive"):
        load_sae(archive, path="../dictionaries")


def test_a_member_that_occurs_twice(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(f"{SITE}/ae.pt", b"")
    with pytest.raises(FormatError, match=f"{SITE}/ae.pt: the member occurs twice"):
        load_sae(archive, path=SITE)


def test_a_damaged_archive(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(FormatError, match=r"dictionaries_10\.zip: the archive is truncated or damaged"):
        load_sae(archive, path=SITE)


def test_a_folder_with_several_autoencoders(tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    (folder / "ae.pt").write_bytes(b"")
    with pytest.raises(FormatError, match=r"several files .*\(found sae.safetensors, ae.pt\)\. Name one of"):
        load_sae(folder)
    assert load_sae(folder / "sae.safetensors").arch == "topk"


def test_a_folder_without(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(MissingArtifactError, match=r"no sparse autoencoder in the folder \(found README.md, expected"):
        load_sae(tmp_path)
    with pytest.raises(MissingArtifactError, match="there is no such file or folder"):
        load_sae(tmp_path, path="layers.3")


def test_a_file_under_another_name_is_told_by_its_content(tmp_path: Path) -> None:
    file = write_sae("gemma_scope", tmp_path) / "params.npz"
    renamed = file.rename(tmp_path / "layer12.npz")
    assert load_sae(renamed).origin.format == "gemma_scope"
    assert load_sae(renamed).origin.source == f"{tmp_path.name}/layer12.npz"
    misleading = renamed.rename(tmp_path / "layer12.pt")
    assert load_sae(misleading).origin.format == "gemma_scope"


def test_no_reference_at_all(tmp_path: Path) -> None:
    for ref in ("nowhere", tmp_path / "nowhere"):
        with pytest.raises(UnknownNameError, match=r"there is no such autoencoder .*hf://user/repository/folder"):
            load_sae(ref)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_from_the_hub(layout: str, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = write_sae(layout, tmp_path)
    inside = folder.relative_to(tmp_path).as_posix()
    commit = uploaded(hub, tmp_path)
    expected = load_sae(folder).encode(X)
    sae = load_sae(f"hf://{REPOSITORY}/{inside}")
    assert torch.equal(sae.encode(X), expected)
    (weights,) = (path for path in folder.rglob("*") if path.suffix in {".pt", ".npz", ".safetensors"})
    assert sae.origin.source == f"hf://{REPOSITORY}@{commit}/{weights.relative_to(tmp_path).as_posix()}"
    hub.reset()
    for again in (load_sae(REPOSITORY, path=inside), load_sae(f"hf://{REPOSITORY}", path=inside)):
        assert torch.equal(again.encode(X), expected)
    assert hub.requests == []


def test_only_what_is_needed_is_downloaded(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    (folder / "optimizer.pt").write_bytes(bytes(1 << 20))
    (tmp_path / "layers.6").mkdir()
    (tmp_path / "layers.6" / "sae.safetensors").write_bytes(bytes(1 << 20))
    uploaded(hub, tmp_path)
    load_sae(REPOSITORY, path="layers.5")
    assert hub.sent(file="*optimizer.pt") == hub.sent(file="*layers.6*") == 0


def test_a_pinned_revision_and_the_root_of_a_repository(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = write_sae("sparsify", tmp_path)
    old = uploaded(hub, folder)
    hub.commit(REPOSITORY, {"sae.safetensors": b"no longer"}, kind="model")
    for sae in (load_sae(REPOSITORY, revision=old), load_sae(f"hf://{REPOSITORY}@{old}/sae.safetensors")):
        assert sae.origin.source == f"hf://{REPOSITORY}@{old}/sae.safetensors"
    with pytest.raises(FormatError, match="not a torch file"):
        load_sae(REPOSITORY)


def test_an_archive_on_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    archive = packed(tmp_path)
    commit = hub.add_repository(REPOSITORY, {archive.name: archive}, kind="model")
    sae = load_sae(REPOSITORY, path=f"{archive.name}/{SITE}")
    assert sae.origin.source == f"hf://{REPOSITORY}@{commit}/{archive.name}/{SITE}/ae.pt"
    assert (sae.origin.layer, sae.arch) == (3, "relu")


def test_what_the_hub_does_not_have(hub: LoopbackHub, tmp_path: Path) -> None:
    write_sae("sparsify", tmp_path)
    uploaded(hub, tmp_path)
    with pytest.raises(MissingArtifactError, match=r"layers\.9/.*no such file .*expected one of layers\.9/sae_we"):
        load_sae(REPOSITORY, path="layers.9")
    with pytest.raises(MissingArtifactError, match="no such repository, or it is private"):
        load_sae("someone/nothing")


def test_offline(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sae("sparsify", tmp_path)
    uploaded(hub, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        load_sae(REPOSITORY, path="layers.5")


def test_damage_on_the_way_is_seen(hub: LoopbackHub, tmp_path: Path) -> None:
    write_sae("sparsify", tmp_path)
    uploaded(hub, tmp_path)
    expected = load_sae(tmp_path / "layers.5").encode(X)
    hub.fail(Fault("corrupt", file="*.safetensors", times=1))
    assert torch.equal(load_sae(REPOSITORY, path="layers.5").encode(X), expected)
