"""Files of stages 12 and 13 against files that plain h5py writes by csp_atlas spec 1.3-1.6."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from circuit_artifacts import provenance
from circuit_artifacts.compute.csp.layout import (
    read_activations,
    read_setting,
    write_activations,
    write_checker_masks,
    write_object_masks,
)
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.reader import Shape

LAYERS, WIDTH = 6, 40
PAIRS = [("Break", "_isolated_"), ("For", "dict"), ("For", "list"), ("While", "list")]
CONCEPTS = ["ast__Break", "builtin__list"]
RECORD = provenance.Provenance(mirror="csp-atlas", step="test", n_layers=LAYERS, width=WIDTH)
SHAPE = Shape(LAYERS, WIDTH)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.atomic._synchronise", lambda _: None)


def _statistics(n: int, *, thresholds: tuple[float, ...] = ()) -> ActivationStatistics:
    random = np.random.default_rng(0)
    count = random.integers(0, 51, (n, LAYERS, WIDTH)).astype(np.int32)
    exceedance = np.stack([count // (2 + i) for i in range(len(thresholds))]) if thresholds else None
    sums = (count * random.random(count.shape)).astype(np.float32)
    return ActivationStatistics(sums, count, np.arange(50, 50 - n, -1), exceedance, thresholds)


def _masks(n: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.random.default_rng(1).random((n, LAYERS, WIDTH)) < 0.6


def _description(path: Path) -> dict[str, Any]:
    """Everything that a reader can see of a file, but the provenance."""
    found: dict[str, Any] = {}

    def attributes(node: h5py.HLObject) -> dict[str, Any]:
        return {
            name: (repr(value), str(node.attrs.get_id(name).dtype), node.attrs.get_id(name).shape)
            for name, value in node.attrs.items()
            if name != provenance.KEY
        }

    def visit(name: str, node: h5py.HLObject) -> None:
        found[name] = {"attributes": attributes(node), "type": type(node).__name__}
        if isinstance(node, h5py.Dataset):
            text = h5py.check_string_dtype(node.dtype)
            found[name] |= {
                "dtype": node.dtype.str if text is None else text,
                "enum": h5py.check_enum_dtype(node.dtype),
                "file type": node.id.get_type().get_class(),
                "shape": node.shape,
                "chunks": node.chunks,
                "compression": (node.compression, node.compression_opts),
                "filters": (node.shuffle, node.fletcher32, node.scaleoffset),
                "maximum": node.maxshape,
                "value": np.asarray(node[()]).tolist(),
            }

    with h5py.File(path) as file:
        file.visititems(visit)
        found["/"] = attributes(file)
    return found


def _vectors(file: h5py.File, group: str, keys: list[str], values: np.ndarray[Any, Any]) -> None:
    for layer in range(LAYERS):
        for key, row in zip(keys, values[:, layer], strict=True):
            file.create_dataset(f"{group}/layer_{layer}/{key}", data=row, compression="gzip", compression_opts=4)


def _names(file: h5py.File) -> None:
    for name, values in (("ast_nodes", ["Break", "For", "While"]), ("builtin_objs", ["_isolated_", "dict", "list"])):
        file.create_dataset(f"metadata/{name}", data=values, dtype=h5py.string_dtype("utf-8"))


def _jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


@pytest.mark.parametrize("objects", [True, False], ids=["object", "checker"])
def test_activations_are_as_plain_h5py_writes_them(tmp_path: Path, objects: bool) -> None:
    keys = [f"{node}__{builtin}" for node, builtin in PAIRS] if objects else CONCEPTS
    statistics = _statistics(len(keys))
    write_activations(
        tmp_path / "ours.h5",
        keys,
        statistics,
        RECORD,
        model_id="tiny",
        input_file="11A.parquet",
        pairs=PAIRS if objects else None,
    )
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        _vectors(file, "activations", keys, statistics.activation_sum)
        _vectors(file, "firing_counts", keys, statistics.firing_count)
        for key, number in zip(keys, statistics.n_prompts, strict=True):
            file[f"n_prompts/{key}"] = int(number)
        metadata = file.create_group("metadata")
        metadata.attrs["model_id"], metadata.attrs["input_file"] = "tiny", "11A.parquet"
        metadata.attrs["n_layers"], metadata.attrs["n_pairs"] = LAYERS, len(keys)
        if objects:
            _names(file)
    assert _description(tmp_path / "ours.h5") == _description(tmp_path / "plain.h5")


def test_object_masks_are_as_plain_h5py_writes_them(tmp_path: Path) -> None:
    masks = _masks(4)
    write_object_masks(tmp_path / "ours.h5", PAIRS, masks, RECORD, eps=0.5, cons=0.8)
    universal = {
        "ast__Break": masks[0],
        "ast__For": masks[1] & masks[2],
        "ast__While": masks[3],
        "builtin___isolated_": masks[0],
        "builtin__dict": masks[1],
        "builtin__list": masks[2] & masks[3],
    }
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        _vectors(file, "pair_masks", [f"{node}__{builtin}" for node, builtin in PAIRS], masks)
        _vectors(file, "universal_masks", list(universal), np.stack(list(universal.values())))
        for kind in ("ast", "builtin"):
            active = [set(np.flatnonzero(m[4]).tolist()) for name, m in universal.items() if name.startswith(kind)]
            file[f"metrics/jaccard_{kind}_matrix"] = np.array([[_jaccard(a, b) for b in active] for a in active])
        metadata = file.create_group("metadata")
        metadata.attrs["epsilon"], metadata.attrs["consistency_thresh"] = 0.5, 0.8
        metadata.attrs["n_pairs"], metadata.attrs["n_layers"] = 4, LAYERS
        _names(file)
    assert _description(tmp_path / "ours.h5") == _description(tmp_path / "plain.h5")
    assert read_setting(tmp_path / "ours.h5") == (0.5, 0.8)


@pytest.mark.parametrize("token_checker", [False, True], ids=["13_checker", "token_checker"])
def test_checker_masks_are_as_plain_h5py_writes_them(tmp_path: Path, token_checker: bool) -> None:
    masks = _masks(2)
    more: dict[str, Any] = {}
    if token_checker:
        more = {
            "more_attributes": {"n_prompts_per_object": 50, "categories": "A_string,B_comment"},
            "n_valid": {"ast__Break": 50, "builtin__list": 48},
        }
    write_checker_masks(tmp_path / "ours.h5", CONCEPTS, masks, RECORD, eps=0.001, cons=0.2, **more)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        _vectors(file, "token_checker_masks", CONCEPTS, masks)
        metadata = file.create_group("metadata")
        metadata.attrs["epsilon"], metadata.attrs["consistency_threshold"] = 0.001, 0.2
        if token_checker:
            metadata.attrs["n_prompts_per_object"], metadata.attrs["categories"] = 50, "A_string,B_comment"
            statistics = file.create_group("generation_stats")
            statistics.attrs["ast__Break_n_valid"], statistics.attrs["builtin__list_n_valid"] = 50, 48
    assert _description(tmp_path / "ours.h5") == _description(tmp_path / "plain.h5")
    assert read_setting(tmp_path / "ours.h5") == (0.001, 0.2)


@pytest.mark.parametrize("thresholds", [(), (0.001, 0.1, 0.5), (2.0, 10.0)])
def test_activations_come_back_as_they_were(tmp_path: Path, thresholds: tuple[float, ...]) -> None:
    # 10.0 sorts before 2.0 as text; counts must stay with their threshold.
    keys, statistics = [f"{node}__{builtin}" for node, builtin in PAIRS], _statistics(4, thresholds=thresholds)
    path = tmp_path / "12.h5"
    write_activations(path, keys, statistics, RECORD, model_id="tiny", input_file="x", pairs=PAIRS)
    found_keys, found = read_activations(path, SHAPE)
    assert found_keys == keys
    assert found.thresholds == thresholds
    for name in ("activation_sum", "firing_count", "n_prompts", "exceedance_count"):
        np.testing.assert_array_equal(getattr(found, name), getattr(statistics, name), err_msg=name)
    assert (found.activation_sum.dtype, found.firing_count.dtype, found.n_prompts.dtype) == ("f4", "i4", "i8")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        keys = [f"{node}__{builtin}" for node, builtin in PAIRS]
        write_activations(
            tmp_path / folder / "12.h5", keys, _statistics(4), RECORD, model_id="m", input_file="x", pairs=PAIRS
        )
        write_object_masks(tmp_path / folder / "13.h5", PAIRS, _masks(4), RECORD, eps=0.5, cons=0.8)
    for name in ("12.h5", "13.h5"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# The strings are the last thing that goes into the file, the bytes the last that goes to the disk.
@pytest.mark.parametrize("place", ["circuit_artifacts.compute.csp.layout.write_strings", "pathlib.Path.write_bytes"])
def test_a_full_disk_leaves_neither_file_nor_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(place, _full)
        write_object_masks(tmp_path / "13.h5", PAIRS, _masks(4), RECORD, eps=0.5, cons=0.8)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_survives_a_failed_rewrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "13.h5"
    write_object_masks(path, PAIRS, _masks(4), RECORD, eps=0.5, cons=0.8)
    before = path.read_bytes()
    monkeypatch.setattr("circuit_artifacts.compute.csp.layout.write_strings", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_object_masks(path, PAIRS, ~_masks(4), RECORD, eps=0.1, cons=0.2)
    assert path.read_bytes() == before


def test_counts_of_other_groups_than_the_sums_are_refused(tmp_path: Path) -> None:
    keys, path = ["a__b", "a__c"], tmp_path / "12.h5"
    write_activations(path, keys, _statistics(2), RECORD, model_id="m", input_file="x")
    with h5py.File(path, "r+") as file:
        for layer in range(LAYERS):
            file[f"firing_counts/layer_{layer}"].move("a__c", "a__d")
    with pytest.raises(SchemaError, match="different keys"):
        read_activations(path, SHAPE)


def test_a_mask_file_without_a_setting_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "13.h5", "w") as file:
        file.create_group("metadata").attrs["epsilon"] = 0.5
    with pytest.raises(SchemaError, match="no setting"):
        read_setting(tmp_path / "13.h5")
