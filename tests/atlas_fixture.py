"""A small, fully consistent CSP-Atlas folder in the published layout, for tests.

Texts come from the package's prompt generators, stage-12 sums are random, and everything else is derived from them by
the package's own steps, so that each file agrees with the files it is made from::

    atlas = write_atlas(tmp_path / "atlas")
    for finding in validate(atlas.folder): ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from circuit_artifacts import catalog, provenance
from circuit_artifacts.compute.csp.checkers import CheckerKind, generate_checker_candidates, select_checkers
from circuit_artifacts.compute.csp.layout import write_activations, write_checker_masks
from circuit_artifacts.compute.csp.masks import binarize
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.csp.word_banks import CHECKER_CATEGORIES
from circuit_artifacts.formats.tabular import write_parquet
from circuit_artifacts.schemas.common import arrow_schema
from circuit_artifacts.schemas.csp_vocabulary import ISOLATED, KEYWORDS, concept_key, pair_key
from circuit_artifacts.schemas.declaration import Mirror
from circuit_artifacts.sources import Sources

__all__ = ["PAIRS", "Atlas", "write_atlas"]

PAIRS: tuple[tuple[str, str], ...] = (
    *((node, builtin) for node in ("For", "While", "ListComp") for builtin in ("dict", "list", "range")),
    *((node, builtin) for node in ("Try", "Raise") for builtin in ("KeyError", "ValueError")),
    *(("If", builtin) for builtin in ("ValueError", "int", "list", "print")),
    ("Return", "int"),
    ("Lambda", "print"),
    *((node, ISOLATED) for node in ("Import", "ImportFrom", "Pass", "Break", "Continue", "Assert")),
)
"""25 pairs of 14 nodes with 8 builtins (one is the sentinel), in generation order.

