"""`load_dataset("causal-dimensionality", ...)`: every config, both ways; and from the Hub no more than is needed."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - what is pickled here is our own
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from causal_fixture import D_IN, D_SAE, dictionary_path, tensors, write_causal, write_dictionary
from datasets.distributed import split_dataset_by_node
from hub import LoopbackHub

import circuit_artifacts
from circuit_artifacts import catalog, load_dataset
from circuit_artifacts.causal_dimensionality import load_sae
from circuit_artifacts.errors import MissingArtifactError, SchemaError
from circuit_artifacts.parquet import convert
from circuit_artifacts.schemas.causal_dimensionality_mirror import SITES
from circuit_artifacts.sources import Sources
from circuit_artifacts.validation import mirror_of
from circuit_artifacts.viewer import check_viewer

MIRROR = catalog.mirror("causal-dimensionality")
(REPOSITORY,) = MIRROR.repositories
PRESENT = ("headline", "sae_inventory", "sae_features", "results", "agreement_simple", "figures", "logs")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("builder") / "published")


def test_the_configs_are_those_of_the_design() -> None:
    structures = [f"agreement_{name}" for name in ("simple", "nounpp", "within_rc", "rc")]
    assert sorted(MIRROR.configs) == sorted({*PRESENT, *structures})
    assert datasets.get_dataset_split_names("causal-dimensionality", "sae_features") == list(SITES)


@pytest.mark.parametrize("name", PRESENT)
def test_every_config_streams_the_rows_that_it_loads(published: Path, name: str) -> None:
    whole = load_dataset("causal-dimensionality", name, data_root=str(published))
    streamed = load_dataset("causal-dimensionality", name, data_root=str(published), streaming=True)
    assert list(whole) == list(streamed)
    for split, rows in whole.items():
        assert len(rows) > 0
        assert rows.features == streamed[split].features
        parts = [rows, streamed[split]]
        if name == "figures":
            parts = [part.cast_column("image", datasets.Image(decode=False)) for part in parts]
        assert list(parts[0]) == list(parts[1])


def test_published_numbers_need_neither_a_folder_nor_the_hub() -> None:
    rows = load_dataset("causal-dimensionality", split="train")
    assert len(rows) == 39
    of_id = {row["id"]: row for row in rows}
    assert (of_id["inflation"]["published"], of_id["inflation"]["source"]) == (9.27, "card")
    assert of_id["kappa_hat"]["low"] is None


def test_features_are_those_of_the_dictionary_of_their_split(published: Path) -> None:
    rows = load_dataset("causal-dimensionality", "sae_features", split="attn_out_layer1", data_root=str(published))
    state = tensors(SITES.index("attn_out_layer1"))
    rows = rows.with_format("numpy")
    np.testing.assert_array_equal(rows["index"][:], np.arange(D_SAE))
    np.testing.assert_array_equal(np.stack(list(rows["encoder"])), state["encoder.weight"].numpy())
    np.testing.assert_array_equal(np.stack(list(rows["decoder"])), state["decoder.weight"].T.numpy())
    assert (rows.features["encoder"].length, rows.features["decoder"].length) == (D_IN, D_IN)


def test_the_inventory_is_in_forward_order_with_nineteen_hashes(published: Path) -> None:
    rows = load_dataset("causal-dimensionality", "sae_inventory", split="train", data_root=str(published))
    assert rows["site"][:] == list(SITES)
    assert len(set(rows["sha256"])) == 19


def test_pictures_logs_and_sentences(published: Path) -> None:
    pictures = load_dataset("causal-dimensionality", "figures", split="train", data_root=str(published))
    assert isinstance(pictures.features["image"], datasets.Image)
    assert pictures["experiment"][:] == ["exp1_width_sweep", "expB_fit"]
    assert pictures[0]["image"].size == (1, 1)
    empty, log = load_dataset("causal-dimensionality", "logs", split="train", data_root=str(published))
    assert (empty["bytes"], empty["first_timestamp"]) == (0, None)
    assert (log["first_timestamp"], log["last_timestamp"]) == ("2026-04-01 10:00:00,123", "2026-04-01 11:59:59")
    sentences = load_dataset("causal-dimensionality", "agreement_simple", data_root=str(published))
    assert [len(sentences[split]) for split in ("train", "test")] == [3, 1]


def test_results_say_what_became_of_them(published: Path) -> None:
    rows = load_dataset("causal-dimensionality", "results", split="train", data_root=str(published))
    of_path = {row["path"]: row for row in rows}
    row = of_path["results/exp5b/cells.json"]
    assert (row["kind"], row["status"]) == ("exp5b_encoder_ablation", "typed")
    assert json.loads(row["typed"])["inflation"] == 9.27
    assert "inflation: from $.ratio" in row["changes"]
    unknown = of_path["results/geometric_privilege/summary.json"]
    assert (unknown["kind"], unknown["typed"], json.loads(unknown["raw"])) == ("unknown", None, {"anything": [1, 2]})


def test_a_folder_with_few_dictionaries_gives_empty_splits(tmp_path: Path) -> None:
    write_dictionary(tmp_path, "embed", tensors(0))
    for streaming in (False, True):
        rows = load_dataset("causal-dimensionality", "sae_features", data_root=str(tmp_path), streaming=streaming)
        assert {split: len(list(part)) for split, part in rows.items() if split in {"embed", SITES[-1]}} == {
            "embed": D_SAE,
            SITES[-1]: 0,
        }


def test_a_dictionary_is_shared_resumed_and_pickled(published: Path) -> None:
    stream = load_dataset(
        "causal-dimensionality", "sae_features", split="embed", data_root=str(published), streaming=True
    )
    assert stream.num_shards == 8
    rows = list(stream)
    assert [row["index"] for row in rows] == list(range(D_SAE))
    parts = [list(split_dataset_by_node(stream, rank=rank, world_size=2)) for rank in (0, 1)]
    assert sorted(row["index"] for part in parts for row in part) == list(range(D_SAE))
    assert list(pickle.loads(pickle.dumps(stream))) == rows
    reading = iter(stream)
    seen = [next(reading) for _ in range(11)]
    state = stream.state_dict()
    again = pickle.loads(pickle.dumps(stream))
    again.load_state_dict(state)
    assert seen + list(again) == rows


def test_the_stock_function_knows_the_name(published: Path) -> None:
    circuit_artifacts.register()
    rows = datasets.load_dataset("causal-dimensionality", "sae_inventory", split="train", data_root=str(published))
    assert len(rows) == 19
    info = datasets.load_dataset_builder("causal-dimensionality", "headline").info
    assert (info.license, "Sarkar" in info.citation) == ("mit", True)


def test_a_folder_is_recognised_and_its_conversion_satisfies_the_viewer(published: Path, tmp_path: Path) -> None:
    assert mirror_of(published) is MIRROR
    out = tmp_path / "parquet"
    convert(Sources(mirror=MIRROR, data_root=published), out, originals=True)
    errors = [finding for finding in check_viewer(out) if finding.level == "error"]
    # What a few rows bring with them, and thousands do not.
    assert {finding.rule for finding in errors} <= {"neighbouring values", "single value"}, errors
    rows = datasets.load_dataset(str(out), "sae_features", split="resid_out_layer5")
    assert (len(rows), len(rows[0]["decoder"])) == (D_SAE, D_IN)
    assert datasets.load_dataset(str(out), "headline", split="train")[5]["id"] == "kappa_hat"
    assert (out / "raw" / dictionary_path("embed")).is_file()


def test_a_few_dictionaries_are_converted_too(tmp_path: Path) -> None:
    # Holds down: vectors of two widths in one config, because absent dictionaries were given the published width.
    for seed, site in enumerate(SITES[:3]):
        write_dictionary(tmp_path / "in", site, tensors(seed))
    config = MIRROR.configs["sae_features"]
    files = convert(Sources(mirror=MIRROR, data_root=tmp_path / "in"), tmp_path / "out", [config])
    assert [file.split for file in files] == list(SITES[:3])


# From the Hub


@pytest.fixture
def on_the_hub(hub: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """Three dictionaries of the published width, with few features."""
    files = {}
    for seed, site in enumerate(SITES[:3]):
        name = dictionary_path(site, d_sae=16)
        files[name] = tmp_path / "hub" / name
        files[name].parent.mkdir(parents=True)
        torch.save(tensors(seed, d_in=512, d_sae=16), files[name])
    hub.add_repository(REPOSITORY, files)
    return hub


def asked(hub: LoopbackHub) -> set[str]:
    return {request.file for request in hub.requests if request.file}


def test_streaming_one_site_downloads_its_dictionary_only(on_the_hub: LoopbackHub) -> None:
    # Holds down: 2.5 GB before the first row, to ask every dictionary for its width.
    stream = load_dataset("causal-dimensionality", "sae_features", split=SITES[1], streaming=True)
    assert stream.features["encoder"].length == 512
    assert [row["index"] for row in stream] == list(range(16))
    assert asked(on_the_hub) == {dictionary_path(SITES[1], d_sae=16)}


def test_loading_one_autoencoder_downloads_its_dictionary_only(
    on_the_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae = load_sae(SITES[2])
    torch.testing.assert_close(sae.W_enc, tensors(2, d_in=512, d_sae=16)["encoder.weight"].T)
    assert asked(on_the_hub) == {dictionary_path(SITES[2], d_sae=16)}
    assert sae.origin is not None
    assert sae.origin.source == dictionary_path(SITES[2], d_sae=16)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_sae(SITES[2])  # from the cache, although the others are not there
    with pytest.raises(MissingArtifactError):
        load_sae(SITES[1])


def test_another_width_on_the_hub_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    path = write_dictionary(tmp_path, "embed", tensors(0))
    hub.add_repository(REPOSITORY, {dictionary_path("embed"): path})
    stream = load_dataset("causal-dimensionality", "sae_features", split="embed", streaming=True)
    with pytest.raises(SchemaError, match=r"another width than the published one \(found 8, expected 512\)"):
        list(stream)
