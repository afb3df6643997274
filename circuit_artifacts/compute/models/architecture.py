"""The circuit-sparsity transformer: a GPT whose activations are cut to their largest entries at declared sites.

Module tree and state-dict keys are those of the published checkpoints (model spec 3.2), so that their weights load as
they are. What the published code offers beyond inference (its hook context, its kernels) is left out:
``circuit_artifacts.compute.hooks`` reads activations through ordinary torch hooks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from circuit_artifacts.compute.models.config import CircuitConfig
from circuit_artifacts.errors import ModelError

__all__ = ["CausalOutput", "CircuitTransformer", "abs_top_k", "sinusoidal_positions"]


@dataclass(frozen=True, slots=True)
class CausalOutput:
    """What a forward pass returns; the same attributes as the outputs of ``transformers``.

    Attributes:
        logits: (B, T, V), next-token logits in the model's dtype.
        loss: always None; the family's loss is plain cross-entropy and belongs to the caller.
    """

    logits: Tensor
    loss: None = None


def abs_top_k(values: Tensor, count: int | None) -> Tensor:
    """Keep the ``count`` entries of largest magnitude in the last dimension, zero the others (model spec 1.3).

    Signs are kept, gradients flow through kept entries only, ties fall as ``torch.topk`` lets them fall.

    Args:
        values: (..., width), any float dtype.
        count: entries to keep; None returns ``values`` itself.
    """
    if count is None:
        return values
    kept = values.abs().topk(count, dim=-1, sorted=False).indices
    return torch.zeros_like(values).scatter(-1, kept, values.gather(-1, kept))


def sinusoidal_positions(rows: int, width: int) -> Tensor:
    """A (rows, width) float32 table of sines and cosines, periods log-spaced from 4 to ``rows`` (model spec 1.1)."""
    periods = torch.logspace(math.log10(4), math.log10(rows), width // 2, dtype=torch.float64)
    angles = 2 * math.pi * torch.arange(rows, dtype=torch.float64)[:, None] / periods
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def _norm(config: CircuitConfig, width: int) -> nn.Module:
    # RMSNorm without an explicit eps uses float32's machine epsilon, as the published code does (model spec 1.2).
    return nn.RMSNorm(width) if config.rms_norm else nn.LayerNorm(width, bias=config.ln_bias)


class AttentionCore(nn.Module):
    """Causal attention over given q, k, v, with an optional learned sink per head."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        if config.sink:
            self.sink_logit: nn.Parameter | None = nn.Parameter(torch.zeros(config.n_head))
        else:
            self.register_parameter("sink_logit", None)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend; all of q, k, v and the result are (B, n_head, T, d_head)."""
        if self.sink_logit is None:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        # The sink is a first key with value zero whose logit is the learned scalar, so that it only adds exp(sink) to
        # the softmax's denominator (model spec 1.2). One more channel carries that logit: 1 in every query, 0 in
        # every real key. A dummy first query keeps the shape square, which lets the fused causal kernels run: no
        # (T, T) mask is stored, and forward plus backward take a third of the masked form's time on a CPU.
        batch, heads, _, width = q.shape
        padded = 8 * (width // 8 + 1)  # kernels want multiples of 8
        queries = functional.pad(functional.pad(q, (0, 1), value=1.0), (0, padded - width - 1, 1, 0))
        logit = (self.sink_logit.to(q.dtype) * math.sqrt(width))[None, :, None, None].expand(batch, heads, 1, 1)
        keys = torch.cat(
            [functional.pad(logit, (width, padded - width - 1)), functional.pad(k, (0, padded - width))], dim=2
        )
        values = functional.pad(v, (0, padded - width, 1, 0))
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=1 / math.sqrt(width)
        )
        return mixed[:, :, 1:, :width]


class Attention(nn.Module):
    """Causal self-attention: one fused projection, the heads, one output projection."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        width = config.attention_width
        self.config = config
        self.c_attn = nn.Linear(config.input_width, 3 * width, bias=config.bias)
        self.c_proj = nn.Linear(width, config.d_model, bias=config.bias)
        self.attn_imp = AttentionCore(config)
        self.kept_in = config.kept("attn_in", config.input_width)
        # Over all heads together, not per head (model spec 1.3).
        self.kept_qkv = tuple(config.kept(f"attn_{name}", width) for name in "qkv")
        self.kept_out = config.kept("attn_out", config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map the normed input (B, T, d_model_in) to the residual write (B, T, d_model)."""
        batch, length, _ = x.shape
        parts = self.c_attn(abs_top_k(x, self.kept_in)).chunk(3, dim=-1)
        q, k, v = (
            abs_top_k(part, count).view(batch, length, self.config.n_head, -1).transpose(1, 2)
            for part, count in zip(parts, self.kept_qkv, strict=True)
        )
        mixed = self.attn_imp(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return abs_top_k(self.c_proj(mixed), self.kept_out)


class MLP(nn.Module):
    """Up-projection, activation, down-projection; no gate."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.input_width, config.mlp_width, bias=config.bias)
        self.c_proj = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.activation = nn.GELU() if config.activation_type == "gelu" else nn.ReLU()
        self.kept_in = config.kept("mlp_in", config.input_width)
        self.kept_neurons = config.kept("mlp_neuron", config.mlp_width)
        self.kept_out = config.kept("mlp_out", config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map the normed input (B, T, d_model_in) to the residual write (B, T, d_model)."""
        neurons = abs_top_k(self.activation(self.c_fc(abs_top_k(x, self.kept_in))), self.kept_neurons)
        return abs_top_k(self.c_proj(neurons), self.kept_out)


class Block(nn.Module):
    """One pre-norm layer: attention, then MLP, each added to the residual stream."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.ln_1 = _norm(config, config.d_model)
        self.attn = Attention(config)
        self.ln_2 = _norm(config, config.d_model)
        self.mlp = MLP(config)
        if config.d_pos_emb is not None:
            self.ln_p1 = _norm(config, config.d_pos_emb)
            self.ln_p2 = _norm(config, config.d_pos_emb)
        self.rectify = config.residual_activation_type == "relu"
        self.kept_after_attn = config.kept("resid_post_attn", config.d_model)
        self.kept_after_mlp = config.kept("resid_post_mlp", config.d_model)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """Advance the residual stream (B, T, d_model); ``positions`` (T, d_pos_emb) are concatenated if given."""
        inner = self.ln_1(x)
        if positions is not None:
            inner = torch.cat([inner, self.ln_p1(positions).expand(len(x), -1, -1)], dim=-1)
        x = self._settle(x + self.attn(inner), self.kept_after_attn)
        inner = self.ln_2(x)
        if positions is not None:
            inner = torch.cat([inner, self.ln_p2(positions).expand(len(x), -1, -1)], dim=-1)
        return self._settle(x + self.mlp(inner), self.kept_after_mlp)

    def _settle(self, x: Tensor, count: int | None) -> Tensor:
        return abs_top_k(x.relu() if self.rectify else x, count)


class Trunk(nn.Module):
    """Embeddings, blocks, final norm: the part of the tree that checkpoints call ``transformer``."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.block_size, config.d_pos_emb or config.d_model)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = _norm(config, config.d_model)
        self.config = config

    def forward(self, input_ids: Tensor) -> Tensor:
        """The normed residual stream after the last block, (B, T, d_model), of token ids (B, T).

        Raises:
            ModelError: wrong shape or dtype of ``input_ids``, or too many tokens.
        """
        if input_ids.ndim != 2 or input_ids.dtype != torch.int64:
            msg = "token ids are not a (batch, tokens) int64 tensor"
            raise ModelError(msg, found=f"{tuple(input_ids.shape)} {input_ids.dtype}")
        length = input_ids.shape[1]
        if length > self.config.block_size:
            msg = "the input is longer than the model's position table"
            raise ModelError(msg, found=f"{length} tokens", expected=f"at most {self.config.block_size}")
        x = self.wte(input_ids)
        positions: Tensor | None = self.wpe.weight[:length]
        if self.config.d_pos_emb is None:
            x, positions = x + self.wpe.weight[:length], None
        for block in self.h:
            x = block(x, positions)
        normed: Tensor = self.ln_f(x)
        return normed


class CircuitTransformer(nn.Module):
    """A circuit-sparsity language model (model spec 1.2).

    Args:
        config: the shape. Weights start random (normal with deviation 0.02, residual projections divided by
            sqrt(2 n_layer), biases, sinks and bigram table zero); build under ``torch.device("meta")`` to skip that.
    """

    bigram_table: nn.Parameter | None
    final_logits_bias: Tensor

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        table = torch.zeros(config.vocab_size, config.vocab_size) if config.enable_bigram_table else None
        self.register_parameter("bigram_table", None if table is None else nn.Parameter(table))
        self.register_buffer("final_logits_bias", torch.zeros(config.vocab_size))
        self._initialise()
        if config.tied_unembed:
            self.lm_head.weight = self.transformer.wte.weight

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                deviation = 0.02
                if name.endswith(".c_proj"):
                    deviation /= math.sqrt(2 * self.config.n_layer)
                nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.config.sinusoidal_cat_pos_emb:
            table = self.transformer.wpe.weight
            table.copy_(sinusoidal_positions(*table.shape))
            table.requires_grad = False

    @property
    def base_model(self) -> Trunk:
        """The model without its unembedding, under the name that `transformers` models give it."""
        return self.transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> CausalOutput:
        """Next-token logits.

        The family has no attention mask. Padding on the right is harmless, since no token sees a later one;
        padding on the left would be attended to and would shift positions, so a mask that shows it is refused.

        Args:
            input_ids: (B, T), int64, T at most ``config.block_size``.
            attention_mask: (B, T), nonzero at real tokens; only checked, never used.

        Returns:
            Logits (B, T, V).

        Raises:
            ModelError: wrong shape or dtype of ``input_ids``, too many tokens, or padding that is not on the right.
        """
        if attention_mask is not None:
            _require_right_padding(attention_mask, input_ids)
        logits = self.lm_head(self.transformer(input_ids)) + self.final_logits_bias
        if self.bigram_table is not None:
            logits = logits + self.bigram_table[input_ids]
        return CausalOutput(logits)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Sample ``n`` more tokens; the context is cropped to the last ``block_size`` tokens (model spec 1.2).

        Args:
            input_ids: (B, T), int64, no padding, T at least 1.
            n: tokens to add.
            temperature: divides the logits; 0 takes the most likely token.
            generator: source of randomness.

        Returns:
            (B, T + n), int64.
        """
        for _ in range(n):
            logits = self(input_ids[:, -self.config.block_size :]).logits[:, -1].float()
            if temperature == 0:
                following = logits.argmax(dim=-1, keepdim=True)
            else:
                following = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)
            input_ids = torch.cat([input_ids, following], dim=1)
        return input_ids


def _require_right_padding(attention_mask: Tensor, input_ids: Tensor) -> None:
    if attention_mask.shape != input_ids.shape:
        problem = "the attention mask has another shape than the token ids"
        raise ModelError(problem, found=tuple(attention_mask.shape), expected=tuple(input_ids.shape))
    real = attention_mask != 0
    if bool((real[:, 1:] & ~real[:, :-1]).any()):
        problem = "the attention mask has a padding token before a real one, which this model family cannot mask"
        raise ModelError(
            problem,
            remedy="Pad on the right and read each prompt at its own last token.",
        )
