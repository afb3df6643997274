"""`load_dataset("sae-locality", ...)` on a published folder: every strand, the wanted runs, both ways of loading."""

from __future__ import annotations

import pickle  # noqa: TID251 - what is pickled here is our own
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from locality_fixture import DEPTH, FIRST_DEPTH, GEOMETRY, LEAKS, LEGACY_EVENTS, SMOKE, loaded, write_locality

import circuit_artifacts
from circuit_artifacts import catalog, load_dataset
from circuit_artifacts.errors import MissingArtifactError
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources
from circuit_artifacts.validation import mirror_of
from circuit_artifacts.viewer import check_viewer

MIRROR = catalog.mirror("sae-locality")
DEPTHS = "entropy_pythia-70m_wikitext"
PRESENT = (
    "runs",
    DEPTHS,
    "entropy_gpt2-small_gsm8k",
    "entropy_all",
    "ctxlen_gpt2-small",
    "ctxlen_all",
    "events",
    "influences",
    "top_contexts",
    "case_studies",
    "geometry_features",
    "geometry_pairs",
    "geometry_neighbours",
    "neuronpedia_xcheck",
    "decoder_vectors",
    "autocorr_features",
    "autocorr_curves",
    "autocorr_examples",
    "entropy_targets",
    "neuronpedia",
    "candidates",
    "figures",
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locality(tmp_path_factory.mktemp("builder") / "published")


@pytest.mark.parametrize("name", PRESENT)
def test_every_strand_streams_the_rows_that_it_loads(published: Path, name: str) -> None:
    whole = load_dataset("sae-locality", name, data_root=str(published))
    streamed = load_dataset("sae-locality", name, data_root=str(published), streaming=True)
    assert list(whole) == list(streamed)
    for split, rows in whole.items():
        assert len(rows) > 0 or name == "neuronpedia_xcheck"
        assert rows.features == streamed[split].features
        plain = rows.cast_column("image", datasets.Image(decode=False)) if name == "figures" else rows
        stream = streamed[split]
        stream = stream.cast_column("image", datasets.Image(decode=False)) if name == "figures" else stream
        assert repr(plain.to_list()) == repr(list(stream))  # repr: NaN equals NaN


def test_values_are_those_of_the_files(published: Path) -> None:
    content = loaded(published / DEPTH / "entropy_comparison_resid_out_layer1.pt")
    rows = load_dataset("sae-locality", DEPTHS, split="features", data_root=str(published), run="most_complete")
    of_layer = [row for row in rows if row["layer"] == 1]
    expected = [
        (window["batch_idx"], feature, np.float32(bits), window["feature_influences"][feature])
        for window in content["batch_results"]
        for feature, bits in sorted(window["feature_entropies"].items())
    ]
    assert [(r["batch_idx"], r["feature_id"]) for r in of_layer] == [
        (batch, feature) for batch, feature, *_ in expected
    ]
    for row, (_, _, bits, influence) in zip(of_layer, expected, strict=True):
        assert np.float32(row["entropy_bits"]) == bits
        np.testing.assert_array_equal(np.float32(row["influence"]), influence)


def test_runs_are_chosen_by_policy_and_by_name(published: Path) -> None:
    def runs(name: str = DEPTHS, **options: object) -> set[str]:
        return set(
            load_dataset("sae-locality", name, split=None, data_root=str(published), **options)["windows"]["run"]
        )

    assert runs() == {SMOKE}
    assert runs(run="most_complete") == {DEPTH}
    assert runs(run="20260419_062602") == {FIRST_DEPTH}
    assert runs(run="all") >= {SMOKE, DEPTH, FIRST_DEPTH}
    with pytest.raises(MissingArtifactError, match=r"there is no run '20990101_000000'.*20260427_105943"):
        runs(run="20990101_000000")


def test_legacy_tiers_are_read_on_request_only(published: Path) -> None:
    usual = load_dataset("sae-locality", "events", split="train", data_root=str(published), run="all")
    legacy = load_dataset("sae-locality", "events", split="train", data_root=str(published), legacy=True)
    assert not any(run.startswith("legacy/") for run in usual["run"])
    assert set(legacy["run"]) == {LEGACY_EVENTS}


def test_the_width_of_vectors_is_that_of_the_file(published: Path) -> None:
    # Holds down: vectors of another model refused, or cut, because the mirror publishes those of Gemma.
    stored = loaded(published / GEOMETRY / "decoder_vectors.pt").numpy()
    rows = load_dataset("sae-locality", "decoder_vectors", split="train", data_root=str(published))
    np.testing.assert_array_equal(np.float32(rows["vector"]), stored)
    assert rows.features["vector"].length == stored.shape[1] != MIRROR.width


def test_pictures_are_images_and_a_table_without_rows_is_empty(published: Path) -> None:
    pictures = load_dataset("sae-locality", "figures", split="train", data_root=str(published))
    assert isinstance(pictures.features["image"], datasets.Image)
    assert pictures[0]["image"].size == (1, 1)
    empty = load_dataset("sae-locality", "neuronpedia_xcheck", split="train", data_root=str(published))
    assert (len(empty), "cosine_local" in empty.column_names) == (0, True)


def test_shards_are_shared_resumed_and_pickled(published: Path) -> None:
    stream = load_dataset(
        "sae-locality", DEPTHS, split="features", data_root=str(published), run="most_complete", streaming=True
    )
    assert stream.num_shards == 2
    rows = list(stream)
    parts = [list(split_dataset_by_node(stream, rank=rank, world_size=2)) for rank in (0, 1)]
    assert {row["layer"] for row in parts[0]} == {0}
    assert parts[0] + parts[1] == rows
    assert list(pickle.loads(pickle.dumps(stream))) == rows
    reading = iter(stream)
    seen = [next(reading) for _ in range(len(rows) // 2)]
    state = stream.state_dict()
    again = pickle.loads(pickle.dumps(stream))
    again.load_state_dict(state)
    assert seen + list(again) == rows


def test_the_stock_function_knows_the_name_and_its_options(published: Path) -> None:
    circuit_artifacts.register()
    rows = datasets.load_dataset("sae-locality", DEPTHS, split="windows", data_root=str(published), run="most_complete")
    assert set(rows["run"]) == {DEPTH}


def test_no_row_tells_of_the_machine(published: Path) -> None:
    for name in PRESENT:
        for rows in load_dataset("sae-locality", name, data_root=str(published), run="all").values():
            plain = rows.remove_columns("image") if name == "figures" else rows
            text = repr(plain.to_list())
            assert not [leak for leak in LEAKS if leak in text], name


def test_a_folder_is_recognised_and_its_conversion_satisfies_the_viewer(published: Path, tmp_path: Path) -> None:
    assert mirror_of(published) is MIRROR
    out = tmp_path / "parquet"
    convert(Sources(mirror=MIRROR, data_root=published), out, originals=True)
    errors = [finding for finding in check_viewer(out) if finding.level == "error"]
    # What a few rows bring with them, and thousands do not.
    assert {finding.rule for finding in errors} <= {"neighbouring values", "single value"}
    rows = datasets.load_dataset(str(out), "figures", split="train")
    assert rows[0]["image"].size == (1, 1)
    depths = datasets.load_dataset(str(out), DEPTHS)
    assert set(depths["windows"]["run"]) == {SMOKE}
    assert (out / "raw" / SMOKE / "entropy_comparison_resid_out_layer0.pt").is_file()
