"""The steps of CSP-Atlas: each reads its inputs, calls functions on arrays, and writes files in the published layout.

Every function here is named by a `Step` in `circuit_artifacts.schemas.csp_atlas` and is called with a `Job`. Torch is
imported only by those that run a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from circuit_artifacts import provenance
from circuit_artifacts.compute.csp import decomposition, tokens
from circuit_artifacts.compute.csp import modularity as modularity_analysis
from circuit_artifacts.compute.csp.layout import (
    read_activations,
    read_setting,
    write_activations,
    write_checker_masks,
    write_object_masks,
)
from circuit_artifacts.compute.csp.masks import binarize_grid
from circuit_artifacts.compute.csp.parameters import StageParameters
from circuit_artifacts.compute.csp.runner import ModelRunner
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.csp.word_banks import CHECKER_CATEGORIES
from circuit_artifacts.csp_atlas.tables import read_target_checker
from circuit_artifacts.errors import SchemaError, located
from circuit_artifacts.formats.hdf5 import open_hdf5, read_attributes
from circuit_artifacts.formats.hdf5.leaves import read_layers
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.formats.tabular import write_parquet
from circuit_artifacts.jobs import Job
from circuit_artifacts.schemas.common import arrow_schema
from circuit_artifacts.schemas.csp_vocabulary import split_pair

__all__ = [
    "activations",
    "checker_masks",
    "checker_prompts",
    "modularity",
    "object_masks",
    "object_prompts",
    "summary",
    "target_checker",
    "token_checker_masks",
    "token_independence",
    "universal_masks",
    "unpack_activations",
]


_GENERATION = ("seed", "mode", "ast_nodes", "builtin_objs")
_RUN = ("max_length", "batch_tokens", "device", "dtype", "engine")
_READING = ("position", "thresholds", *_RUN)

# Stage 11


def object_prompts(job: Job) -> None:
    """Generate, score and filter the prompts of every pair (csp_atlas spec 3.1-3.4)."""
    from circuit_artifacts.compute.csp.prompts import filter_by_loss, generate_object_prompts

    parameters, runner = StageParameters.of(job.parameters), ModelRunner(job)
    pairs = parameters.pairs()
    prompts = list(generate_object_prompts(pairs, n=parameters.n_prompts, seed=parameters.seed))
    sequences = runner.encode([prompt.prompt_text for prompt in prompts])
    losses = runner.engine.sequence_losses(sequences)
    pair_index = np.repeat(np.arange(len(pairs)), parameters.n_prompts)
    kept = filter_by_loss(
        pair_index,
        losses,
        rule=parameters.filter_rule,
        n_keep=parameters.n_prompts,
        threshold=parameters.loss_threshold,
    )
    if not len(kept):
        problem = "no pair survives the loss filter"
        raise SchemaError(
            problem,
            found=f"mean losses from {losses.min():.2f} to {losses.max():.2f} nats",
            expected=f"at most {parameters.loss_threshold or 'the published threshold'}",
            remedy="Use a model of Python source, or raise loss_threshold.",
        )
    frame = pd.DataFrame([prompts[row]._asdict() for row in kept])
    frame["variation_id"] = frame.groupby(["ast_node", "builtin_obj"]).cumcount()
    frame["sequence_loss"] = losses[kept]
    frame["token_length"] = [len(sequences[row]) for row in kept]
    names = (*_GENERATION, "n_prompts", "filter_rule", "loss_threshold", *_RUN)
    _write_table(job, "object_prompts", frame, runner.record(*names))


def checker_prompts(job: Job) -> None:
    """Generate and select checker prompts (csp_atlas spec 3.5); serves both kinds."""
    from circuit_artifacts.compute.csp.checkers import CheckerKind, generate_checker_candidates, select_checkers

    (family,) = job.step.makes
    parameters, runner = StageParameters.of(job.parameters), ModelRunner(job)
    kind: CheckerKind = "checker" if family == "checker_prompts" else "token_checker"
    candidates = generate_checker_candidates(kind, concepts=parameters.testable(), seed=parameters.seed)
    tokenizer = runner.tokenizer
    rows = select_checkers(candidates, tokenizer.encode, tokenizer.decode, n_target=parameters.n_checkers)
    if not rows:
        problem = "no checker prompt holds its keyword as tokens and is free of its concept"
        raise SchemaError(problem, found=f"concepts {parameters.testable()}", remedy="Take more concepts.")
    frame = pd.DataFrame([row._asdict() for row in rows])
    _write_table(job, family, frame, runner.record(*_GENERATION, "n_checkers"))


# Stage 12


def activations(job: Job) -> None:
    """Run the prompts of a file and add up their MLP outputs per group (csp_atlas spec 4); resumes after a kill."""
    (family,), (source,) = job.step.makes, job.step.needs
    path, prompts = job.outputs[family], job.input(source)
    runner, checkpoint = ModelRunner(job), _checkpoint(path)
    keys, statistics = runner.accumulate(prompts, checkpoint=checkpoint)
    pairs = [split_pair(key) for key in keys] if family == "object_activations" else None
    write_activations(
        path,
        keys,
        statistics,
        runner.record(*_READING, source=prompts),
        model_id=runner.identity["id"],
        input_file=prompts.name,
        pairs=pairs,
    )
    checkpoint.unlink(missing_ok=True)


def token_checker_masks(job: Job) -> None:
    """Masks straight from the token-checker prompts, without a stage-12 file (csp_atlas spec 1.6)."""
    runner, parameters = ModelRunner(job), StageParameters.of(job.parameters)
    eps, cons = parameters.token_checker_setting
    path = job.outputs["token_checker_masks"]
    prompts, checkpoint = job.input("token_checker_prompts"), _checkpoint(path)
    keys, statistics = runner.accumulate(prompts, checkpoint=checkpoint, thresholds=(eps,))
    write_checker_masks(
        path,
        keys,
        _binarize(statistics, parameters, eps, cons),
        runner.record(*_READING, "rule", "token_checker_setting", source=prompts),
        eps=eps,
        cons=cons,
        more_attributes={"n_prompts_per_object": parameters.n_checkers, "categories": ",".join(CHECKER_CATEGORIES)},
        n_valid=dict(zip(keys, statistics.n_prompts.tolist(), strict=True)),
    )
    checkpoint.unlink(missing_ok=True)


def unpack_activations(job: Job) -> None:
    """Write a ``12_*`` file from the rows that are bundled (the rows of the config of the same name)."""
    (packed,), path = job.inputs, job.only_input
    (family,) = job.step.makes
    record = provenance.read(path)
    shape = Shape.of(path, job.mirror)
    schema = arrow_schema(job.mirror.family_by_name[packed].splits[0].row, width=shape.width)
    frame = pq.read_table(path, schema=schema).combine_chunks()
    first, second = ("ast_node", "builtin_obj") if family == "object_activations" else ("kind", "name")
    keys = [f"{a}__{b}" for a, b in zip(frame[first].to_pylist(), frame[second].to_pylist(), strict=True)]
    n_keys = len(keys) // shape.n_layers  # rows are layer by layer, keys in the same order in each

    def stacked(column: str) -> Any:
        flat = frame[column].chunk(0).flatten().to_numpy()
        return flat.reshape(shape.n_layers, n_keys, shape.width).swapaxes(0, 1)

    statistics = ActivationStatistics(
        stacked("activation_sum"), stacked("firing_count"), frame["n_prompts"].to_numpy()[:n_keys]
    )
    keys = keys[:n_keys]
    model = record.model if record is not None else None
    write_activations(
        job.outputs[family],
        keys,
        statistics,
        _array_record(job, path),
        model_id=str((model or {}).get("id", "")),
        input_file=job.mirror.family_by_name[family.replace("activations", "prompts")].file,
        pairs=[split_pair(key) for key in keys] if family == "object_activations" else None,
    )


# Stage 13


def object_masks(job: Job) -> None:
    """Masks of pairs and concepts at every wanted setting, in one pass over the sums (csp_atlas spec 5)."""
    path = job.input("object_activations")
    keys, statistics = read_activations(path, Shape.of(path, job.mirror))
    pairs, record = [split_pair(key) for key in keys], _array_record(job, path, "rule")
    for eps, cons, output, masks in _wanted_masks(job, "masks", statistics):
        write_object_masks(output, pairs, masks, record, eps=eps, cons=cons)


def checker_masks(job: Job) -> None:
    """Masks of checker concepts at every wanted setting (csp_atlas spec 5)."""
    path = job.input("checker_activations")
    keys, statistics = read_activations(path, Shape.of(path, job.mirror))
    record = _array_record(job, path, "rule")
    for eps, cons, output, masks in _wanted_masks(job, "checker_masks", statistics):
        write_checker_masks(output, keys, masks, record, eps=eps, cons=cons)


def universal_masks(job: Job) -> None:
    """``universal_106x50.h5``: object masks at the token-checker setting (csp_atlas spec 1.7)."""
    path = job.input("object_activations")
    keys, statistics = read_activations(path, Shape.of(path, job.mirror))
    parameters = StageParameters.of(job.parameters)
    eps, cons = parameters.token_checker_setting
    with open_hdf5(path) as file:
        model_id = read_attributes(file["metadata"]).get("model_id", "")
    write_object_masks(
        job.outputs["universal_106x50"],
        [split_pair(key) for key in keys],
        _binarize(statistics, parameters, eps, cons),
        _array_record(job, path, "rule", "token_checker_setting"),
        eps=eps,
        cons=cons,
        more_attributes={"model_id": model_id},
    )


# Stage 14 and the analyses


def target_checker(job: Job) -> None:
    """The decomposition table of every wanted setting (csp_atlas spec 6)."""
    for config, output in job.output_configs("target_checker"):
        object_path = job.input("masks", config.setting)
        checker_path = job.input("checker_masks", config.setting)
        shape = Shape.of(object_path, job.mirror)
        universal = read_layers(object_path, "universal_masks", dtype=np.bool_, shape=shape)
        checker = read_layers(checker_path, "token_checker_masks", dtype=np.bool_, shape=shape)
        with located(object_path):
            table = decomposition.target_checker_table(*decomposition.compare_concepts(*universal, *checker))
        record = _array_record(job, object_path, inputs=(object_path, checker_path))
        with provenance.derived_file(output, record) as temporary:
            table.to_csv(temporary)


def summary(job: Job) -> None:
    """Means over each decomposition table, one row per setting (csp_atlas spec 6)."""
    tables = {}
    for config in job.mirror.family_by_name["target_checker"].configs:
        path = job.input("target_checker", config.setting)
        tables[config.setting["eps"], config.setting["cons"]] = read_target_checker(path)
    record = _array_record(job, path)
    with provenance.derived_file(job.outputs["summary"], record) as temporary, located("a decomposition table"):
        decomposition.summary_table(tables).to_csv(temporary, index=False)


def modularity(job: Job) -> None:
    """Relaxed modularity of the universal masks: scores and detail (csp_atlas spec 7.1)."""
    path = job.only_input
    concepts, masks = read_layers(path, "universal_masks", dtype=np.bool_, shape=Shape.of(path, job.mirror))
    result = modularity_analysis.relaxed_modularity(masks)
    tables = {
        "modularity_scores": (modularity_analysis.scores_table(concepts, result), True),
        "modularity_detail": (modularity_analysis.detail_table(concepts, result), False),
    }
    record = _array_record(job, path)
    for name, (table, index) in tables.items():
        if name in job.outputs:
            with provenance.derived_file(job.outputs[name], record) as temporary:
                table.to_csv(temporary, index=index)


def token_independence(job: Job) -> None:
    """Concept against token circuits at one setting (csp_atlas spec 7.2).

    Raises:
        SchemaError: the two mask files were made at different settings, so that comparing them means nothing.
    """
    object_path, checker_path = job.input("universal_106x50"), job.input("token_checker_masks")
    if not np.allclose(read_setting(object_path), read_setting(checker_path)):
        problem = "the token-checker masks were made at another setting than the universal masks"
        raise SchemaError(
            problem,
            file=checker_path,
            where="/metadata",
            found=read_setting(checker_path),
            expected=f"{read_setting(object_path)} of {object_path.name}",
        )
    shape = Shape.of(object_path, job.mirror)
    universal = read_layers(object_path, "universal_masks", dtype=np.bool_, shape=shape)
    checker = read_layers(checker_path, "token_checker_masks", dtype=np.bool_, shape=shape)
    result = tokens.token_independence(*universal, *checker)
    record = _array_record(job, object_path)
    for name in ("summary", "detail", "no_keyword"):
        config_name = f"token_independence_{name}"
        if config_name in job.outputs:
            with provenance.derived_file(job.outputs[config_name], record) as temporary:
                getattr(result, name).to_csv(temporary, index=False)


def _checkpoint(path: Path) -> Path:
    """Where the sums behind `path` are kept until it is written."""
    return path.with_name(f".{path.name}.checkpoint")


def _wanted_masks(
    job: Job, family: str, statistics: ActivationStatistics
) -> Iterator[tuple[float, float, Path, npt.NDArray[np.bool_]]]:
    """Epsilon, consistency, output and masks of each wanted setting; every threshold is compared once."""
    outputs = {(config.setting["eps"], config.setting["cons"]): path for config, path in job.output_configs(family)}
    epsilons, consistencies = (sorted(set(axis)) for axis in zip(*outputs, strict=True))
    for eps, cons, masks in _grid(statistics, StageParameters.of(job.parameters), epsilons, consistencies):
        if (eps, cons) in outputs:
            yield eps, cons, outputs[eps, cons], masks


def _binarize(
    statistics: ActivationStatistics, parameters: StageParameters, eps: float, cons: float
) -> npt.NDArray[np.bool_]:
    """Masks at one setting."""
    ((_, _, masks),) = _grid(statistics, parameters, [eps], [cons])
    return masks


def _grid(
    statistics: ActivationStatistics, parameters: StageParameters, epsilons: list[float], consistencies: list[float]
) -> Iterator[tuple[float, float, npt.NDArray[np.bool_]]]:
    exceedance = [counts for eps in epsilons if (counts := statistics.exceedance(eps)) is not None]
    if parameters.rule == "per_prompt" and len(exceedance) < len(epsilons):
        missing = next(eps for eps in epsilons if statistics.exceedance(eps) is None)
        problem = f"rule 'per_prompt' needs the prompts above {missing} counted in stage 12, and they were not"
        raise SchemaError(
            problem,
            found=f"counts above {list(statistics.thresholds)}",
            remedy=f"Regenerate the activations with thresholds that include {missing} (--force --set "
            "'thresholds=[...]'), or use rule 'mean'.",
        )
    return binarize_grid(
        statistics.activation_sum,
        statistics.firing_count,
        statistics.n_prompts,
        epsilon=epsilons,
        consistency=consistencies,
        rule=parameters.rule,
        exceedance_count=np.stack(exceedance) if parameters.rule == "per_prompt" else None,
    )


def _array_record(job: Job, path: Path, *names: str, inputs: Iterable[Path] | None = None) -> provenance.Provenance:
    """Provenance of a file made from `path` without a model.

    What is known of the model and the parameters before is handed on; `names` are parameters of this step.
    """
    parameters = StageParameters.of(job.parameters).recorded(*names)
    earlier, shape = provenance.read(path), Shape.of(path, job.mirror)
    return job.record(
        inputs,
        model=earlier.model if earlier is not None else None,
        n_layers=shape.n_layers,
        width=shape.width,
        parameters={**(earlier.parameters if earlier is not None else {}), **parameters},
    )


def _write_table(job: Job, family: str, frame: pd.DataFrame, record: provenance.Provenance) -> None:
    schema = arrow_schema(job.mirror.family_by_name[family].splits[0].row)
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with provenance.derived_file(job.outputs[family], record) as temporary:
        write_parquet(table, temporary, record)
