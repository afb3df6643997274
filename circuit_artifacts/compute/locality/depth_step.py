"""Depth runs: influence and entropy in windows of a corpus, layer by layer (locality spec 5.3)."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from circuit_artifacts.compute.hooks import layer_count
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of
from circuit_artifacts.compute.locality.runner import LocalityRunner
from circuit_artifacts.compute.locality.torch_layout import write_depth
from circuit_artifacts.compute.locality.windows import cut_windows, sample_starts, sequential_starts
from circuit_artifacts.compute.locality.writing import write_json
from circuit_artifacts.jobs import Job

__all__ = ["run"]

_PARAMETERS = ("context_len", "n_windows", "windows", "seed", "corpus", "device", "pass_tokens")
_CHECKPOINT = ".windows"


def run(job: Job) -> None:
    """Make one run for each config that is wanted: ``<preset>/<dataset>/<timestamp>/``."""
    for config, root in (found for family in job.step.makes for found in job.output_configs(family)):
        parameters = LocalityParameters.of(job.parameters, config.setting)
        _run(LocalityRunner(job, parameters), root)


def _run(runner: LocalityRunner, root: Path) -> None:
    p = runner.parameters
    tokens = runner.tokens
    if p.windows == "random":
        starts = sample_starts(tokens, context_len=p.context_len, n_windows=p.n_windows, seed=p.seed)
    else:
        starts = sequential_starts(len(tokens), context_len=p.context_len, n_windows=p.n_windows)
    windows = cut_windows(tokens, starts, context_len=p.context_len)
    settings = {
        "preset": p.preset,
        "model_id": runner.identity["id"],
        "dataset": p.dataset,
        "sae_loader": runner.sae_loader,
        "sae_arch": runner.declared_architecture,
        "layers": list(runner.layers),
        "threshold": runner.threshold,
        "num_batches": p.n_windows,
        "context_len": p.context_len,
        "random_batches": p.windows == "random",
        "random_seed": p.seed if p.windows == "random" else None,
        "sae_encode": p.sae_encode,
    }
    record = runner.record(*_PARAMETERS)
    identity = {**settings, "model": runner.identity, "sae": p.sae, "corpus": runner.corpus.fingerprint}
    with run_folder(root / p.preset / p.dataset, identity, timestamp=p.timestamp) as folder:
        timestamp = timestamp_of(folder)
        write_json(folder / "run_config.json", {**settings, "timestamp": timestamp, **runner.machine}, record)
        started, seconds = time.monotonic(), list[float]()
        names: dict[str, str] = {}
        for layer in runner.layers:
            name = f"entropy_comparison_{runner.site}_layer{layer}.pt"
            names[str(layer)] = name
            if (folder / name).is_file():
                continue
            measured = runner.measure(
                list(windows),
                layer=layer,
                checkpoint=folder / _CHECKPOINT,
                description=f"layer {layer} of {layer_count(runner.model)}",
            )
            seconds += measured.seconds
            summary = {
                "site": f"{runner.site}_layer{layer}",
                "preset": p.preset,
                "dataset": p.dataset,
                "timestamp": timestamp,
                "layer": layer,
            }
            config = {name: settings[name] for name in ("context_len", "random_batches", "random_seed")}
            config |= runner.sae_facts(layer)
            write_depth(
                folder / name,
                measured.windows,
                starts,
                summary=summary,
                config=config,
                record=runner.record(*_PARAMETERS, layer=layer),
            )
            shutil.rmtree(folder / _CHECKPOINT, ignore_errors=True)
        bench = _bench(settings, seconds, time.monotonic() - started, p.device) | {"output_files": names}
        write_json(folder / "bench.json", {"timestamp": timestamp, **runner.machine, **bench}, record)


def _bench(settings: Mapping[str, Any], seconds: list[float], elapsed: float, device: str) -> dict[str, Any]:
    """What the work took (locality spec 4.5); of a run that was taken up, what this process measured."""
    names = ("preset", "layers", "num_batches", "context_len", "threshold", "random_batches", "random_seed")
    on_gpu = device.startswith("cuda")
    return {name: settings[name] for name in names} | {
        "cuda_available": torch.cuda.is_available(),
        "total_elapsed_s": elapsed,
        "mean_batch_s": statistics.fmean(seconds) if seconds else None,
        "std_batch_s": statistics.pstdev(seconds) if seconds else None,
        "peak_gpu_mem_gib": torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else None,
    }
