"""Turn a finished training run into the folder that the package ships: rescaled, rounded, measured, described."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from mini_corpus import PUBLISHED_SEED, TRAINING_SEEDS, Tokens, encode, read_texts
from mini_recipe import CONFIG, LIBRARY_ROWS, PROMPT_ROWS, SEED, target_density
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from circuit_artifacts.compute.hooks import recording
from circuit_artifacts.compute.models.architecture import CircuitTransformer
from circuit_artifacts.compute.models.checkpoint import load_model
from circuit_artifacts.compute.models.packing import pack

IGNORED = -100
LIBRARY_SAMPLE = 400  # at least so many rows of block_size held-out tokens are measured
SCALED_LAYERS = ("transformer.wte.", ".attn.c_proj.", ".mlp.c_proj.")


def export(work: Path, out: Path) -> None:
    """Write the bundled model's folder.

    Args:
        work: the training folder, with ``checkpoint.safetensors``, ``tokenizer.json`` and ``corpus.json``.
        out: gets ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``training.json``, ``README.md``.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    texts = read_texts()
    library = np.concatenate(encode(tokenizer, texts.held_out_modules))
    library_rows = library[: len(library) // CONFIG.block_size * CONFIG.block_size].reshape(-1, CONFIG.block_size)
    held_out = {
        "held_out_modules": list(library_rows[:: len(library_rows) // LIBRARY_SAMPLE]),
        "held_out_prompts": [ids[:-1] for ids in encode(tokenizer, texts.held_out_prompts)],
    }

    torch.manual_seed(SEED)
    model = CircuitTransformer(CONFIG).requires_grad_(requires_grad=False)
    untrained = {name: _mean_loss(losses(model, rows)) for name, rows in held_out.items()}
    facts = _load_weights(work / "checkpoint.safetensors", model)
    sample = torch.from_numpy(library_rows[:32].astype(np.int64))
    rescaling = rescale(model, sample)

    (out / "config.json").write_text(json.dumps(CONFIG.to_json(), indent=2) + "\n")
    (out / "tokenizer.json").write_text(Tokenizer.to_str(tokenizer))
    stored, metadata = pack(model.state_dict())
    save_file(stored, out / "model.safetensors", metadata=metadata)
    (out / "model.safetensors").chmod(0o644)  # the library writes it for the owner only

    shipped = load_model(out)
    after = {name: losses(shipped, rows) for name, rows in held_out.items()}
    unigram, bigram = count_baselines([*encode(tokenizer, texts.modules), *encode(tokenizer, texts.prompts)], held_out)
    per_pair = np.array([row.mean() for row in after["held_out_prompts"]]).reshape(-1, 2).mean(axis=1)
    record = {
        "weights_sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "tokenizer_sha256": hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "nonzero_parameters": int(sum(p.count_nonzero() for p in shipped.parameters())),
        "density": densities(shipped),
        "loss_nats_per_token": {
            name: {
                "tokens": sum(map(len, rows)),
                "untrained": untrained[name],
                "unigram_counts": unigram[name],
                "bigram_counts": bigram[name],
                "shipped": _mean_loss(rows),
            }
            for name, rows in after.items()
        },
        "pairs_above_loss_3": f"{int((per_pair > 3).sum())} of {len(per_pair)} (two prompts each)",
        "rescaling": rescaling,
        "training": {
            "steps": int(facts["steps"]),
            "tokens": int(facts["steps"]) * (LIBRARY_ROWS + PROMPT_ROWS) * CONFIG.block_size,
            "seconds": round(facts["seconds"]),
            "processor_cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "seed": SEED,
            "prompt_seeds": list(TRAINING_SEEDS),
            "held_out_prompt_seed": PUBLISHED_SEED,
            **json.loads((work / "corpus.json").read_text()),
        },
    }
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (out / "README.md").write_text(model_card(record))


def _load_weights(path: Path, model: CircuitTransformer) -> dict[str, float]:
    with safe_open(path, framework="pt") as file:
        facts: dict[str, float] = json.loads(file.metadata()["facts"])
        model.load_state_dict({key: file.get_tensor(key) for key in file.keys() if ":" not in key})  # noqa: SIM118
    if facts["step"] != facts["steps"]:
        message = f"training stopped at step {facts['step']:.0f} of {facts['steps']:.0f}"
        raise ValueError(message)
    return facts


@torch.no_grad()
def rescale(model: CircuitTransformer, ids: Tensor) -> dict[str, float]:
    """Scale the residual stream, in place, so that MLP writes are of order 1, as the published thresholds suppose.

    Everything that is added to the stream is multiplied by one factor, and every reader normalises the stream first,
    so logits stay the same up to the norms' epsilon. A power of two adds no rounding.

    Args:
        model: the trained model.
        ids: text to measure on, (B, T).

    Returns:
        The factor, the median nonzero magnitude of the MLP writes before and after, and the largest change of any
        logit in float64, where the norms' epsilon is negligible, and in float32.
    """
    before, exact = model(ids).logits, model.double()(ids).logits
    model.float()
    median = _median_write(model, ids)
    factor = 2.0 ** round(-math.log2(median))
    for name, parameter in model.named_parameters():
        if any(part in name for part in SCALED_LAYERS):
            parameter.mul_(factor)
    after = model(ids).logits
    exact_change = float((model.double()(ids).logits - exact).abs().max())
    model.float()
    if exact_change > 1e-4:
        message = f"rescaling changed a logit by {exact_change}"
        raise ValueError(message)
    return {
        "factor": factor,
        "median_write_before": median,
        "median_write_after": _median_write(model, ids),
        "largest_logit_change_float64": exact_change,
        "largest_logit_change_float32": float((after - before).abs().max()),
        "median_logit_change_float32": float((after - before).abs().median()),
    }


def _median_write(model: nn.Module, ids: Tensor) -> float:
    sizes: list[Tensor] = []
    with recording(
        model, "mlp_out", range(CONFIG.n_layer), lambda _layer, write: sizes.append(write[write != 0].abs())
    ):
        model(ids)
    return float(torch.cat(sizes).median())


@torch.no_grad()
def losses(model: nn.Module, rows: list[Tokens]) -> list[NDArray[np.float32]]:
    """Cross-entropy of every token but the first of each row, in nats, in the order of the rows."""
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), 32):
        batch = order[start : start + 32]
        ids = torch.full((len(batch), len(rows[batch[-1]])), IGNORED)
        for position, row in enumerate(batch):
            ids[position, : len(rows[row])] = torch.from_numpy(rows[row].astype(np.int64))
        logits = model(ids.clamp(min=0)).logits[:, :-1]
        loss = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none", ignore_index=IGNORED)
        for position, row in enumerate(batch):
            found[row] = loss[position, : len(rows[row]) - 1].numpy()
    return found


def _mean_loss(rows: list[NDArray[np.float32]]) -> float:
    return round(float(np.concatenate(rows).mean(dtype=np.float64)), 4)


def count_baselines(
    training: list[Tokens], held_out: dict[str, list[Tokens]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Losses of counting the training text once: add-one unigrams, and bigrams with Witten-Bell interpolation."""
    size = CONFIG.vocab_size
    stream = np.concatenate(training).astype(np.int64)
    unigram = (np.bincount(stream, minlength=size) + 1) / (len(stream) + size)
    pairs = np.bincount(stream[:-1] * size + stream[1:], minlength=size * size).reshape(size, size)
    kinds = (pairs > 0).sum(axis=1, keepdims=True).clip(min=1)
    bigram = (pairs + kinds * unigram) / (pairs.sum(axis=1, keepdims=True) + kinds)
    unigram_loss, bigram_loss = {}, {}
    for name, rows in held_out.items():
        contexts = np.concatenate([row[:-1] for row in rows])
        targets = np.concatenate([row[1:] for row in rows])
        unigram_loss[name] = round(float(-np.log(unigram[targets]).mean()), 4)
        bigram_loss[name] = round(float(-np.log(bigram[contexts, targets]).mean()), 4)
    return unigram_loss, bigram_loss


def densities(model: nn.Module) -> dict[str, float]:
    """Share of nonzero entries of each kind of pruned matrix, over all layers."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        if target_density(name) is not None:
            kind = name.split(".", 3)[-1] if ".h." in name else name
            count = counts.setdefault(kind, [0, 0])
            count[0] += int(parameter.count_nonzero())
            count[1] += parameter.numel()
    return {kind: round(nonzero / total, 5) for kind, (nonzero, total) in counts.items()}


def model_card(record: dict[str, Any]) -> str:
    """The README of the model's folder, from the template beside this script."""
    training, rescaling = record["training"], record["rescaling"]
    loss_rows = [
        f"| {name.replace('_', ' ')} | {row['tokens']:,} | {row['untrained']:.2f} | {row['unigram_counts']:.2f} "
        f"| {row['bigram_counts']:.2f} | **{row['shipped']:.2f}** |"
        for name, row in record["loss_nats_per_token"].items()
    ]
    template = Template(Path(__file__).with_name("mini_model_card.md").read_text())
    values = CONFIG.to_json() | training | record | {
        "parameters": f"{record['parameters']:,}",
        "nonzero_parameters": f"{record['nonzero_parameters']:,}",
        "written": CONFIG.kept("mlp_out", CONFIG.d_model),
        "density_table": "\n".join(f"| `{kind}` | {share:.1%} |" for kind, share in record["density"].items()),
        "loss_table": "\n".join(loss_rows),
        "steps": f"{training['steps']:,}",
        "tokens": f"{training['tokens']:,}",
        "prompts": f"{training['prompts']:,}",
        "rows": LIBRARY_ROWS + PROMPT_ROWS,
        "library_rows": LIBRARY_ROWS,
        "minutes": round(training["seconds"] / 60),
        "prompt_seeds": ", ".join(map(str, training["prompt_seeds"])),
        "factor": f"{rescaling['factor']:g}",
        "median_before": f"{rescaling['median_write_before']:.3g}",
        "median_after": f"{rescaling['median_write_after']:.3g}",
        "change_float64": f"{rescaling['largest_logit_change_float64']:.0e}",
        "change_float32": f"{rescaling['largest_logit_change_float32']:.0e}",
        "change_median": f"{rescaling['median_logit_change_float32']:.0e}",
    }  # fmt: skip
    return template.substitute(values)
