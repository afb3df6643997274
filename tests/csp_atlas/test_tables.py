"""Tables that are views of a file: decomposition cells, Jaccard matrices, concepts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from circuit_artifacts import catalog
from circuit_artifacts.csp_atlas.tables import read_target_checker
from circuit_artifacts.errors import MissingArtifactError, SchemaError
from circuit_artifacts.formats.reader import read_table

MIRROR = catalog.mirror("csp-atlas")
LAYERS = ",".join(f"L{layer}" for layer in range(8))


def table(config_name: str, path: Path) -> pa.Table:
    return read_table(MIRROR, catalog.config("csp-atlas", config_name), path)


def write_cells(path: Path, cells: list[list[str]], header: str = f"target,{LAYERS}") -> Path:
    path.write_text(header + "\n" + "".join(",".join(line) + "\n" for line in cells))
    return path


def test_cells_as_numbers(tmp_path: Path) -> None:
    path = write_cells(
        tmp_path / "14.csv", [["builtin__zip", *["3 / 1 / 0"] * 7, "0 / 0 / 9"], ["ast__If", *["0 / 4 / 2"] * 8]]
    )
    found = table("target_checker_eps0.5_cons0.8", path).to_pylist()
    assert [row["target"] for row in found] == ["builtin__zip"] * 8 + ["ast__If"] * 8  # the file's order
    assert [row["layer"] for row in found] == [*range(8), *range(8)]
    assert found[0] == {
        "target": "builtin__zip",
        "layer": 0,
        "concept_only": 3,
        "shared": 1,
        "token_only": 0,
        "concept_fraction": 0.75,
    }
    assert found[7]["concept_fraction"] == 0.0  # an empty circuit: 0, and not a division by zero
    assert found[8]["concept_fraction"] == 0.0


@pytest.mark.parametrize("cell", ["3/1/0", "3 / 1", "3 / 1 / 0 / 2", "-1 / 2 / 3", "a / b / c", "1.0 / 2 / 3", ""])
def test_other_cells_are_refused(tmp_path: Path, cell: str) -> None:
    path = write_cells(tmp_path / "14.csv", [["ast__If", *["0 / 4 / 2"] * 8], ["ast__For", cell, *["0 / 4 / 2"] * 7]])
    with pytest.raises(SchemaError) as caught:
        table("target_checker_eps0.5_cons0.8", path)
    assert caught.value.file == str(path)
    assert "ast__For" in str(caught.value)


def test_the_published_form_is_kept_as_text(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "14.csv", [["ast__If", "1 / 2 / 3", "NA"]], "target,L0,L1")
    assert read_target_checker(path).to_dict("list") == {"target": ["ast__If"], "L0": ["1 / 2 / 3"], "L1": ["NA"]}
    with pytest.raises(SchemaError, match=r"missing \['L2'"):
        read_target_checker(path, n_layers=8)
    with pytest.raises(MissingArtifactError):
        read_target_checker(tmp_path / "none.csv")


def write_masks(path: Path, nodes: list[str], builtins: list[str], pairs: list[str]) -> Path:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, values in (("ast_nodes", nodes), ("builtin_objs", builtins)):
            file.create_dataset(f"metadata/{name}", data=values, dtype=h5py.string_dtype())
        for name, size in (("jaccard_ast_matrix", len(nodes)), ("jaccard_builtin_matrix", len(builtins))):
            file.create_dataset(f"metrics/{name}", data=random.random((size, size)))
        for pair in pairs:
            file.create_dataset(f"pair_masks/layer_0/{pair}", data=np.zeros(2048, bool))
    return path


def test_matrices_row_by_row(tmp_path: Path) -> None:
    path = write_masks(tmp_path / "13.h5", ["For", "If"], ["_isolated_", "list", "zip"], [])
    found = table("mask_similarity_eps0.5_cons0.8", path).to_pylist()
    with h5py.File(path) as file:
        expected = [*file["metrics/jaccard_ast_matrix"][:].ravel(), *file["metrics/jaccard_builtin_matrix"][:].ravel()]
    assert [row["jaccard"] for row in found] == expected
    assert [(row["kind"], row["concept_a"], row["concept_b"]) for row in found[1:5]] == [
        ("ast", "ast__For", "ast__If"),
        ("ast", "ast__If", "ast__For"),
        ("ast", "ast__If", "ast__If"),
        ("builtin", "builtin___isolated_", "builtin___isolated_"),
    ]
    assert {row["layer"] for row in found} == {4}


def test_concepts(tmp_path: Path) -> None:
    pairs = ["For__list", "For__zip", "If__list", "Break___isolated_"]
    path = write_masks(tmp_path / "13.h5", ["Break", "For", "If", "Slice"], ["_isolated_", "list", "zip"], pairs)
    found = {row["concept"]: row for row in table("concepts", path).to_pylist()}
    assert {concept: row["n_pairs"] for concept, row in found.items()} == {
        "ast__Break": 1,
        "ast__For": 2,
        "ast__If": 1,
        "ast__Slice": 0,
        "builtin___isolated_": 1,
        "builtin__list": 2,
        "builtin__zip": 1,
    }
    assert found["ast__Slice"]["keyword"] is None
    assert not found["ast__Slice"]["testable"]
    assert found["builtin___isolated_"]["name"] == "_isolated_"
    assert found["builtin__zip"]["keyword"] == "zip"


@pytest.mark.parametrize("nodes", [["A__b"], [""]])
@pytest.mark.parametrize("config", ["concepts", "mask_similarity_eps0.5_cons0.8"])
def test_names_that_make_no_key_are_located(tmp_path: Path, nodes: list[str], config: str) -> None:
    path = write_masks(tmp_path / "13.h5", nodes, ["list"], ["For__list"])
    if nodes == ["A__b"]:
        assert table(config, path).num_rows > 0  # a name may hold the separator: the kind is before the first
        return
    with pytest.raises(SchemaError) as caught:
        table(config, path)
    assert caught.value.file == str(path)
