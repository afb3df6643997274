"""Tiny random language models of several families in float64, and random autoencoders, for tests of causality."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.models import CircuitConfig, CircuitTransformer
from circuit_artifacts.compute.saes import Architecture, SparseAutoencoder, TrainingFacts

__all__ = ["FAMILIES", "N_LAYERS", "VOCABULARY", "WIDTH", "LinearHead", "autoencoder", "build", "token_ids"]

N_LAYERS, VOCABULARY, WIDTH = 3, 50, 16

torch.set_num_threads(1)  # matrices this small only lose by sharing them out


def _neox() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": WIDTH, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **sizes))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_positions": 32, "n_embd": WIDTH, "n_layer": N_LAYERS, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **sizes))


def _grouped(config: Callable[..., Any], model: Callable[..., nn.Module], **extra: Any) -> nn.Module:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": N_LAYERS}
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    return model(config(vocab_size=VOCABULARY, max_position_embeddings=32, **heads, **sizes, **special, **extra))


def _gemma2() -> nn.Module:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return _grouped(Gemma2Config, Gemma2ForCausalLM, head_dim=4, attn_implementation="eager")


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _grouped(LlamaConfig, LlamaForCausalLM)


def _ours() -> nn.Module:
    return CircuitTransformer(
        CircuitConfig(
            n_layer=N_LAYERS, d_model=WIDTH, n_head=2, d_mlp=24, vocab_size=VOCABULARY, block_size=32, rms_norm=True,
            d_pos_emb=4, sink=True, tied_unembed=False, activation_type="gelu",
        )
    )  # fmt: skip


FAMILIES = {"neox": _neox, "gpt2": _gpt2, "gemma2": _gemma2, "llama": _llama, "ours": _ours}


def build(family: str, *, seed: int = 1, scale: float = 0.3) -> nn.Module:
    """A model of a family whose tokens and positions matter, in float64."""
    model = FAMILIES[family]().double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


class LinearHead(nn.Module):
    """A language model of one block whose logits are linear in the block's output, summed over earlier positions."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.attn, self.mlp = nn.Identity(), nn.Linear(width, width)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.attn(x) + self.mlp(x).tanh()

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([self.Block(WIDTH)])
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.double()

    def forward(self, ids: Tensor) -> Any:
        return SimpleNamespace(logits=self.head(self.blocks[0](self.embed(ids)).cumsum(dim=1)))


def autoencoder(
    arch: Architecture, *, n_features: int = 24, seed: int = 0, shift: float = 0.0, trained: TrainingFacts | None = None
) -> SparseAutoencoder:
    """Random weights in float64; by default it subtracts the decoder's bias first, as faithful mode then does."""
    generator = torch.Generator().manual_seed(seed)

    def weights(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    facts = TrainingFacts(apply_b_dec_to_input=True, normalization="none")
    return SparseAutoencoder(
        arch,
        weights(WIDTH, n_features),
        weights(n_features) * 0.1 + shift,
        weights(n_features, WIDTH),
        weights(WIDTH),
        threshold=weights(n_features).abs() if arch == "jumprelu" else None,
        k=5 if arch == "topk" else None,
        trained=trained or facts,
    )


def token_ids(batch: int = 4, length: int = 7, *, seed: int = 2) -> Tensor:
    """Random token ids (batch, length)."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))
