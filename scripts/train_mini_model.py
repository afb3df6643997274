"""Train the bundled model from nothing: ``python scripts/train_mini_model.py --work FOLDER --out FOLDER``.

The recipe is that of the published family at laptop size (model spec 5.1): gradients divided by their global root mean
square, Adam with a large epsilon, and after every step all but the largest weights of each matrix set to zero, the
number of survivors falling from all to the target over the first half. A killed run continues from its checkpoint in
``--work`` with the same result; a finished one only exports again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from mini_corpus import Batches, LibraryRows, PromptRows, encode, read_texts, train_tokenizer
from mini_export import export
from mini_recipe import (
    ANNEAL_FROM,
    ANNEAL_TO,
    CONFIG,
    LEAST_PER_NEURON,
    LIBRARY_ROWS,
    MATRIX_DENSITY,
    PEAK_RATE,
    PROMPT_ROWS,
    SEED,
    STEPS,
    WARM_UP,
    WEIGHT_DECAY,
    target_density,
)
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from circuit_artifacts.compute.models.architecture import CircuitTransformer

CHECKPOINT_EVERY = 200


def keep_largest(weight: Tensor, density: float, *, neuron_dimension: int | None) -> None:
    """Zero all but the largest entries of a (rows, columns) weight in place.

    Args:
        weight: the matrix.
        density: share of entries that survive.
        neuron_dimension: each slice along the *other* dimension is one neuron's weights, of which at least
            ``LEAST_PER_NEURON`` survive; None for matrices without that guard.
    """
    size = weight.abs()
    if neuron_dimension is not None:
        guarded = size.topk(LEAST_PER_NEURON, dim=1 - neuron_dimension).indices
        size.scatter_(1 - neuron_dimension, guarded, math.inf)
    kept = size.flatten().topk(round(density * weight.numel()), sorted=False).indices
    weight.mul_(torch.zeros(weight.numel()).index_fill_(0, kept, 1.0).view_as(weight))


def annealed_density(target: float, progress: float) -> float:
    """The density at ``progress`` (0 to 1) of training: 1 at first, then falling linearly to ``target``."""
    share = min(max((progress - ANNEAL_FROM) / (ANNEAL_TO - ANNEAL_FROM), 0.0), 1.0)
    return 1 - (1 - target) * share


@torch.no_grad()
def prune(model: CircuitTransformer, progress: float) -> None:
    """Cut every matrix to its budget at ``progress`` (0 to 1) of training."""
    for name, weight in model.named_parameters():
        target = target_density(name)
        if target is not None and progress > ANNEAL_FROM:
            # A neuron is a row of what writes neurons, a column of what reads them.
            dimension = 1 if name.endswith("c_proj.weight") else 0 if ".h." in name else None
            keep_largest(weight, annealed_density(target, progress), neuron_dimension=dimension)


def learning_rate(progress: float) -> float:
    """Linear warm-up and decay, lowered while the model is denser than it will be."""
    shape = progress / WARM_UP if progress < WARM_UP else (1 - progress) / (1 - WARM_UP)
    return PEAK_RATE * shape * math.sqrt(MATRIX_DENSITY / annealed_density(MATRIX_DENSITY, progress))


def make_optimizer(model: CircuitTransformer) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=0.1)


def save_checkpoint(
    path: Path, model: CircuitTransformer, optimizer: torch.optim.AdamW, facts: dict[str, float]
) -> None:
    """Write weights, optimiser state and ``facts`` (step, seconds, ...) to one safetensors file, atomically."""
    tensors = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}:{name}"] = optimizer.state[parameter][key]
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
    partial.replace(path)


def load_checkpoint(path: Path, model: CircuitTransformer, optimizer: torch.optim.AdamW) -> dict[str, float]:
    """Restore what ``save_checkpoint`` wrote; returns its facts."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        facts: dict[str, float] = json.loads(file.metadata()["facts"])
    model.load_state_dict({key: value for key, value in tensors.items() if ":" not in key})
    for name, parameter in model.named_parameters():
        state = {key: tensors[f"{key}:{name}"] for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = state | {"step": torch.tensor(float(facts["step"]))}
    return facts


def train_step(model: CircuitTransformer, optimizer: torch.optim.AdamW, ids: Tensor, progress: float) -> float:
    """One update on token ids (rows, T + 1); returns the loss in nats per token before it."""
    logits = model(ids[:, :-1]).logits
    loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    torch.autograd.backward(loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    squares = sum(float(gradient.square().sum()) for gradient in gradients)
    scale = math.sqrt(sum(gradient.numel() for gradient in gradients) / squares)
    torch._foreach_mul_(gradients, scale)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress)
    optimizer.step()
    optimizer.zero_grad()
    prune(model, progress)
    return float(loss.detach())


def train(work: Path, steps: int) -> None:
    """Train for ``steps`` steps, from the checkpoint in ``work`` if there is one."""
    texts = read_texts()
    if not (work / "tokenizer.json").exists():
        train_tokenizer(texts).save(str(work / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    record = {"corpus_sha256": texts.fingerprint(), "modules": len(texts.modules), "prompts": len(texts.prompts)}
    if (work / "corpus.json").exists() and json.loads((work / "corpus.json").read_text()) != record:
        msg = f"the corpus is not the one that {work} was begun with"
        raise ValueError(msg)
    (work / "corpus.json").write_text(json.dumps(record))
    width = CONFIG.block_size + 1
    batches = Batches(
        [
            (LibraryRows(encode(tokenizer, texts.modules), width, SEED), LIBRARY_ROWS),
            (PromptRows(encode(tokenizer, texts.prompts), width, SEED), PROMPT_ROWS),
        ]
    )
    torch.manual_seed(SEED)
    model = CircuitTransformer(CONFIG)
    optimizer = make_optimizer(model)
    checkpoint = work / "checkpoint.safetensors"
    facts: dict[str, float] = {"step": 0, "steps": steps, "seconds": 0.0}
    if checkpoint.exists():
        facts = load_checkpoint(checkpoint, model, optimizer)
    start = time.monotonic() - facts["seconds"]
    running = None
    for step in range(int(facts["step"]), steps):
        loss = train_step(model, optimizer, torch.from_numpy(batches(step)), progress=(step + 1) / (steps + 1))
        running = loss if running is None else 0.98 * running + 0.02 * loss
        done = step + 1
        if done % CHECKPOINT_EVERY == 0 or done == steps:
            facts = {"step": done, "steps": steps, "seconds": time.monotonic() - start}
            save_checkpoint(checkpoint, model, optimizer, facts)
        if done % 50 == 0:
            seconds = time.monotonic() - start
            print(f"step {done}/{steps}  loss {running:.3f}  {seconds:.0f} s", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tokenizer and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    train(arguments.work, arguments.steps)
    export(arguments.work, arguments.out)


if __name__ == "__main__":
    main()