They are enough concepts for some to be significantly modular: fewer than 21 cannot have a percentile below 0.05.
"""

TOKEN_CHECKER_SETTING = (0.001, 0.8)


@dataclass(frozen=True)
class Atlas:
    """What was written.

    Attributes:
        folder: holds one file per declared family and setting.
        mirror: the mirror whose layout it follows, with the folder's shape if that is not the published one.
        pairs: (node, builtin), in ASCII order of their keys, as in the files.
        concepts: universal concepts in ASCII order.
        testable: those with a keyword.
        object_statistics: what ``12_object_activations.h5`` holds, in the order of `pairs`.
        checker_statistics: what ``12_checker_activations.h5`` holds, in the order of `testable`.
    """

    folder: Path
    mirror: Mirror
    pairs: list[tuple[str, str]]
    concepts: list[str]
    testable: list[str]
    object_statistics: ActivationStatistics
    checker_statistics: ActivationStatistics


def write_atlas(
    folder: Path,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    n_prompts: int = 10,
    n_checkers: int = 10,
    width: int = 2048,
    n_layers: int = 8,
    seed: int = 0,
    mirror: str = "csp-atlas",
    published: bool | None = None,
) -> Atlas:
    """Write every file that the mirror declares; takes about a second at the defaults.

    Args:
        folder: where; created if need be.
        pairs: the (node, builtin) pairs, in generation order.
        n_prompts: prompts per pair.
        n_checkers: checker prompts aimed at per concept.
        width: of the vectors.
        n_layers: layers of the imagined model.
        seed: of the numbers; the texts are always those of the published seed.
        mirror: name of the mirror.
        published: leave out all provenance, as in published files. None does so if the shape is the mirror's, since
            without provenance any other shape is a fault.
    """
    declared = catalog.mirror(mirror)
    if published is None:
        published = (n_layers, width) == (declared.n_layers, declared.width)
    # Nothing here has to survive a power cut, and waiting for the disk would double the time.
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        return _write(folder, declared, pairs, n_prompts, n_checkers, width, n_layers, seed, published)


def _write(
    folder: Path,
    declared: Mirror,
    pairs: Sequence[tuple[str, str]],
    n_prompts: int,
    n_checkers: int,
    width: int,
    n_layers: int,
    seed: int,
    published: bool,
) -> Atlas:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    ordered = sorted(pairs, key=lambda pair: pair_key(*pair))
    concepts = sorted(
        {concept_key("ast", node) for node, _ in pairs} | {concept_key("builtin", builtin) for _, builtin in pairs}
    )
    testable = [concept for concept in concepts if concept in KEYWORDS]
    record = provenance.Provenance(
        mirror=declared.name,
        step="test fixture",
        model={"reference": "random numbers"},
        n_layers=n_layers,
        width=width,
        parameters=dict(declared.parameters),
        versions=provenance.package_versions(),
    )

    _write_prompts(folder / "11A_object_prompts.parquet", declared, _object_prompts(pairs, n_prompts, seed), record)
    checkers = _checker_prompts("checker", testable, n_checkers)
    _write_prompts(folder / "11B_checker_prompts.parquet", declared, checkers, record)
    token_checkers = _checker_prompts("token_checker", testable, n_checkers)
    _write_prompts(folder / "token_checker_prompts.parquet", declared, token_checkers, record)

    # Dimensions that a concept makes fire; pairs inherit those of both concepts, so that intersections are not empty.
    generic = random.random((n_layers, width)) < 0.02
    of_concept = {concept: generic | (random.random((n_layers, width)) < 0.05) for concept in concepts}
    amplitude = 10 ** random.uniform(-4, 0.5, (n_layers, width))
    object_rates = np.stack(
        [of_concept[concept_key("ast", node)] | of_concept[concept_key("builtin", b)] for node, b in ordered]
    )
    checker_rates = np.stack([of_concept[concept] for concept in testable])
    objects = _statistics(random, object_rates, amplitude, np.full(len(ordered), n_prompts))
    checker_statistics = _statistics(random, checker_rates, amplitude, _prompts_per_object(checkers, testable))
    token_statistics = _statistics(random, checker_rates, amplitude, _prompts_per_object(token_checkers, testable))

    for name, keys, statistics, pairs_or_none, prompts in (
        ("object", [pair_key(*pair) for pair in ordered], objects, ordered, "11A_object_prompts.parquet"),
        ("checker", testable, checker_statistics, None, "11B_checker_prompts.parquet"),
    ):
        write_activations(
            folder / f"12_{name}_activations.h5",
            keys,
            statistics,
            record,
            model_id="random numbers",
            input_file=prompts,
            pairs=pairs_or_none,
        )
    eps, cons = TOKEN_CHECKER_SETTING
    write_checker_masks(
        folder / "token_checker_masks.h5",
        testable,
        binarize(
            token_statistics.activation_sum,
            token_statistics.firing_count,
            token_statistics.n_prompts,
            epsilon=eps,
            consistency=cons,
        ),
        record,
        eps=eps,
        cons=cons,
        more_attributes={"n_prompts_per_object": n_checkers, "categories": ",".join(CHECKER_CATEGORIES)},
        n_valid=dict(zip(testable, token_statistics.n_prompts.tolist(), strict=True)),
    )
    sources = Sources(mirror=declared, output=folder, parameters={"token_checker_setting": TOKEN_CHECKER_SETTING})
    sources.fetch(*declared.configs.values())
    if published:
        _remove_provenance(folder)
    return Atlas(folder, declared, ordered, concepts, testable, objects, checker_statistics)


def _object_prompts(pairs: Sequence[tuple[str, str]], n_prompts: int, seed: int) -> pd.DataFrame:
    frame = pd.DataFrame([prompt._asdict() for prompt in generate_object_prompts(pairs, n=n_prompts)])
    frame["sequence_loss"] = np.random.default_rng(seed).uniform(0.5, 2.5, len(frame))
    frame["token_length"] = [max(len(text.split()), 2) for text in frame["prompt_text"]]
    return frame


def _checker_prompts(kind: CheckerKind, testable: Sequence[str], n_checkers: int) -> pd.DataFrame:
    vocabulary: list[str] = []
    number: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        words = re.findall(r"[A-Za-z0-9]+|.", text, flags=re.DOTALL)
        for word in words:
            if word not in number:
                number[word] = len(vocabulary)
                vocabulary.append(word)
        return [number[word] for word in words]

    candidates = generate_checker_candidates(kind, concepts=testable)
    rows = select_checkers(candidates, encode, lambda ids: "".join(vocabulary[i] for i in ids), n_target=n_checkers)
    return pd.DataFrame([row._asdict() for row in rows])


def _prompts_per_object(checkers: pd.DataFrame, testable: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([(checkers["object"] == concept).sum() for concept in testable], dtype=np.int64)


def _statistics(
    random: np.random.Generator,
    fires: npt.NDArray[np.bool_],
    amplitude: npt.NDArray[np.float64],
    n_prompts: npt.NDArray[np.int64],
) -> ActivationStatistics:
    """Sums whose dimensions fire in most prompts where `fires`, and in few elsewhere."""
    dense = np.flatnonzero(fires.ravel() | (random.random(fires.size) < 0.02))
    group = dense // fires[0].size
    rate = np.where(fires.ravel()[dense], random.choice([0.3, 0.6, 0.95], len(dense), p=[0.1, 0.1, 0.8]), 0.1)
    count = np.zeros(fires.size, np.int32)
    count[dense] = random.binomial(n_prompts[group], rate)
    firing_count = count.reshape(fires.shape)
    activation_sum = (firing_count * amplitude).astype(np.float32)
    return ActivationStatistics(activation_sum, firing_count, n_prompts.astype(np.int64))


def _write_prompts(path: Path, mirror: Mirror, frame: pd.DataFrame, record: provenance.Provenance) -> None:
    schema = arrow_schema(mirror.config_by_file[path.name].family.splits[0].row)
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with provenance.derived_file(path, record) as temporary:
        write_parquet(table, temporary, record)


def _remove_provenance(folder: Path) -> None:
    for path in folder.glob(f"*{provenance.SUFFIX}"):
        path.unlink()
    for path in folder.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            del file.attrs[provenance.KEY]
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        write_parquet(table.replace_schema_metadata(None), path)
