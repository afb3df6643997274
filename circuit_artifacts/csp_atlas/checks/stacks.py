"""Reading one group of vectors of an HDF5 file, with every fault in it listed."""

from __future__ import annotations

from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from circuit_artifacts.csp_atlas.checks.contents import error, limited
from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.formats.hdf5 import child_names, layer_groups, open_group, read_vectors
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.validation import Finding

__all__ = ["check_keys", "read_stack"]

_SEPARATOR = "__"


def read_stack(
    file: h5py.File, path: str, *, dtype: npt.DTypeLike, shape: Shape, known: Collection[str]
) -> Generator[Finding, None, tuple[list[str], npt.NDArray[Any]] | None]:
    """Read the vectors below ``<path>/layer_*``, yielding a finding for each fault.

    Args:
        file: an open file.
        path: a group, for example ``pair_masks``.
        dtype: of the vectors.
        shape: layers and width that are expected.
        known: the keys that may occur.

    Returns:
        Keys in ASCII order and an array (key, layer, width), or None if there was a fault.
    """
    name = Path(file.filename).name
    try:
        groups = layer_groups(open_group(file, path))
        keys_by_layer = {layer: child_names(group) for layer, group in groups.items()}
    except CircuitArtifactsError as fault:
        yield Finding.of(fault, "layout", name)
        return None
    faults = [
        error("layers", name, f"/{path}/layer_{layer}", f"layer {layer} is missing, expected {shape.n_layers} layers")
        for layer in sorted(set(range(shape.n_layers)) - groups.keys())
    ]
    faults += [
        error("layers", name, f"/{path}/layer_{layer}", f"this layer is beyond the expected {shape.n_layers}")
        for layer in sorted(groups.keys() - set(range(shape.n_layers)))
    ]
    yield from faults
    keys = sorted(set().union(*keys_by_layer.values()))
    for layer, found in keys_by_layer.items():
        absent = sorted(set(keys) - set(found))
        if absent:
            message = f"{len(absent)} of the {len(keys)} keys of the other layers are missing here: {absent[:3]}"
            faults.append(error("keys", name, f"/{path}/layer_{layer}", message))
            yield faults[-1]
    faults += yield from check_keys(name, f"/{path}/layer_{min(groups, default=0)}", keys, known)
    bad: list[CircuitArtifactsError] = []
    stack = np.empty((len(keys), len(groups), shape.width), dtype)
    row_of = {key: row for row, key in enumerate(keys)}
    for index, (layer, group) in enumerate(groups.items()):
        rows = [row_of[key] for key in keys_by_layer[layer]]
        stack[rows, index] = read_vectors(
            group, keys_by_layer[layer], dtype=dtype, width=shape.width, on_error=bad.append
        )
    yield from limited([Finding.of(fault, "vector", name) for fault in bad])
    if not keys and not faults:
        yield error("keys", name, f"/{path}", "the layers are empty")
    return None if faults or bad or not keys else (keys, stack)


def check_keys(
    file: str, where: str, keys: list[str], known: Collection[str]
) -> Generator[Finding, None, list[Finding]]:
    """Check that keys name two things, and things of the vocabulary; gives the findings back, too."""
    malformed = [key for key in keys if not all(key.partition(_SEPARATOR))]
    strange = sorted(set(keys) - set(known) - set(malformed))
    faults = list(
        limited(
            [
                error("key-form", file, f"{where}/{key}", f"{key!r} does not name two things around __")
                for key in malformed
            ]
        )
    )
    faults += limited(
        [error("vocabulary", file, f"{where}/{key}", f"{key} is not of the vocabulary") for key in strange]
    )
    yield from faults
    return faults
