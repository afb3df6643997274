"""The published layout of the ``12_*`` and ``13_*`` HDF5 files, written from arrays (csp_atlas spec 1.3-1.7).

The provenance of a derived file is an attribute of its root, where the published files have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from circuit_artifacts import provenance
from circuit_artifacts.compute.csp.masks import jaccard_matrices, universals
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.hdf5 import child_names, open_group, open_hdf5, read_attributes, read_scalars
from circuit_artifacts.formats.hdf5.leaves import read_layers
from circuit_artifacts.formats.hdf5.write import create_hdf5, write_scalars, write_strings, write_vectors
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.schemas.csp_atlas import SETTING_ATTRIBUTES
from circuit_artifacts.schemas.csp_vocabulary import pair_key

__all__ = [
    "read_activations",
    "read_setting",
    "setting_in",
    "write_activations",
    "write_checker_masks",
    "write_object_masks",
]

Pairs = Sequence[tuple[str, str]]


def write_activations(
    path: Path,
    keys: Sequence[str],
    statistics: ActivationStatistics,
    record: provenance.Provenance,
    *,
    model_id: str,
    input_file: str,
    pairs: Pairs | None = None,
) -> None:
    """Write a ``12_*_activations.h5`` file.

    Args:
        path: final path; the file appears there complete.
        keys: group keys, one per first index of the statistics: pair keys or concept keys.
        statistics: the sums.
        record: provenance.
        model_id: goes into the metadata, as in the published files.
        input_file: name of the prompt file, likewise.
        pairs: for the object file, the (node, builtin) behind each key.
    """
    n_layers = statistics.activation_sum.shape[1]
    with _derived_hdf5(path, record) as file:
        for name, values in (
            ("activations", statistics.activation_sum),
            ("firing_counts", statistics.firing_count),
        ):
            _write_layers(file.create_group(name), keys, values)
        if statistics.exceedance_count is not None:
            exceedance = file.create_group("exceedance_counts")
            for threshold, values in zip(statistics.thresholds, statistics.exceedance_count, strict=True):
                _write_layers(exceedance.create_group(f"eps{threshold}"), keys, values)
        write_scalars(file.create_group("n_prompts"), keys, statistics.n_prompts)
        attributes = {"model_id": model_id, "n_layers": n_layers, "n_pairs": len(keys), "input_file": input_file}
        _write_metadata(file, attributes, pairs)


def read_activations(path: Path, shape: Shape) -> tuple[list[str], ActivationStatistics]:
    """Read a ``12_*_activations.h5`` file: keys in ASCII order, and the sums.

    Raises:
        FormatError: truncated, or not HDF5.
        SchemaError: not the declared layout.
    """
    keys, activation_sum = read_layers(path, "activations", dtype=np.float32, shape=shape)
    counted, firing_count = read_layers(path, "firing_counts", dtype=np.int32, shape=shape)
    with open_hdf5(path) as file:
        n_prompts = read_scalars(open_group(file, "n_prompts"), keys, dtype=np.int64)
        counted_at = child_names(file["exceedance_counts"]) if "exceedance_counts" in file else []
    names = sorted(counted_at, key=lambda name: float(name.removeprefix("eps")))
    exceedance = [read_layers(path, f"exceedance_counts/{name}", dtype=np.int32, shape=shape)[1] for name in names]
    if counted != keys:
        problem = "activations and firing counts have different keys"
        raise SchemaError(problem, file=path, where="/firing_counts", found=sorted(set(keys) ^ set(counted))[:3])
    thresholds = tuple(float(name.removeprefix("eps")) for name in names)
    return keys, ActivationStatistics(
        activation_sum, firing_count, n_prompts, np.stack(exceedance) if names else None, thresholds
    )


def write_object_masks(
    path: Path,
    pairs: Pairs,
    masks: npt.NDArray[np.bool_],
    record: provenance.Provenance,
    *,
    eps: float,
    cons: float,
    more_attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write a ``13_object_masks_*.h5`` file: pair masks, their intersections, and the layer-4 Jaccard matrices.

    Args:
        path: final path.
        pairs: (node, builtin) per mask, in ASCII order of their keys.
        masks: bool (pair, layer, width).
        record: provenance.
        eps: setting, for the metadata.
        cons: setting, for the metadata.
        more_attributes: what else stands in the metadata.
    """
    concepts, universal = universals(masks, pairs)
    with _derived_hdf5(path, record) as file:
        _write_layers(file.create_group("pair_masks"), [pair_key(*pair) for pair in pairs], masks)
        _write_layers(file.create_group("universal_masks"), concepts, universal)
        metrics = file.create_group("metrics")
        for name, matrix in jaccard_matrices(concepts, universal).items():
            metrics[name] = matrix
        attributes = {"epsilon": eps, "consistency_thresh": cons, "n_pairs": len(pairs), "n_layers": masks.shape[1]}
        _write_metadata(file, {**attributes, **(more_attributes or {})}, pairs)


