"""Stages 13 and 14 and relaxed modularity, against plain loops (rows 6 and 7 of the table).

The loops treat one pair, layer and setting at a time (csp_atlas spec 5, 6, 7.1), with masks as numpy vectors or as sets
of ints. All sides compute the same numbers; `run` compares them before it times anything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.harness import Row, Side, at_least, compare
from benchmarks.synthetic import CHECKERS, LAYERS, MIRROR, PAIRS, WIDTH, random_statistics, write_statistics
from circuit_artifacts.compute.csp.decomposition import compare_concepts, summary_table, target_checker_table
from circuit_artifacts.compute.csp.masks import binarize_grid, jaccard_matrices, universals
from circuit_artifacts.compute.csp.modularity import TRIMS, relaxed_modularity
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import CONSISTENCIES, EPSILONS, concept_key, pair_key
from circuit_artifacts.sources import Sources

__all__ = ["run"]

Mask = npt.NDArray[np.bool_]
Masks = dict[str, dict[int, Any]]
Vectors = Mapping[str, Mapping[int, npt.NDArray[Any]]]
PAIR_KEYS = [pair_key(*pair) for pair in PAIRS]


@dataclass(frozen=True)
class Algebra:
    """How the loops hold one mask: how it is made of a vector, and what its parts and its size are."""

    make: Callable[[Mask], Any]
    without: Callable[[Any, Any], Any]
    size: Callable[[Any], int]


VECTORS = Algebra(lambda mask: mask, lambda a, b: a & ~b, np.count_nonzero)
SETS = Algebra(lambda mask: set(np.flatnonzero(mask).tolist()), lambda a, b: a - b, len)


def run(work: Path) -> Iterator[Row]:
    """Rows about nine settings at full size, and about modularity.

    Args:
        work: folder for what is written.
    """
    objects, checkers = random_statistics(len(PAIRS)), random_statistics(len(CHECKERS), seed=1)
    object_vectors, checker_vectors = _vectors(PAIR_KEYS, objects), _vectors(CHECKERS, checkers)
    ours = _our_tables(objects, checkers)
    for what, algebra in (("sets of ints", SETS), ("numpy vectors", VECTORS)):
        theirs = _loop_tables(object_vectors, checker_vectors, algebra)
        if not all(ours[setting].equals(theirs[setting]) for setting in theirs):
            message = "the two sides of stages 13 and 14 disagree"
            raise SchemaError(message)
        yield compare(
            "stages 13 and 14, nine settings, arrays in memory",
            Side("array functions", lambda: _our_tables(objects, checkers)),
            Side(
                f"loops over settings, pairs and layers, {what}",
                lambda algebra=algebra: _loop_tables(object_vectors, checker_vectors, algebra),  # type: ignore[misc]
            ),
            at_least(20),
            rounds=2,
        )

    write_statistics(work / "stage12", objects, checkers)
    yield compare(
        "stages 13 and 14, nine settings, from files to files",
        Side("`regenerate`: reads once, 27 files and a summary", lambda: _our_files(work)),
        Side("the same loops, h5py dataset by dataset", lambda: _loop_files(work)),
        at_least(20),
        rounds=1,
    )

    masks = np.random.default_rng(2).random((106, LAYERS, WIDTH)) < np.random.default_rng(3).random((106, 1, 1)) * 0.2
    if not np.array_equal(_loop_modularity(masks), relaxed_modularity(masks).observed):
        message = "the two sides of modularity disagree"
        raise SchemaError(message)
    yield compare(
        "relaxed modularity, 106 concepts, 8 layers, 4 trims",
        Side("`relaxed_modularity`", lambda: relaxed_modularity(masks)),
        Side("loop over pairs of sets", lambda: _loop_modularity(masks)),
        at_least(50),
        rounds=3,
    )


# Ours


def _our_tables(
    objects: ActivationStatistics, checkers: ActivationStatistics
) -> dict[tuple[float, float], pd.DataFrame]:
    tables = {}
    grids = [
        binarize_grid(s.activation_sum, s.firing_count, s.n_prompts, epsilon=EPSILONS, consistency=CONSISTENCIES)
        for s in (objects, checkers)
    ]
    for (eps, cons, pair_masks), (_, _, checker_masks) in zip(*grids, strict=True):
        concepts, universal = universals(pair_masks, PAIRS)
        jaccard_matrices(concepts, universal)
        tables[eps, cons] = target_checker_table(*compare_concepts(concepts, universal, CHECKERS, checker_masks))
    summary_table(tables)
    return tables


def _our_files(work: Path) -> None:
    families = ("masks", "checker_masks", "target_checker", "summary")
    names = [config for family in families for config in MIRROR.family_by_name[family].configs]
    Sources(mirror=MIRROR, output=work / "stage12", force=frozenset(families)).fetch(*names)


# Loops


def _vectors(keys: list[str], s: ActivationStatistics) -> tuple[Vectors, Vectors, dict[str, int]]:
    """The sums as a notebook holds them: key -> layer -> vector."""
    sums = {key: {layer: s.activation_sum[row, layer] for layer in range(LAYERS)} for row, key in enumerate(keys)}
    counts = {key: {layer: s.firing_count[row, layer] for layer in range(LAYERS)} for row, key in enumerate(keys)}
    return sums, counts, dict(zip(keys, s.n_prompts.tolist(), strict=True))


def _loop_tables(
    objects: tuple[Vectors, Vectors, dict[str, int]],
    checkers: tuple[Vectors, Vectors, dict[str, int]],
    algebra: Algebra,
) -> dict[tuple[float, float], pd.DataFrame]:
    tables = {}
    for eps, cons in itertools.product(EPSILONS, CONSISTENCIES):
        universal = _loop_universals(_loop_masks(*objects, eps, cons, algebra))
        _loop_jaccard(universal, algebra)
        tables[eps, cons] = _loop_decomposition(universal, _loop_masks(*checkers, eps, cons, algebra), algebra)
    summary_table(tables)
    return tables


def _loop_masks(
    sums: Vectors, counts: Vectors, n_prompts: dict[str, int], eps: float, cons: float, algebra: Algebra
) -> Masks:
    masks: Masks = {}
    for key in sums:
        masks[key] = {}
        for layer in sums[key]:
            mean = sums[key][layer] / n_prompts[key]
            rate = counts[key][layer].astype(np.float32) / n_prompts[key]
            masks[key][layer] = algebra.make((mean > eps) & (rate >= cons))
    return masks


def _loop_universals(pair_masks: Masks) -> Masks:
    universal: Masks = {}
    for key, layers in pair_masks.items():
        node, _, builtin = key.partition("__")
        for concept in (concept_key("ast", node), concept_key("builtin", builtin)):
            for layer, mask in layers.items():
                known = universal.setdefault(concept, {})
                known[layer] = known[layer] & mask if layer in known else mask
    return universal


def _loop_jaccard(universal: Masks, algebra: Algebra, layer: int = 4) -> dict[str, npt.NDArray[np.float64]]:
    matrices = {}
    for kind in ("ast", "builtin"):
        names = sorted(name for name in universal if name.startswith(f"{kind}__"))
        matrix = np.zeros((len(names), len(names)))
        for i, first in enumerate(names):
            for j, second in enumerate(names):
                a, b = universal[first][layer], universal[second][layer]
                union = algebra.size(a | b)
                matrix[i, j] = algebra.size(a & b) / union if union else 0.0
        matrices[kind] = matrix
    return matrices


def _loop_decomposition(universal: Masks, checker: Masks, algebra: Algebra) -> pd.DataFrame:
    cells = {}
    for concept in sorted(universal.keys() & checker.keys()):
        row = []
        for layer in range(LAYERS):
            a, b = universal[concept][layer], checker[concept][layer]
            parts = (algebra.without(a, b), a & b, algebra.without(b, a))
            row.append(" / ".join(str(algebra.size(part)) for part in parts))
        cells[concept] = row
    table = pd.DataFrame.from_dict(cells, orient="index", columns=[f"L{layer}" for layer in range(LAYERS)])
    table.index.name = "target"
    return table


def _read_vectors(path: Path) -> tuple[Vectors, Vectors, dict[str, int]]:
    with h5py.File(path, "r") as file:
        groups: list[dict[str, dict[int, npt.NDArray[Any]]]] = []
        for name in ("activations", "firing_counts"):
            found: dict[str, dict[int, npt.NDArray[Any]]] = {}
            for layer in range(LAYERS):
                for key, dataset in file[f"{name}/layer_{layer}"].items():
                    found.setdefault(key, {})[layer] = dataset[:]
            groups.append(found)
        return groups[0], groups[1], {key: int(value[()]) for key, value in file["n_prompts"].items()}


def _loop_files(work: Path) -> None:
    out = work / "loops"
    out.mkdir(exist_ok=True)
    objects = _read_vectors(work / "stage12/12_object_activations.h5")
    checkers = _read_vectors(work / "stage12/12_checker_activations.h5")
    tables = {}
    for eps, cons in itertools.product(EPSILONS, CONSISTENCIES):
        pair_masks = _loop_masks(*objects, eps, cons, VECTORS)
        universal, checker = _loop_universals(pair_masks), _loop_masks(*checkers, eps, cons, VECTORS)
        with h5py.File(out / f"13_object_masks_eps{eps}_cons{cons}.h5", "w") as file:
            _write_masks(file, "pair_masks", pair_masks)
            _write_masks(file, "universal_masks", universal)
            for kind, matrix in _loop_jaccard(universal, VECTORS).items():
                file[f"metrics/jaccard_{kind}_matrix"] = matrix
            file.create_group("metadata").attrs.update(epsilon=eps, consistency_thresh=cons)
        with h5py.File(out / f"13_checker_masks_eps{eps}_cons{cons}.h5", "w") as file:
            _write_masks(file, "token_checker_masks", checker)
            file.create_group("metadata").attrs.update(epsilon=eps, consistency_threshold=cons)
        tables[eps, cons] = _loop_decomposition(universal, checker, VECTORS)
        tables[eps, cons].to_csv(out / f"14_target_checker_eps{eps}_cons{cons}.csv")
    summary_table(tables).to_csv(out / "14_summary.csv", index=False)


def _write_masks(file: h5py.File, group: str, masks: Masks) -> None:
    for key, layers in masks.items():
        for layer, mask in layers.items():
            file.create_dataset(f"{group}/layer_{layer}/{key}", data=mask, compression="gzip", compression_opts=4)


def _loop_modularity(masks: Mask) -> npt.NDArray[np.float32]:
    n = len(masks)
    observed = np.empty((masks.shape[1], len(TRIMS), n), np.float32)
    for layer in range(masks.shape[1]):
        sets = [set(np.flatnonzero(mask).tolist()) for mask in masks[:, layer]]
        jaccard = np.zeros((n, n), np.float32)
        for i in range(n):
            for j in range(i, n):
                union = len(sets[i] | sets[j])
                jaccard[i, j] = jaccard[j, i] = len(sets[i] & sets[j]) / union if union else 0.0
        for t, trim in enumerate(TRIMS):
            for i in range(n):
                others = np.delete(jaccard[i], i)
                dropped = math.floor(trim * (n - 1))
                observed[layer, t, i] = (np.sort(others)[::-1][dropped:] if dropped else others).mean()
    return observed
