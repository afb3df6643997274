"""Reading the masks of one file: HDF5, converted parquet, streaming (rows 1-3 of the table)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import datasets
import h5py
import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness import Row, Side, at_least, at_most, compare
from benchmarks.synthetic import CONFIG, LAYERS, MIRROR, PAIRS, write_old_style_masks
from circuit_artifacts import load_dataset
from circuit_artifacts.csp_atlas import load_pair_masks, masks_array
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources

__all__ = ["run"]

Masks = dict[tuple[str, str], dict[int, set[int]]]


def run(work: Path) -> Iterator[Row]:
    """All rows about one mask file of full size.

    Args:
        work: folder for what is written.
    """
    atlas, parquet = work / "atlas", work / "parquet"
    path = write_old_style_masks(atlas)
    files = convert(Sources(mirror=MIRROR, data_root=atlas), parquet, [CONFIG])
    pairs = next(file.path for file in files if file.split == "pair")
    chunks = _compressed_chunks(path)

    paper = Side("the paper's way, h5py and sets of ints", lambda: paper_loader(path))
    array = Side("`masks_array`", lambda: masks_array(0.5, 0.8, "pair", data_root=atlas))
    sets = Side("`load_pair_masks`, the same sets", lambda: load_pair_masks(eps=0.5, cons=0.8, data_root=atlas))
    inflate = Side("zlib on the same chunks in memory", lambda: [zlib.decompress(chunk) for chunk in chunks])
    arrow = Side("parquet as Arrow lists", lambda: pq.read_table(pairs, columns=["ast_node", "layer", "active"]))
    work_name = f"{len(PAIRS) * LAYERS:,} pair masks"
    yield compare(f"{work_name} from HDF5", array, paper, at_least(4))
    yield compare(f"{work_name} from HDF5", array, inflate, at_most(5))
    yield compare(f"{work_name} from HDF5", sets, paper)
    yield compare(f"{work_name} from converted parquet", arrow, paper, at_least(150))
    size, hdf5_size = sum(file.path.stat().st_size for file in files), path.stat().st_size
    yield Row(
        "bytes of one mask config",
        f"parquet, both splits: {size / 1e6:.2f} MB",
        f"HDF5: {hdf5_size / 1e6:.1f} MB",
        100 * size / hdf5_size,
        "%",
        at_most(6, "%"),
    )

    ours = load_dataset("csp-atlas", CONFIG.name, split="pair", streaming=True, data_root=str(atlas))
    stock = datasets.load_dataset(str(parquet), CONFIG.name, split="pair", cache_dir=str(work / "cache"))
    stock_stream = datasets.load_dataset(str(parquet), CONFIG.name, split="pair", streaming=True)
    mapped = Side("stock map-style, the converted parquet", lambda: _count(stock))
    streams = (
        Side("`streaming=True`, straight from HDF5", lambda: _count(ours)),
        Side("stock `streaming=True`, converted parquet", lambda: _count(stock_stream)),
    )
    for stream in streams:
        yield compare(f"rows of {work_name}, one by one", stream, mapped, at_least(0.8), rounds=3)


def paper_loader(path: Path) -> Masks:
    """Pair masks as sets of active dimensions, one h5py dataset after the other (csp_atlas spec 1.9)."""
    masks: Masks = {}
    with h5py.File(path, "r") as file:
        for layer in range(LAYERS):
            group = file[f"pair_masks/layer_{layer}"]
            for key in group:
                node, _, builtin = key.partition("__")
                masks.setdefault((node, builtin), {})[layer] = set(np.where(group[key][:])[0].tolist())
    return masks


def _compressed_chunks(path: Path) -> list[bytes]:
    chunks: list[bytes] = []
    with h5py.File(path, "r") as file:
        for layer in range(LAYERS):
            for dataset in file[f"pair_masks/layer_{layer}"].values():
                chunks.append(dataset.id.read_direct_chunk((0,))[1])  # noqa: PERF401 - two loops read better
    return chunks


def _count(rows: datasets.Dataset | datasets.IterableDataset) -> int:
    return sum(1 for _ in rows)
