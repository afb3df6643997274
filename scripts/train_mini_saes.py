"""Train the bundled model's autoencoders from nothing: ``python scripts/train_mini_saes.py``.

Activations are read after each block, in windows cut from anywhere in the training modules of the standard library;
quality is measured on text that neither the model nor the autoencoders were trained on, with the weights that ship.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import random
import shutil
import time
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from mini_corpus import Tokens, encode, read_texts
from rich.console import Console
from torch import Tensor, nn

from circuit_artifacts import progress, provenance
from circuit_artifacts.compute.hooks import capture, layer_count
from circuit_artifacts.compute.models import load_model, load_tokenizer, model_identity, residual_width
from circuit_artifacts.compute.saes import SaeOrigin, SparseAutoencoder, load_sae, save_sae
from circuit_artifacts.compute.saes.quality import SaeQuality, sae_quality
from circuit_artifacts.compute.saes.saelens import WEIGHTS
from circuit_artifacts.compute.saes.training import SaeRecipe, train_sae

SITE = "resid_post"
WINDOW = 128  # tokens
TRAINING_WINDOWS, HELD_OUT_WINDOWS = 6400, 256
SEED = 20252
RELU_PENALTY = 0.012
SWEPT_LAYER, SWEPT_WIDTHS = 4, (64, 128, 512, 1024)


def recipes() -> dict[str, tuple[int, SaeRecipe]]:
    """Layer and recipe of each autoencoder, by its folder."""
    shared: dict[str, Any] = {"seed": SEED}
    relu = {
        width: SaeRecipe(arch="relu", d_sae=width, penalty=RELU_PENALTY, **shared) for width in (256, *SWEPT_WIDTHS)
    }
    others = (
        SaeRecipe(arch="jumprelu", d_sae=256, penalty=0.0035, **shared),
        SaeRecipe(arch="topk", d_sae=256, k=16, auxiliary=1 / 32, **shared),
    )
    chosen = [(layer, relu[256]) for layer in range(8)]
    chosen += [(SWEPT_LAYER, recipe) for recipe in (*others, *(relu[width] for width in SWEPT_WIDTHS))]
    return {f"{SITE}/layer_{layer}/{recipe.arch}_{recipe.d_sae}": (layer, recipe) for layer, recipe in chosen}


def random_windows(documents: list[Tokens], count: int) -> Tensor:
    """Token ids (count, WINDOW) from anywhere in the documents, one behind the other."""
    stream, generator = np.concatenate(documents), random.Random(SEED)
    starts = [generator.randrange(len(stream) - WINDOW) for _ in range(count)]
    return torch.from_numpy(np.stack([stream[start : start + WINDOW] for start in starts]).astype(np.int64))


def spaced_windows(documents: list[Tokens], count: int) -> Tensor:
    """Token ids (count, WINDOW) at even distances in the documents, one behind the other."""
    stream = np.concatenate(documents)
    step = (len(stream) - WINDOW) // count
    windows = [stream[window * step : window * step + WINDOW] for window in range(count)]
    return torch.from_numpy(np.stack(windows).astype(np.int64))


def collect(model: nn.Module, windows: Tensor) -> list[Tensor]:
    """Activations (tokens, width) of every layer."""
    layers = range(layer_count(model))
    found = [torch.empty(windows.numel(), residual_width(model)) for _ in layers]
    batches = windows.split(64)
    done = 0
    for ids in progress.track(batches, "reading activations", total=len(batches)):
        for layer, activation in capture(model, ids, site=SITE, layers=layers).items():
            found[layer][done : done + ids.numel()] = activation.flatten(0, 1)
        done += ids.numel()
    return found


def rounded(quality: SaeQuality) -> dict[str, float]:
    """The measurements with as many digits as mean something."""
    values = dataclasses.asdict(quality) | {"loss_recovered": quality.loss_recovered}
    return {name: round(value, 4) for name, value in values.items()}


def ship(sae: SparseAutoencoder, folder: Path, record: provenance.Provenance) -> SparseAutoencoder:
    """Write an autoencoder in half precision, and read it back as users will."""
    save_sae(sae.half(), folder, record=record)
    (folder / WEIGHTS).chmod(0o644)  # the library writes it for the owner only
    return load_sae(folder)


def build(out: Path) -> None:
    """Train, measure and write everything."""
    begun = time.monotonic()
    texts = read_texts()
    model, tokenizer = load_model("mini"), load_tokenizer("mini").backend
    identity = dataclasses.asdict(model_identity(model))
    facts = {
        "text": "training modules of the standard library",
        "corpus_sha256": texts.fingerprint(),
        "windows": TRAINING_WINDOWS,
        "window": WINDOW,
        "tokens": TRAINING_WINDOWS * WINDOW,
        "windows_seed": SEED,
        "stored_dtype": "float16",
    }
    held_out = {
        "held_out_modules": spaced_windows(encode(tokenizer, texts.held_out_modules), HELD_OUT_WINDOWS),
        "held_out_prompts": spaced_windows(encode(tokenizer, texts.held_out_prompts), HELD_OUT_WINDOWS),
    }
    activations = collect(model, random_windows(encode(tokenizer, texts.modules), TRAINING_WINDOWS))
    shutil.rmtree(out / SITE, ignore_errors=True)
    described: dict[str, Any] = {}
    for name, (layer, recipe) in recipes().items():
        started = time.monotonic()
        sae = train_sae(activations[layer], recipe)
        seconds = round(time.monotonic() - started)
        sae.origin = SaeOrigin(
            format="trained",
            source=name,
            dtype="float32",
            model="mini",
            hook_point=f"blocks.{layer}.hook_{SITE}",
            layer=layer,
        )
        record = provenance.Provenance(
            mirror="sae-locality-mini",
            step="sae training",
            model=identity,
            n_layers=len(activations),
            width=sae.d_in,
            parameters={"site": SITE, "layer": layer, **facts, "recipe": dataclasses.asdict(recipe)},
            versions=provenance.package_versions(),
        )
        shipped = ship(sae, out / name, record)
        quality = {
            text: rounded(sae_quality(model, shipped, windows, layer=layer)) for text, windows in held_out.items()
        }
        described[name] = {
            "layer": layer,
            "recipe": {key: value for key, value in dataclasses.asdict(recipe).items() if value},
            "weights_sha256": hashlib.sha256((out / name / WEIGHTS).read_bytes()).hexdigest(),
            "seconds": seconds,
            **quality,
        }
        print(name, f"{seconds} s", quality["held_out_modules"], flush=True)
    summary = {
        "statement": "trained by circuit-artifacts on its bundled model; no published artifact",
        "model": identity,
        "site": SITE,
        "training": facts
        | {
            "seconds": round(time.monotonic() - begun),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
        "saes": described,
    }
    (out / "training.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(summary), encoding="utf-8")


def card(summary: dict[str, Any]) -> str:
    """The README of the folder, from the template beside this script."""
    rows = []
    for name, described in summary["saes"].items():
        code, prompts = described["held_out_modules"], described["held_out_prompts"]
        cells = [f"`{name}`"]
        for quality in (code, prompts):
            cells += [f"{quality['l0']:.1f}", f"{quality['variance_explained']:.3f}"]
            cells += [f"{quality['dead_share']:.1%}", f"{quality['loss_recovered']:.3f}"]
        rows.append(f"| {' | '.join(cells)} |")
    losses = next(iter(summary["saes"].values()))["held_out_modules"]
    template = Template(Path(__file__).with_name("mini_saes_card.md").read_text(encoding="utf-8"))
    training = summary["training"]
    return template.substitute(
        training
        | {
            "site": summary["site"],
            "rows": "\n".join(rows),
            "tokens": f"{training['tokens']:,}",
            "minutes": round(training["seconds"] / 60),
            "measured": f"{losses['tokens']:,}",
            "model_sha256": summary["model"]["sha256"],
            "penalty": RELU_PENALTY,
            "seed": SEED,
        }
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("circuit_artifacts/data/mini_saes"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with progress.shown(Console(stderr=True)):
        build(arguments.out)
    total = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
