"""Facts about any causal language model that its code does not say in one way: layers aside, see `hooks`."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

__all__ = ["backbone", "context_length", "residual_width"]


def backbone(model: nn.Module) -> nn.Module:
    """The model without its unembedding, where that can be had; running it gives every activation but the logits."""
    return cast("nn.Module", getattr(model, "base_model", model))


def context_length(model: nn.Module) -> int | None:
    """The most tokens the model takes, or None where it names no limit."""
    config: Any = getattr(model, "config", None)
    for name in ("block_size", "max_position_embeddings", "n_positions", "n_ctx"):
        limit = getattr(config, name, None)
        if isinstance(limit, int):
            return limit
    return None


def residual_width(model: nn.Module) -> int:
    """Dimensions of the residual stream."""
    config: Any = getattr(model, "config", None)
    for name in ("d_model", "hidden_size", "n_embd"):
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width
    embedding: Any = next(module for module in model.modules() if isinstance(module, nn.Embedding))
    return int(embedding.embedding_dim)
