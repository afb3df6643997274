"""Masks as lists and as arrays, keys as columns, layers as shards."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from circuit_artifacts import catalog
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.hdf5 import leaves, open_hdf5
from circuit_artifacts.formats.hdf5.leaves import (
    LeafReader,
    active_dimensions,
    check_setting,
    layered_groups,
    read_layers,
    split_key,
)
from circuit_artifacts.formats.reader import Request, Shape
from circuit_artifacts.schemas.csp_vocabulary import CONCEPTS, attempted_pairs, pair_key, split_concept

masks_of_any_shape = arrays.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(0, 40)))
PAIR = "pair_masks/layer_{layer}/{ast_node}__{builtin_obj}"


@given(masks_of_any_shape)
def test_lists_hold_the_active_dimensions(masks: npt.NDArray[np.bool_]) -> None:
    lists = active_dimensions(masks)
    assert lists.type == pa.list_(pa.uint16())
    assert lists.to_pylist() == [np.flatnonzero(mask).tolist() for mask in masks]
    back = np.zeros_like(masks)
    for row, active in enumerate(lists.to_pylist()):
        back[row, active] = True
    np.testing.assert_array_equal(back, masks)


def test_the_last_dimension_of_a_wide_model_fits() -> None:
    mask = np.zeros((1, 2**16), bool)
    mask[0, [0, -1]] = True
    assert active_dimensions(mask).to_pylist() == [[0, 2**16 - 1]]


@pytest.fixture
def file(tmp_path: Path) -> h5py.File:
    with h5py.File(tmp_path / "toy.h5", "w") as opened:
        yield opened


def test_every_published_key_can_be_split(file: h5py.File) -> None:
    for node, builtin in attempted_pairs():
        assert split_key(PAIR, pair_key(node, builtin), file) == {"ast_node": node, "builtin_obj": builtin}
    for concept in CONCEPTS:
        kind, name = split_concept(concept)
        assert split_key("masks/layer_{layer}/{kind}__{name}", concept, file) == {"kind": kind, "name": name}


@pytest.mark.parametrize("key", ["For", "For_list", "__list", "For__", "", "__"])
def test_keys_of_another_form_are_refused(file: h5py.File, key: str) -> None:
    with pytest.raises(SchemaError, match="the key is not of its form") as caught:
        split_key(PAIR, key, file)
    assert caught.value.file == file.filename
    assert caught.value.found == repr(key)


@given(
    st.text("abcXYZ_", min_size=1, max_size=6).filter(lambda s: "__" not in s and s[-1] != "_"),
    st.text("abcXYZ_\n.", min_size=1, max_size=9),
)
def test_the_first_separator_splits(first: str, second: str) -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as memory:
        assert split_key(PAIR, f"{first}__{second}", memory) == {"ast_node": first, "builtin_obj": second}


def write_layers(path: Path, masks: npt.NDArray[np.bool_], keys: list[str], group: str = "pair_masks") -> None:
    with h5py.File(path, "w") as opened:
        for layer in range(masks.shape[1]):
            for key, mask in zip(keys, masks[:, layer], strict=True):
                opened.create_dataset(f"{group}/layer_{layer}/{key}", data=mask, compression="gzip")


def test_arrays_follow_keys_and_numeric_layers(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 12, 17)) < 0.3
    keys = ["b__x", "a__y", "B__z"]
    write_layers(tmp_path / "toy.h5", masks, keys)
    names, found = read_layers(tmp_path / "toy.h5", "pair_masks", dtype=np.bool_, shape=Shape(12, 17))
    assert names == ["B__z", "a__y", "b__x"]
    np.testing.assert_array_equal(found, masks[[2, 1, 0]])


def test_layers_with_other_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    write_layers(path, np.ones((2, 3, 5), bool), ["a__x", "b__y"])
    with h5py.File(path, "r+") as opened:
        opened.move("pair_masks/layer_2/a__x", "pair_masks/layer_2/c__x")
    with pytest.raises(SchemaError, match=r"layer_2.*without \['a__x'\]"):
        read_layers(path, "pair_masks", dtype=np.bool_, shape=Shape(3, 5))
    with h5py.File(path, "r+") as opened:
        opened["pair_masks/layer_2/a__x"] = np.ones(5, bool)
    with pytest.raises(SchemaError, match=r"layer_2.*also \['c__x'\]"):
        read_layers(path, "pair_masks", dtype=np.bool_, shape=Shape(3, 5))


def test_the_file_says_how_many_layers_it_has(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    write_layers(path, np.ones((1, 2, 5), bool), ["a__x"])
    with open_hdf5(path) as opened, pytest.raises(SchemaError, match="layer 2 is missing"):
        layered_groups(opened, "pair_masks", 8)
    with h5py.File(path, "r+") as opened:
        opened.create_group("metadata").attrs["n_layers"] = 2
    _, masks = read_layers(path, "pair_masks", dtype=np.bool_, shape=Shape(8, 5))
    assert masks.shape == (1, 2, 5)


@pytest.mark.parametrize("name", ["consistency_thresh", "consistency_threshold"])
def test_both_names_of_the_attribute_are_checked(file: h5py.File, name: str) -> None:
    config = catalog.config("csp-atlas", "masks_eps0.5_cons0.8")
    check_setting(file, config)  # no metadata says nothing
    metadata = file.create_group("metadata")
    check_setting(file, config)
    metadata.attrs["epsilon"] = np.float32(0.5)
    metadata.attrs[name] = np.float32(0.8)  # 0.800000012: written in single precision, still the same setting
    check_setting(file, config)
    metadata.attrs[name] = 0.5
    with pytest.raises(SchemaError, match=f"/metadata@{name}.*found 0.5, expected 0.8"):
        check_setting(file, config)


def test_an_attribute_that_is_no_number_is_a_contradiction(file: h5py.File) -> None:
    file.create_group("metadata").attrs["epsilon"] = "high"
    with pytest.raises(SchemaError, match="/metadata@epsilon"):
        check_setting(file, catalog.config("csp-atlas", "masks_eps0.5_cons0.8"))


def test_n_layers_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    write_layers(path, np.ones((1, 2, 5), bool), ["a__x"])
    with h5py.File(path, "r+") as opened:
        opened.create_group("metadata").attrs["n_layers"] = "two"
    with pytest.raises(SchemaError, match="/metadata@n_layers"):
        read_layers(path, "pair_masks", dtype=np.bool_, shape=Shape(2, 5))


def test_tables_of_a_large_layer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of gigabytes must not be held whole; the rows stay the same, and links are listed once per layer."""
    mirror, masks = catalog.mirror("csp-atlas"), np.random.default_rng(0).random((7, 2, 2048)) < 0.04
    config = mirror.configs["token_checker_masks"]
    keys = [f"ast__{letter}" for letter in "ABCDEFG"]
    write_layers(tmp_path / config.file, masks, keys, "token_checker_masks")
    with h5py.File(tmp_path / config.file, "r+") as opened:
        opened.create_group("metadata").attrs["n_layers"] = 2
    reader = LeafReader(Request(mirror=mirror, config=config, split=config.family.splits[0]))
    (whole,) = reader.tables(tmp_path / config.file, 1)
    for limit, value, lengths in (("_TABLE_BYTES", 3 * 2048 + 1, [3, 3, 1]), ("_TABLE_ROWS", 4, [4, 3])):
        with monkeypatch.context() as limited:
            limited.setattr(leaves, limit, value)
            listed = mock.Mock(side_effect=leaves.links_of)
            limited.setattr(leaves, "links_of", listed)
            tables = list(reader.tables(tmp_path / config.file, 1))
        assert [len(table) for table in tables] == lengths
        assert pa.concat_tables(tables).equals(whole)
        assert listed.call_count == 1
    assert whole["active"].to_pylist() == [np.flatnonzero(mask).tolist() for mask in masks[:, 1]]


def test_schema_without_a_file_is_that_of_the_published_width() -> None:
    mirror, config = catalog.mirror("csp-atlas"), catalog.config("csp-atlas", "masks_eps0.5_cons0.8")
    dense = LeafReader(Request(mirror=mirror, config=config, split=config.family.splits[1], mask_format="dense"))
    assert dense.schema(None).field("mask").type == pa.list_(pa.bool_(), 2048)
    assert dense.schema(None).names == ["ast_node", "builtin_obj", "layer", "size", "mask"]
