"""The paper's loaders: keywords, return types and values of csp_atlas spec 1.9, against plain h5py and pandas."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from atlas_fixture import Atlas

from circuit_artifacts import csp_atlas
from circuit_artifacts.errors import MissingArtifactError, SchemaError, UnknownNameError

SETTING = "eps0.5_cons0.8"
OBJECT_FILE, CHECKER_FILE = f"13_object_masks_{SETTING}.h5", f"13_checker_masks_{SETTING}.h5"


def sets_in(path: Path, group: str) -> dict[str, dict[int, set[int]]]:
    with h5py.File(path) as file:
        return {
            key: {
                layer: set(np.flatnonzero(file[f"{group}/layer_{layer}/{key}"][:]).tolist())
                for layer in range(len(file[group]))
            }
            for key in file[f"{group}/layer_0"]
        }


@pytest.fixture
def root(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reached by the environment variable that the paper's code reads."""
    monkeypatch.setenv("CSP_ATLAS_DATA_ROOT", str(atlas.folder))
    return atlas.folder


@pytest.mark.parametrize(
    ("stage", "file", "group"),
    [("object", OBJECT_FILE, "universal_masks"), ("checker", CHECKER_FILE, "token_checker_masks")],
)
def test_universal_masks(root: Path, stage: str, file: str, group: str) -> None:
    expected = sets_in(root / file, group)
    found = csp_atlas.load_universal_masks(stage=stage)
    assert found == expected
    assert all(type(dimension) is int for layers in found.values() for s in layers.values() for dimension in s)
    arrays = csp_atlas.load_universal_masks_as_arrays(stage=stage)
    assert {c: {n: set(np.flatnonzero(m)) for n, m in layers.items()} for c, layers in arrays.items()} == expected
    mask = arrays["ast__While"][7]
    assert (mask.dtype, mask.shape) == (np.bool_, (2048,))


def test_other_settings(root: Path) -> None:
    found = csp_atlas.load_universal_masks(eps=0.001, cons=0.2)
    assert found == sets_in(root / "13_object_masks_eps0.001_cons0.2.h5", "universal_masks")
    with pytest.raises(UnknownNameError, match=r"eps=0\.5, cons=0\.9.*0\.5, 0\.8"):
        csp_atlas.load_universal_masks(cons=0.9)
    with pytest.raises(UnknownNameError, match="object, checker"):
        csp_atlas.load_universal_masks(stage="token")


def test_pair_masks(root: Path) -> None:
    expected = {tuple(key.split("__", 1)): layers for key, layers in sets_in(root / OBJECT_FILE, "pair_masks").items()}
    assert csp_atlas.load_pair_masks() == expected
    assert ("Break", "_isolated_") in expected
    third = csp_atlas.load_pair_masks(layer=3)
    assert third == {pair: {3: layers[3]} for pair, layers in expected.items()}
    for layer in (-1, 8):
        with pytest.raises(UnknownNameError, match=f"no layer {layer}"):
            csp_atlas.load_pair_masks(layer=layer)


@pytest.mark.parametrize(
    ("which", "file", "group"),
    [
        ("universal", OBJECT_FILE, "universal_masks"),
        ("pair", OBJECT_FILE, "pair_masks"),
        ("checker", CHECKER_FILE, "token_checker_masks"),
        ("token_checker", "token_checker_masks.h5", "token_checker_masks"),
    ],
)
def test_masks_as_one_array(root: Path, which: str, file: str, group: str) -> None:
    found = csp_atlas.masks_array(0.5, 0.8, which)
    masks, labels = found
    assert (masks.dtype, masks.shape) == (np.bool_, (len(labels), 8, 2048))
    assert labels == found.labels == sorted(labels)
    expected = sets_in(root / file, group)
    assert list(expected) == labels
    for label, layers in zip(labels, masks, strict=True):
        assert {n: set(np.flatnonzero(mask)) for n, mask in enumerate(layers)} == expected[label]
    with pytest.raises(UnknownNameError, match="universal, pair, checker, token_checker"):
        csp_atlas.masks_array(which="neither")


def test_inventory(root: Path, atlas: Atlas) -> None:
    nodes, builtins = csp_atlas.load_concept_inventory()
    assert [f"ast__{node}" for node in nodes] + [f"builtin__{name}" for name in builtins] == atlas.concepts
    with h5py.File(root / OBJECT_FILE) as file:
        assert nodes == [name.decode() for name in file["metadata/ast_nodes"]]


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("object", "11A_object_prompts.parquet"),
        ("checker", "11B_checker_prompts.parquet"),
        ("token_checker", "token_checker_prompts.parquet"),
    ],
)
def test_prompts(root: Path, kind: str, file: str) -> None:
    pd.testing.assert_frame_equal(csp_atlas.load_prompts(kind), pd.read_parquet(root / file))


def test_tables(root: Path) -> None:
    equal = pd.testing.assert_frame_equal
    equal(csp_atlas.load_summary(), pd.read_csv(root / "14_summary.csv"))
    target_checker = csp_atlas.load_target_checker(eps=0.1, cons=0.2)
    equal(target_checker, pd.read_csv(root / "14_target_checker_eps0.1_cons0.2.csv"))
    assert list(target_checker) == ["target", *(f"L{layer}" for layer in range(8))]
    equal(csp_atlas.load_modularity_scores(), pd.read_csv(root / "relaxed_modularity_scores.csv", index_col=0))
    equal(csp_atlas.load_modularity_scores(detail=True), pd.read_csv(root / "relaxed_modularity_detail.csv"))
    for kind in ("summary", "detail", "no_keyword"):
        equal(csp_atlas.load_token_independence(kind), pd.read_csv(root / f"token_independence_{kind}.csv"))


def test_signatures_are_those_of_the_paper() -> None:
    for name in csp_atlas.__all__:
        if not name.startswith("load_"):
            continue
        parameters = inspect.signature(getattr(csp_atlas, name)).parameters
        assert "data_root" in parameters
        for default in (("eps", 0.5), ("cons", 0.8), ("stage", "object")):
            if default[0] in parameters:
                assert parameters[default[0]].default == default[1]
                assert parameters[default[0]].kind is inspect.Parameter.KEYWORD_ONLY


def test_an_absent_layer_is_an_error_and_not_left_out(atlas: Atlas, tmp_path: Path) -> None:
    # Holds down: the original's silence (csp_atlas spec 1.9).
    shutil.copy(atlas.folder / OBJECT_FILE, tmp_path)
    with h5py.File(tmp_path / OBJECT_FILE, "r+") as file:
        del file["universal_masks/layer_2"]
    with pytest.raises(SchemaError, match="universal_masks: layer 2 is missing"):
        csp_atlas.load_universal_masks(data_root=tmp_path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"14_summary\.csv"):
        csp_atlas.load_summary(data_root=tmp_path)
    with pytest.raises(MissingArtifactError, match=OBJECT_FILE):
        csp_atlas.load_universal_masks(data_root=str(tmp_path))
