"""Run folders: what is unknown, what is missing, and configurations that cannot be read (spec 8, rule 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, note
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.json_files import read_object
from circuit_artifacts.sae_locality.paths import UNKNOWN, is_link
from circuit_artifacts.validation import Finding

__all__ = ["check_runs", "read_configuration"]

_JSON_KINDS = ("run_config", "bench", "manifest", "batch_index", "adapter_log", "prompt_meta", "corpus_meta")


def check_runs(contents: Contents) -> Iterator[Finding]:
    """Files outside the grammar, JSON that cannot be read, layers that nobody set out for, runs without an end."""
    for file in contents.files:
        if file.place.kind == UNKNOWN and not is_link(file.name):
            yield note("unknown-file", file, "", "no file of this name and place is known")
    findings: list[Finding] = []
    for file in contents.of_kind(*_JSON_KINDS):
        attempt(read_configuration, file, findings=findings)
    yield from findings
    for files in contents.runs.values():
        if layers := [file for file in files if file.place.kind == "depth"]:
            yield from _check_layers(files, layers)


def read_configuration(file: RepositoryFile) -> dict[str, Any]:
    """The JSON object in a file."""
    return read_object(file.path)


def _check_layers(files: list[RepositoryFile], layers: list[RepositoryFile]) -> Iterator[Finding]:
    kinds = {file.place.kind: file for file in files}
    config = attempt(read_configuration, kinds["run_config"], findings=[]) if "run_config" in kinds else None
    wanted = config.get("layers") if config else None
    if isinstance(wanted, list):
        for file in layers:
            if file.place.layer not in wanted:
                message = f"layer {file.place.layer} is not one of {wanted}, which the run set out for"
                yield error("run-layers", kinds["run_config"], "layers", message)
        absent = sorted(set(wanted) - {file.place.layer for file in layers})
        if absent:
            yield note("incomplete-run", kinds["run_config"], "layers", f"no file of layer(s) {absent} is here")
    if config is not None and "bench" not in kinds:
        yield note("incomplete-run", kinds["run_config"], "", "there is no bench.json beside it: the run was aborted")