def write_checker_masks(
    path: Path,
    concepts: Sequence[str],
    masks: npt.NDArray[np.bool_],
    record: provenance.Provenance,
    *,
    eps: float,
    cons: float,
    more_attributes: Mapping[str, Any] | None = None,
    n_valid: Mapping[str, int] | None = None,
) -> None:
    """Write a ``13_checker_masks_*.h5`` file, or with `n_valid` a ``token_checker_masks.h5``.

    Args:
        path: final path.
        concepts: concept keys in ASCII order.
        masks: bool (concept, layer, width).
        record: provenance.
        eps: setting, for the metadata.
        cons: setting, for the metadata.
        more_attributes: what else stands in the metadata.
        n_valid: prompts behind each concept, as attributes of ``/generation_stats``.
    """
    with _derived_hdf5(path, record) as file:
        _write_layers(file.create_group("token_checker_masks"), concepts, masks)
        _write_metadata(file, {"epsilon": eps, "consistency_threshold": cons, **(more_attributes or {})}, None)
        if n_valid is not None:
            file.create_group("generation_stats").attrs.update(
                {f"{concept}_n_valid": count for concept, count in n_valid.items()}
            )


def read_setting(path: Path) -> tuple[float, float]:
    """Epsilon and consistency from the metadata of a mask file.

    Raises:
        SchemaError: the metadata has no setting.
    """
    with open_hdf5(path) as file:
        attributes = read_attributes(open_group(file, "metadata"))
    setting = setting_in(attributes)
    if setting is None:
        problem = "the metadata has no setting"
        raise SchemaError(
            problem, file=path, where="/metadata", found=sorted(attributes), expected="epsilon, consistency"
        )
    return setting


def setting_in(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    """Epsilon and consistency among the attributes of ``/metadata``, by any name they have; None if one is absent."""
    eps, cons = (
        next((attributes[name] for name in names if attributes.get(name) is not None), None)
        for names in (SETTING_ATTRIBUTES["eps"], SETTING_ATTRIBUTES["cons"])
    )
    return None if eps is None or cons is None else (float(eps), float(cons))


@contextmanager
def _derived_hdf5(path: Path, record: provenance.Provenance) -> Iterator[h5py.File]:
    with provenance.derived_file(path, record) as temporary, create_hdf5(temporary) as file:
        file.attrs[provenance.KEY] = record.embedded()
        yield file


def _write_layers(group: h5py.Group, keys: Sequence[str], values: npt.NDArray[Any]) -> None:
    for layer in range(values.shape[1]):
        write_vectors(group.create_group(f"layer_{layer}"), keys, np.ascontiguousarray(values[:, layer]))


def _write_metadata(file: h5py.File, attributes: Mapping[str, Any], pairs: Pairs | None) -> None:
    metadata = file.create_group("metadata")
    metadata.attrs.update(attributes)
    if pairs is not None:
        write_strings(metadata, "ast_nodes", sorted({node for node, _ in pairs}))
        write_strings(metadata, "builtin_objs", sorted({builtin for _, builtin in pairs}))
