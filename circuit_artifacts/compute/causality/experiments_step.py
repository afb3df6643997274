"""The step of causal dimensionality: all experiments, each written as soon as it is done."""

from __future__ import annotations

import json

from circuit_artifacts.compute.causality.experiments import EXPERIMENTS
from circuit_artifacts.compute.causality.parameters import CausalityParameters
from circuit_artifacts.compute.causality.runner import CausalityRunner
from circuit_artifacts.jobs import Job
from circuit_artifacts.progress import track
from circuit_artifacts.provenance import derived_file
from circuit_artifacts.schemas.causal_results import dump_result

__all__ = ["run"]

_DONE = ".done"


def run(job: Job) -> None:
    """Write ``results/<experiment>/*.json``; an experiment that was finished before an interruption is not repeated."""
    root = next(iter(job.outputs.values()))
    parameters = CausalityParameters.of(job.parameters)
    runner = CausalityRunner(job, parameters)
    settings = json.dumps({"parameters": parameters.recorded(), "model": runner.identity}, sort_keys=True)
    marks = root / _DONE
    for name in track(parameters.experiments, "experiments", total=len(parameters.experiments)):
        mark = marks / f"{name}.json"
        if mark.is_file() and mark.read_text(encoding="utf-8") == settings:
            continue
        for path, result in EXPERIMENTS[name](runner):
            with derived_file(root / "results" / path, runner.record()) as temporary:
                temporary.write_text(dump_result(result) + "\n", encoding="utf-8")
        marks.mkdir(exist_ok=True)
        mark.write_text(settings, encoding="utf-8")
