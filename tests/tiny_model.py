"""Tiny random language models in folders, with tokenizers, for tests: seeded, offline, written in milliseconds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer

__all__ = ["SNIPPETS", "write_tiny_gpt2", "write_tiny_model"]

SNIPPETS = (
    "for item in items:\n    print(item)",
    "def main():\n    return list(range(10))",
    "class Parser:\n\n    def run(self):\n        pass",
    "import os\nfrom collections import OrderedDict",
    "while count > 0:\n    count -= 1\n    break",
    "if isinstance(value, int):\n    result = str(value)\nelse:\n    pass",
    "try:\n    result = int(text)\nexcept ValueError as e:\n    print(str(e))",
    "x = 1  # return str if list for import\ndata = {'int': 'pass', 'break': 2}",
)
_VOCABULARY = 320

torch.set_num_threads(1)  # matrices this small only lose by sharing them out


def write_tiny_model(
    folder: Path, *, n_layer: int = 2, d_model: int = 16, afrac: float | None = None, seed: int = 0
) -> Path:
    """Write a circuit-sparsity model in its Hub form: ``config.json``, safetensors and ``tokenizer.json``.

    Args:
        folder: where; created if need be.
        n_layer: number of blocks.
        d_model: width of the residual stream.
        afrac: share of activations kept at all eight sites; None keeps all, so that nothing jumps between near ties.
        seed: of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder)
    sites = "attn_in,attn_q,attn_k,attn_v,attn_out,mlp_in,mlp_neuron,mlp_out"
    config = CircuitConfig(
        block_size=160,
        vocab_size=_VOCABULARY,
        n_layer=n_layer,
        n_head=2,
        d_model=d_model,
        d_mlp=3 * d_model,
        rms_norm=True,
        afrac=afrac,
        afrac_loctypes=sites,
        tied_unembed=False,
        d_pos_emb=4,
        sink=True,
    )
    model = CircuitTransformer(config)
    _randomise(model, seed)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    save_file({f"circuit_model.{name}": value for name, value in model.state_dict().items()}, folder / "m.safetensors")
    return folder


def write_tiny_gpt2(folder: Path, *, seed: int = 0) -> Path:
    """Write a GPT-2 in the form of `transformers`, two blocks 16 wide, with ``tokenizer.json``."""
    from transformers import GPT2Config, GPT2LMHeadModel  # slow to import, and needed by few tests

    config = GPT2Config(vocab_size=_VOCABULARY, n_positions=160, n_embd=16, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config)
    _randomise(model, seed)
    model.save_pretrained(folder)
    _write_tokenizer(folder)
    return folder


@torch.no_grad()
def _randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that tokens and positions matter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SNIPPETS, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
