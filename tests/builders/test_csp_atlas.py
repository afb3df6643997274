"""Rows of every csp-atlas config, map-style and streaming, against plain h5py and pandas reads of the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from atlas_fixture import Atlas, write_atlas

import circuit_artifacts
from circuit_artifacts import catalog

N_LAYERS, WIDTH = 8, 2048
MASKS = "masks_eps0.5_cons0.8"
MASK_COLUMNS = {"layer": "int32", "size": "int32", "active": "list<element: uint16>"}
CONCEPT_COLUMNS = {"concept": "string", "kind": "string", "name": "string"}
STATISTICS_COLUMNS = {
    "layer": "int32",
    "n_prompts": "int64",
    "activation_sum": "fixed_size_list<element: float>[2048]",
    "firing_count": "fixed_size_list<element: int32>[2048]",
}
CHECKER_PROMPT = {"object": "string", "keyword": "string", "variation_id": "int64", "prompt_text": "string"}
COLUMNS: dict[str, dict[str, dict[str, str]]] = {
    "object_prompts": {
        "train": {
            "ast_node": "string",
            "builtin_obj": "string",
            "variation_id": "int64",
            "prompt_text": "string",
            "sequence_loss": "double",
            "token_length": "int64",
            "ast_verified": "bool",
        }
    },
    "checker_prompts": {"train": CHECKER_PROMPT},
    "token_checker_prompts": {"train": CHECKER_PROMPT},
    "object_activations": {"train": {"ast_node": "string", "builtin_obj": "string", **STATISTICS_COLUMNS}},
    "checker_activations": {"train": {**CONCEPT_COLUMNS, **STATISTICS_COLUMNS}},
    "masks": {
        "universal": {**CONCEPT_COLUMNS, **MASK_COLUMNS},
        "pair": {"ast_node": "string", "builtin_obj": "string", **MASK_COLUMNS},
    },
    "checker_masks": {"train": {**CONCEPT_COLUMNS, **MASK_COLUMNS}},
    "token_checker_masks": {"train": {**CONCEPT_COLUMNS, **MASK_COLUMNS}},
    "universal_106x50": {
        "universal": {**CONCEPT_COLUMNS, **MASK_COLUMNS},
        "pair": {"ast_node": "string", "builtin_obj": "string", **MASK_COLUMNS},
    },
    "mask_similarity": {
        "train": {
            "kind": "string",
            "concept_a": "string",
            "concept_b": "string",
            "layer": "int32",
            "jaccard": "double",
        }
    },
    "summary": {
        "train": {
            "epsilon": "double",
            "consistency": "double",
            "n_testable": "int64",
            "n_ast": "int64",
            "n_builtin": "int64",
            "mean_concept_fraction": "double",
            "mean_token_fraction": "double",
            "ast_concept_fraction": "double",
            "ast_token_fraction": "double",
            "blt_concept_fraction": "double",
            "blt_token_fraction": "double",
            "mean_A_size": "double",
            "mean_B_size": "double",
        }
    },
    "target_checker": {
        "train": {
            "target": "string",
            "layer": "int32",
            "concept_only": "int32",
            "shared": "int32",
            "token_only": "int32",
            "concept_fraction": "double",
        }
    },
    "modularity_scores": {
        "train": {
            "concept": "string",
            "type": "string",
            "p=0.0": "int64",
            "p=0.05": "int64",
            "p=0.1": "int64",
            "p=0.25": "int64",
        }
    },
    "modularity_detail": {
        "train": {
            "object": "string",
            "type": "string",
            "layer": "int64",
            "p_trim": "double",
            "observed_trimmed_jaccard": "double",
            "percentile": "double",
            "significant": "bool",
        }
    },
    "token_independence_summary": {
        "train": {
            "object": "string",
            "type": "string",
            "keyword": "string",
            "concept_fraction": "double",
            "token_fraction": "double",
            "A_size": "double",
            "A_and_B": "double",
            "A_only": "double",
            "B_only": "double",
        }
    },
    "token_independence_detail": {
        "train": {
            "A_size": "int64",
            "B_size": "int64",
            "A_only": "int64",
            "A_and_B": "int64",
            "B_only": "int64",
            "token_fraction": "double",
            "concept_fraction": "double",
            "object": "string",
            "type": "string",
            "keyword": "string",
            "layer": "int64",
        }
    },
    "token_independence_no_keyword": {"train": {"object": "string", "status": "string"}},
    "concepts": {
        "train": {**CONCEPT_COLUMNS, "keyword": "string", "testable": "bool", "n_pairs": "int64"},
    },
}


def load(atlas: Atlas, config: str, **options: Any) -> Any:
    return datasets.load_dataset("csp-atlas", config, data_root=str(atlas.folder), **options)


def types_of(features: datasets.Features) -> dict[str, str]:
    return {field.name: str(field.type).replace("<item:", "<element:") for field in features.arrow_schema}


def test_the_grid_of_configs_is_complete() -> None:
    grid = [f"_eps{eps}_cons{cons}" for eps in ("0.001", "0.1", "0.5") for cons in ("0.2", "0.5", "0.8")]
    families = ("masks", "checker_masks", "mask_similarity", "target_checker")
    singles = set(COLUMNS) - set(families)
    expected = singles | {family + setting for family in families for setting in grid}
    assert set(datasets.get_dataset_config_names("csp-atlas")) == expected


@pytest.mark.parametrize("family", COLUMNS)
def test_both_ways_give_the_same_rows_under_the_declared_columns(atlas: Atlas, family: str) -> None:
    # Holds down: rows, types or order that depend on how they are loaded.
    config = catalog.family("csp-atlas", family).configs[-1].name
    prepared, streamed = load(atlas, config), load(atlas, config, streaming=True)
    assert list(prepared) == list(streamed) == list(COLUMNS[family])
    for split, columns in COLUMNS[family].items():
        for dataset in (prepared[split], streamed[split]):
            assert types_of(dataset.features) == columns
        rows = prepared[split].to_list()
        assert list(streamed[split]) == rows
        assert rows
        shards = streamed[split].num_shards
        assert shards > 1 or len(rows) == 1


@pytest.mark.parametrize("config", [MASKS, "masks_eps0.001_cons0.2", "universal_106x50"])
@pytest.mark.parametrize("split", ["universal", "pair"])
def test_masks_are_those_of_the_file(atlas: Atlas, config: str, split: str) -> None:
    dataset = load(atlas, config, split=split)
    file_name = catalog.config("csp-atlas", config).file
    expected = []
    with h5py.File(atlas.folder / file_name) as file:
        for layer in range(N_LAYERS):
            group = file[f"{split}_masks/layer_{layer}"]
            for key in sorted(group):
                active = np.flatnonzero(group[key][:]).tolist()
                first, second = key.split("__", 1)
                names = {"ast_node": first, "builtin_obj": second}
                if split == "universal":
                    names = {"concept": key, "kind": first, "name": second}
                expected.append({**names, "layer": layer, "size": len(active), "active": active})
    assert dataset.to_list() == expected


def test_keys_are_split_at_the_first_separator(atlas: Atlas) -> None:
    # Holds down: a right split, which turns Break___isolated_ into ("Break_", "isolated_").
    pairs = load(atlas, MASKS, split="pair")
    assert {row["builtin_obj"] for row in pairs if row["ast_node"] == "Break"} == {"_isolated_"}
    universal = load(atlas, MASKS, split="universal")
    assert {(r["kind"], r["name"]) for r in universal if r["concept"] == "builtin___isolated_"} == {
        ("builtin", "_isolated_")
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_dense_masks_have_ones_where_the_lists_point(atlas: Atlas, streaming: bool) -> None:
    dense = load(atlas, MASKS, split="universal", mask_format="dense", streaming=streaming)
    assert list(dense.features) == ["concept", "kind", "name", "layer", "size", "mask"]
    assert types_of(dense.features)["mask"] == "fixed_size_list<element: bool>[2048]"
    for row, listed in zip(dense, load(atlas, MASKS, split="universal"), strict=True):
        assert np.flatnonzero(row.pop("mask")).tolist() == listed.pop("active")
        assert row == listed


@pytest.mark.parametrize("config", ["checker_masks_eps0.1_cons0.5", "token_checker_masks"])
def test_checker_masks_are_those_of_the_file(atlas: Atlas, config: str) -> None:
    dataset = load(atlas, config, split="train")
    with h5py.File(atlas.folder / catalog.config("csp-atlas", config).file) as file:
        groups = file["token_checker_masks"]
        expected = [
            (layer, key, np.flatnonzero(groups[f"layer_{layer}/{key}"][:]).tolist())
            for layer in range(N_LAYERS)
            for key in sorted(groups["layer_0"])
        ]
    assert list(zip(dataset["layer"], dataset["concept"], dataset["active"], strict=True)) == expected


@pytest.mark.parametrize(("config", "key"), [("object_activations", "ast_node"), ("checker_activations", "concept")])
def test_scalars_are_joined_to_every_layer(atlas: Atlas, config: str, key: str) -> None:
    # Holds down: scalar n_prompts, on which the stock hdf5 builder dies (csp_atlas spec 1.3).
    dataset = load(atlas, config, split="train").with_format("numpy")
    with h5py.File(atlas.folder / f"12_{config}.h5") as file:
        keys = sorted(file["n_prompts"])
        assert len(dataset) == N_LAYERS * len(keys)
        row = 0
        for layer in range(N_LAYERS):
            for name in keys:
                found = dataset[row]
                assert found["layer"] == layer
                assert str(found[key]) == (name.partition("__")[0] if key == "ast_node" else name)
                assert found["n_prompts"] == file[f"n_prompts/{name}"][()]
                np.testing.assert_array_equal(found["activation_sum"], file[f"activations/layer_{layer}/{name}"])
                np.testing.assert_array_equal(found["firing_count"], file[f"firing_counts/layer_{layer}/{name}"])
                row += 1


@pytest.mark.parametrize("config", ["object_prompts", "checker_prompts", "token_checker_prompts"])
def test_prompts_are_those_of_the_file(atlas: Atlas, config: str) -> None:
    table = pq.read_table(atlas.folder / catalog.config("csp-atlas", config).file)
    assert load(atlas, config, split="train").to_list() == table.to_pylist()


@pytest.mark.parametrize(
    "config",
    [
        "summary",
        "modularity_detail",
        "token_independence_summary",
        "token_independence_detail",
        "token_independence_no_keyword",
    ],
)
def test_tables_are_those_of_the_file(atlas: Atlas, config: str) -> None:
    frame = pd.read_csv(atlas.folder / catalog.config("csp-atlas", config).file)
    assert load(atlas, config, split="train").to_list() == frame.to_dict("records")


def test_the_unnamed_column_of_the_scores_is_the_concept(atlas: Atlas) -> None:
    frame = pd.read_csv(atlas.folder / "relaxed_modularity_scores.csv", index_col=0)
    dataset = load(atlas, "modularity_scores", split="train")
    assert list(dataset["concept"]) == list(frame.index)
    for column in ("type", "p=0.0", "p=0.05", "p=0.1", "p=0.25"):
        assert list(dataset[column]) == frame[column].tolist()


def test_decomposition_cells_become_numbers(atlas: Atlas) -> None:
    frame = pd.read_csv(atlas.folder / "14_target_checker_eps0.1_cons0.5.csv", index_col="target")
    rows = iter(load(atlas, "target_checker_eps0.1_cons0.5", split="train"))
    for target, cells in frame.iterrows():
        for layer in range(N_LAYERS):
            row = next(rows)
            co, sh, to = (int(part) for part in cells[f"L{layer}"].split(" / "))
            assert (row["target"], row["layer"]) == (target, layer)
            assert (row["concept_only"], row["shared"], row["token_only"]) == (co, sh, to)
            assert row["concept_fraction"] == (co / (co + sh) if co + sh else 0.0)
    assert next(rows, None) is None


def test_similarities_are_the_jaccard_of_layer_four(atlas: Atlas) -> None:
    # Holds down: rows and columns of the matrices that follow another order than the two name lists.
    masks = {row["concept"]: set(row["active"]) for row in load(atlas, MASKS, split="universal") if row["layer"] == 4}
    rows = load(atlas, "mask_similarity_eps0.5_cons0.8", split="train").to_list()
    n_ast = sum(concept.startswith("ast__") for concept in masks)
    assert len(rows) == n_ast**2 + (len(masks) - n_ast) ** 2
    for row in rows:
        a, b = masks[row["concept_a"]], masks[row["concept_b"]]
        assert row["layer"] == 4
        assert row["concept_a"].startswith(row["kind"])
        assert row["concept_b"].startswith(row["kind"])
        assert row["jaccard"] == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0, abs=1e-12)


def test_concepts_count_the_pairs_behind_them(atlas: Atlas) -> None:
    rows = {row["concept"]: row for row in load(atlas, "concepts", split="train")}
    assert list(rows) == atlas.concepts
    for concept, row in rows.items():
        kind, name = concept.split("__", 1)
        members = [pair for pair in atlas.pairs if pair[kind == "builtin"] == name]
        assert (row["kind"], row["name"], row["n_pairs"]) == (kind, name, len(members))
        assert row["testable"] == (concept in atlas.testable) == (row["keyword"] is not None)
    assert rows["ast__While"]["keyword"] == "while"
    assert rows["builtin__list"]["keyword"] == "list"


def test_layers_follow_numeric_order(tmp_path: Path) -> None:
    # Holds down: layer_10 before layer_2, as names sort, and widths or layers taken for the published ones.
    small = write_atlas(tmp_path, pairs=[("For", "list"), ("For", "int")], n_prompts=4, width=48, n_layers=12)
    for config, split in (
        (MASKS, "universal"),
        ("object_activations", "train"),
        ("target_checker_eps0.1_cons0.2", "train"),
    ):
        streamed = [row["layer"] for row in load(small, config, split=split, streaming=True)]
        assert list(load(small, config, split=split)["layer"]) == streamed
        assert list(dict.fromkeys(streamed)) == list(range(12))
    dense = load(small, MASKS, split="pair", mask_format="dense")
    assert types_of(dense.features)["mask"] == "fixed_size_list<element: bool>[48]"
    assert {len(mask) for mask in dense["mask"]} == {48}


def test_slices_and_both_entry_points(atlas: Atlas) -> None:
    whole = load(atlas, MASKS, split="pair")
    quarter = load(atlas, MASKS, split="pair[:25%]")
    assert quarter.to_list() == whole.to_list()[: len(whole) // 4]
    ours = circuit_artifacts.load_dataset("csp-atlas", MASKS, data_root=str(atlas.folder), split="pair[-3:]")
    assert ours.to_list() == whole.to_list()[-3:]
    assert load(atlas, None, split="pair").to_list() == whole.to_list()  # the default config
