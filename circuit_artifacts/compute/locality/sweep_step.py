"""Context-length sweeps: one prompt, cut to ever longer windows that end at the same token (locality spec 5.4)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from circuit_artifacts.compute.locality.context_length import SweepPrompt, context_lengths, last_tokens, sample_prompt
from circuit_artifacts.compute.locality.parameters import LocalityParameters
from circuit_artifacts.compute.locality.run_folder import run_folder, timestamp_of
from circuit_artifacts.compute.locality.runner import LocalityRunner
from circuit_artifacts.compute.locality.torch_layout import write_sweep
from circuit_artifacts.compute.locality.writing import write_json
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.jobs import Job
from circuit_artifacts.provenance import derived_file

__all__ = ["run"]

_PARAMETERS = ("prompt", "sweep_min_context_len", "sweep_seed", "corpus", "device", "pass_tokens")
_CHECKPOINT = ".lengths"
_LARGEST_PROMPT = 64 << 20
_FIRST_CORPUS = "wikitext"  # whose folder has no corpus in its name


def run(job: Job) -> None:
    """Make one run with a folder for each preset that is wanted: ``ctxlen_xmodel_<dataset>/<timestamp>/<preset>/``."""
    wanted = [found for family in job.step.makes for found in job.output_configs(family)]
    runners = [LocalityRunner(job, LocalityParameters.of(job.parameters, config.setting)) for config, _ in wanted]
    first = runners[0].parameters
    folder_name = "ctxlen_xmodel" if first.dataset == _FIRST_CORPUS else f"ctxlen_xmodel_{first.dataset}"
    names = [runner.parameters.preset for runner in runners]
    lengths = {runner.parameters.preset: runner.sweep_lengths for runner in runners}
    settings = {
        "experiment": "entropy_vs_context_len_xmodel",
        "seed": first.sweep_seed,
        "min_context_len": first.sweep_min_context_len,
        "dataset": first.dataset,
        "presets": names,
        "preset_config": {name: {"max_context_len": most, "step": step} for name, (_, most, step) in lengths.items()},
        "sae_encode": first.sae_encode,
    }
    identity = settings | {
        "models": [(runner.model_ref, runner.parameters.sae, runner.parameters.layers) for runner in runners],
        "prompt": first.prompt,
    }
    root = wanted[0][1]
    with run_folder(root / folder_name, identity, timestamp=first.timestamp) as folder:
        stated = settings | {"prompt_file": "prompt.txt" if first.prompt else None}
        content = {**stated, "timestamp": timestamp_of(folder), **runners[0].machine}
        write_json(folder / "run_config.json", content, runners[0].record(*_PARAMETERS))
        for runner in runners:
            _run(runner, folder)


def _run(runner: LocalityRunner, folder: Path) -> None:
    p = runner.parameters
    minimum, maximum, step = runner.sweep_lengths
    lengths = context_lengths(minimum, maximum, step)
    prompt, text = _prompt(runner, maximum)
    facts: dict[str, Any] = {"sweep_max_context_len": maximum, "sweep_step": step}
    if text is not None:
        with derived_file(folder / "prompt.txt", runner.record(*_PARAMETERS, **facts)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    ids = torch.tensor(prompt.ids, dtype=torch.int64)
    for layer in runner.layers:
        site = f"{runner.site}_layer{layer}"
        if list((folder / p.preset).glob(f"entropy_vs_context_len_{site}_*.pt")):
            continue
        measured = runner.measure(
            [ids[len(ids) - length :] for length in lengths],
            layer=layer,
            checkpoint=folder / _CHECKPOINT,
            description=f"{p.preset}, layer {layer}",
        )
        started = timestamp_of(folder)
        summary: dict[str, Any] = {
            "preset": p.preset,
            "site": site,
            "layer": layer,
            "timestamp": started,
            "max_context_len": maximum,
            "min_context_len": minimum,
            "step": step,
            "sub_context_lens": lengths,
            "n_tokens_total": len(prompt.ids),
            "prompt_token_ids": prompt.ids,
            "prompt_token_strs": [runner.piece(token) for token in prompt.ids],
        }
        if text is None:
            summary |= {"char_start": prompt.char_start, "char_budget": prompt.char_budget}
        config = {"random_seed": p.sweep_seed, **runner.sae_facts(layer)}
        by_length = dict(zip(lengths, measured.windows, strict=True))
        path = folder / p.preset / f"entropy_vs_context_len_{site}_{started}.pt"
        record = runner.record(*_PARAMETERS, layer=layer, **facts)
        write_sweep(path, by_length, summary=summary, config=config, record=record)
        shutil.rmtree(folder / _CHECKPOINT, ignore_errors=True)


def _prompt(runner: LocalityRunner, maximum: int) -> tuple[SweepPrompt, str | None]:
    """The prompt, and its whole text where it was given."""
    p = runner.parameters
    if p.prompt is None:
        text = runner.corpus.text
        return sample_prompt(text, runner.encode, max_context_len=maximum, seed=p.sweep_seed), None
    with open_bounded(Path(p.prompt).expanduser(), largest=_LARGEST_PROMPT) as stream:
        given = stream.read().decode("utf-8", errors="replace")
    return SweepPrompt(last_tokens(given, runner.encode, maximum), 0, len(given)), given
