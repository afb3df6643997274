"""An atlas of full size with random content: 1,276 pairs, 106 concepts, 8 layers, width 2048 (csp_atlas spec 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from circuit_artifacts import catalog, provenance
from circuit_artifacts.compute.csp.layout import write_activations
from circuit_artifacts.compute.csp.masks import jaccard_matrices, universals
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, attempted_pairs, concept_key, pair_key

__all__ = ["CHECKERS", "CONFIG", "MIRROR", "PAIRS", "random_statistics", "write_old_style_masks", "write_statistics"]

MIRROR = catalog.mirror("csp-atlas")
CONFIG = catalog.config("csp-atlas", "masks_eps0.5_cons0.8")
LAYERS, WIDTH, PROMPTS = 8, 2048, 50


def _published_pairs() -> list[tuple[str, str]]:
    """As many pairs as were published; which 21 of the attempted ones were not is only partly known (spec 2.3)."""
    attempted = attempted_pairs("small")
    surplus = [pair for pair in attempted if pair[0] in {"AnnAssign", "Delete", "Call", "Assign"}][:21]
    return sorted((pair for pair in attempted if pair not in surplus), key=lambda pair: pair_key(*pair))


PAIRS = _published_pairs()
CHECKERS = sorted(
    {key for node, builtin in PAIRS for key in (concept_key("ast", node), concept_key("builtin", builtin))}
    & set(KEYWORDS)
)


def write_old_style_masks(folder: Path, *, density: float = 0.04) -> Path:
    """A mask file as plain h5py wrote it: one gzip dataset per mask, in name order, each with a chunk index.

    Args:
        folder: where.
        density: share of active dimensions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG.file
    masks = np.random.default_rng(0).random((len(PAIRS), LAYERS, WIDTH), np.float32) < density
    masks[:, :, :20] = True  # what all code has in common, so that intersections are not empty
    concepts, universal = universals(masks, PAIRS)
    with h5py.File(path, "w", libver="earliest") as file:
        for group, keys, stack in (
            ("pair_masks", [pair_key(*pair) for pair in PAIRS], masks),
            ("universal_masks", concepts, universal),
        ):
            for layer in range(LAYERS):
                for key, mask in zip(keys, stack[:, layer], strict=True):
                    name = f"{group}/layer_{layer}/{key}"
                    file.create_dataset(name, data=mask, compression="gzip", compression_opts=4)
        for name, matrix in jaccard_matrices(concepts, universal).items():
            file[f"metrics/{name}"] = matrix
        metadata = file.create_group("metadata")
        metadata.attrs.update(epsilon=0.5, consistency_thresh=0.8, n_pairs=len(PAIRS), n_layers=LAYERS)
        metadata["ast_nodes"] = sorted({node for node, _ in PAIRS})
        metadata["builtin_objs"] = sorted({builtin for _, builtin in PAIRS})
    return path


def random_statistics(n_groups: int, *, seed: int = 0) -> ActivationStatistics:
    """Sums in which a quarter of the dimensions fires, as in a model with top-k activations (model spec 1.3)."""
    random = np.random.default_rng(seed)
    shape = (n_groups, LAYERS, WIDTH)
    count = np.where(
        random.random(shape, np.float32) < 0.25, random.integers(1, PROMPTS + 1, shape, np.int32), np.int32(0)
    )
    activation_sum = count.astype(np.float32) * random.random(shape, np.float32)
    return ActivationStatistics(activation_sum, count, np.full(n_groups, PROMPTS, np.int64))


def write_statistics(folder: Path, objects: ActivationStatistics, checkers: ActivationStatistics) -> None:
    """The two stage-12 files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = provenance.Provenance(mirror=MIRROR.name, step="benchmark", n_layers=LAYERS, width=WIDTH)
    stages: list[tuple[str, Sequence[str], ActivationStatistics, list[tuple[str, str]] | None]] = [
        ("object", [pair_key(*pair) for pair in PAIRS], objects, PAIRS),
        ("checker", CHECKERS, checkers, None),
    ]
    for name, keys, statistics, pairs in stages:
        write_activations(
            folder / f"12_{name}_activations.h5",
            keys,
            statistics,
            record,
            model_id="random numbers",
            input_file="none",
            pairs=pairs,
        )
