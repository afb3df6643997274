"""Memory that a conversion takes, at its peak, for a file of ten times as much."""

from __future__ import annotations

import resource
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from h5py import h5d, h5p, h5s, h5t

from benchmarks.harness import Row, at_most
from circuit_artifacts import catalog, provenance
from circuit_artifacts.formats.hdf5.write import create_hdf5
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources

__all__ = ["run"]

MIRROR = catalog.mirror("csp-atlas")
CONFIG = MIRROR.configs["token_checker_masks"]
LAYERS, MASKS, WIDTH = 2, 49_152, 1 << 16
MEGABYTE = 1e6


def run(work: Path) -> Iterator[Row]:
    """The peak memory of a process of its own.

    Args:
        work: folder for what is written.
    """
    path = _write_masks(work / "atlas")
    command = [sys.executable, "-m", "benchmarks.conversion", str(path.parent), str(work / "parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = float(done.stdout)
    yield Row(
        f"peak memory of a conversion, {LAYERS * MASKS:,} masks in {LAYERS} layers",
        f"{peak:.0f} MB resident, Python and libraries included",
        f"the masks: {LAYERS * MASKS * WIDTH / 1e9:.1f} GB",
        peak,
        "MB",
        at_most(600, "MB"),
    )


def _write_masks(folder: Path) -> Path:
    """A file of gigabytes of masks that is small on disk, because they are of few kinds and sparse."""
    folder.mkdir(parents=True)
    masks = np.zeros((64, WIDTH), bool)
    for row in range(len(masks)):
        masks[row, row :: row + 100] = True
    chunks = [zlib.compress(mask, 1) for mask in masks]
    record = provenance.Provenance(mirror=MIRROR.name, step="benchmark", n_layers=LAYERS, width=WIDTH)
    file_type, space = h5t.py_create(np.dtype(np.bool_), logical=True), h5s.create_simple((WIDTH,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk((WIDTH,))
    plist.set_deflate(1)
    with create_hdf5(folder / CONFIG.file) as file:
        file.attrs[provenance.KEY] = record.embedded()
        for layer in range(LAYERS):
            group = file.create_group(f"token_checker_masks/layer_{layer}")
            for number in range(MASKS):
                name = f"ast__{number:06}".encode()
                dataset = h5d.create(group.id, name, file_type, space, plist)
                dataset.write_direct_chunk((0,), chunks[number % len(chunks)])
    return folder / CONFIG.file


def _peak_of_conversion(folder: Path, out: Path) -> float:
    (file,) = convert(Sources(mirror=MIRROR, data_root=folder), out, [CONFIG])
    assert file.rows == LAYERS * MASKS
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


if __name__ == "__main__":
    print(_peak_of_conversion(Path(sys.argv[1]), Path(sys.argv[2])))
