"""Files that are not as declared: one located error, the same from a stream, a prepared table and a reader."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from atlas_fixture import Atlas

import circuit_artifacts
from circuit_artifacts import catalog, csp_atlas
from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SchemaError
from circuit_artifacts.formats.reader import read_table

MASKS = "masks_eps0.5_cons0.8"
PAIR = "pair_masks/layer_3/For__list"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def replace_by(path: Path, place: str, data: Any, **storage: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[place]
        if data is not None:
            file.create_dataset(place, data=data, **storage)


def narrow(path: Path) -> None:
    replace_by(path, PAIR, np.zeros(2047, bool), compression="gzip")


def as_float(path: Path) -> None:
    replace_by(path, PAIR, np.zeros(2048, np.float32), compression="gzip")


def without_layer(path: Path) -> None:
    replace_by(path, "pair_masks/layer_5", None)


def one_layer_too_many(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.copy("pair_masks/layer_5", "pair_masks/layer_8")


def without_pair(path: Path) -> None:
    replace_by(path, PAIR, None)


def renamed_in_one_layer(path: Path) -> None:
    """As many keys as in the other layers, but not the same ones."""
    with h5py.File(path, "r+") as file:
        file.move(PAIR, PAIR.replace("For__list", "For__lists"))


def without_group(path: Path) -> None:
    replace_by(path, "pair_masks", None)


def without_separator(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for layer in range(8):
            file.move(f"pair_masks/layer_{layer}/For__list", f"pair_masks/layer_{layer}/Forlist")


def contradicted(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["metadata"].attrs["epsilon"] = 0.1


def not_hdf5(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def other_value_of_a_mask(path: Path) -> None:
    replace_by(path, PAIR, np.full(2048, 2, np.uint8), compression="gzip")


def change_text(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def change_column(name: str, values: Callable[[pa.Table], Any]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(table.set_column(table.column_names.index(name), name, values(table)), path)

    return change


def with_null(table: pa.Table) -> pa.Array:
    return pa.array([*table["keyword"].to_pylist()[:-1], None])


def as_text(table: pa.Table) -> pa.Array:
    return pa.array([f"number {value}" for value in table["variation_id"].to_pylist()])


def cut_cell(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(" / ", " / x", 1)
    path.write_text("\n".join(lines))


def without_names(path: Path) -> None:
    replace_by(path, "metadata/builtin_objs", None)


def fewer_names(path: Path) -> None:
    replace_by(path, "metadata/ast_nodes", ["For", "While"])


def text_in_the_matrix(path: Path) -> None:
    replace_by(path, "metrics/jaccard_ast_matrix", ["0.5", "1.0"])


HDF5 = [
    (truncate, FormatError, "truncated"),
    (not_hdf5, FormatError, ""),
    (narrow, SchemaError, r"layer_3/For__list.*2047.*2048"),
    (as_float, SchemaError, r"layer_3/For__list.*float32.*bool"),
    (other_value_of_a_mask, SchemaError, r"layer_3/For__list.*not booleans"),
    (without_layer, SchemaError, r"pair_masks: layer 5 is missing"),
    (one_layer_too_many, SchemaError, r"pair_masks: there are more layers"),
    (without_pair, SchemaError, r"layer_3.*other keys.*For__list"),
    (renamed_in_one_layer, SchemaError, r"layer_3.*other keys.*For__list"),
    (without_group, SchemaError, "pair_masks"),
    (without_separator, SchemaError, r"Forlist.*\{ast_node\}__\{builtin_obj\}"),
    (contradicted, SchemaError, r"/metadata@epsilon.*found 0\.1.*expected 0\.5"),
]
TABLES = [
    ("summary", change_text("n_ast", "n_nodes"), SchemaError, r"header.*missing \['n_ast'\] and unexpected"),
    ("summary", change_text("\n0.001,", "\nsmall,"), SchemaError, "small"),
    ("modularity_scores", change_text("ast__", ""), None, ""),  # any text is a name
    ("modularity_detail", change_text(",0,0.0,", ",zero,0.0,"), SchemaError, "zero"),
    ("modularity_detail", change_text(",0,0.0,", ",,0.0,"), SchemaError, "layer, row 0.*null"),
    ("target_checker_eps0.5_cons0.8", cut_cell, SchemaError, ""),
    ("target_checker_eps0.5_cons0.8", change_text(",L7", ",L8"), SchemaError, "L7"),
    ("checker_prompts", change_column("keyword", with_null), SchemaError, r"keyword, row \d+.*null"),
    ("checker_prompts", change_column("variation_id", as_text), SchemaError, r"variation_id.*int64"),
    ("checker_prompts", truncate, FormatError, "truncated"),
    ("concepts", without_names, SchemaError, "builtin_objs"),
    ("concepts", without_separator, SchemaError, "Forlist"),
    ("concepts", truncate, FormatError, "truncated"),
    ("mask_similarity_eps0.5_cons0.8", without_names, SchemaError, "builtin_objs"),
    ("mask_similarity_eps0.5_cons0.8", fewer_names, SchemaError, r"jaccard_ast_matrix.*expected float64 \(2, 2\)"),
    ("mask_similarity_eps0.5_cons0.8", text_in_the_matrix, SchemaError, r"jaccard_ast_matrix.*not of numbers"),
    ("object_prompts", not_hdf5, FormatError, "not of its format"),
]


def everywhere(folder: Path, config_name: str, split: str, error: type[Exception] | None, pattern: str) -> None:
    """The three ways to the rows must end alike."""
    config = catalog.config("csp-atlas", config_name)
    options: dict[str, Any] = {"data_root": str(folder), "split": split}
    ways: list[Callable[[], Any]] = [
        lambda: list(datasets.load_dataset("csp-atlas", config_name, streaming=True, **options)),
        lambda: datasets.load_dataset("csp-atlas", config_name, **options),
        lambda: circuit_artifacts.load_dataset("csp-atlas", config_name, **options),
        lambda: read_table(catalog.mirror("csp-atlas"), config, folder / config.file, split),
    ]
    messages = set()
    for way in ways:
        if error is None:
            way()
            continue
        with pytest.raises(CircuitArtifactsError, match=f"(?s){pattern}") as caught:
            way()
        assert type(caught.value) is error
        assert Path(str(caught.value.file)).name == config.file
        messages.add(str(caught.value))
    assert len(messages) <= 1


@pytest.mark.parametrize(("spoil", "error", "pattern"), HDF5, ids=[case[0].__name__ for case in HDF5])
def test_hdf5(
    atlas: Atlas, tmp_path: Path, spoil: Callable[[Path], None], error: type[Exception], pattern: str
) -> None:
    path = tmp_path / catalog.config("csp-atlas", MASKS).file
    shutil.copy(atlas.folder / path.name, path)
    spoil(path)
    everywhere(tmp_path, MASKS, "pair", error, pattern)
    with pytest.raises(error) as caught:
        csp_atlas.load_pair_masks(data_root=tmp_path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(("config", "spoil", "error", "pattern"), TABLES)
def test_tables(
    atlas: Atlas,
    tmp_path: Path,
    config: str,
    spoil: Callable[[Path], None],
    error: type[Exception] | None,
    pattern: str,
) -> None:
    path = tmp_path / catalog.config("csp-atlas", config).file
    shutil.copy(atlas.folder / path.name, path)
    spoil(path)
    everywhere(tmp_path, config, "train", error, pattern)


def test_errors_survive_several_processes(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / catalog.config("csp-atlas", MASKS).file
    shutil.copy(atlas.folder / path.name, path)
    narrow(path)
    with pytest.raises(SchemaError, match=r"layer_3/For__list.*2047"):
        datasets.load_dataset("csp-atlas", MASKS, data_root=str(tmp_path), num_proc=2)


def test_a_spoiled_half_leaves_the_other_split_readable_in_a_stream(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / catalog.config("csp-atlas", MASKS).file
    shutil.copy(atlas.folder / path.name, path)
    narrow(path)
    streams = datasets.load_dataset("csp-atlas", MASKS, data_root=str(tmp_path), streaming=True)
    assert len(list(streams["universal"])) == 8 * len(atlas.concepts)
    with pytest.raises(SchemaError):
        list(streams["pair"])
