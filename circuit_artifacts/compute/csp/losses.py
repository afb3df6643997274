"""Stage 11 scoring: mean next-token cross-entropy of each prompt (csp_atlas spec 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from circuit_artifacts.compute.csp.batching import UniqueSequences, length_sorted_batches
from circuit_artifacts.progress import track

__all__ = ["UNSCORED_LOSS", "sequence_losses"]

UNSCORED_LOSS = 50.0  # a prompt of fewer than two tokens has no next token to predict


@torch.inference_mode()
def sequence_losses(
    model: torch.nn.Module, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192, device: str = "cpu"
) -> npt.NDArray[np.float64]:
    """Mean cross-entropy in nats of each token sequence under the model.

    Args:
        model: a causal language model; ``model(ids).logits`` (B, T, V).
        sequences: token ids without special tokens.
        batch_tokens: tokens per batch, padding included.
        device: where the model is.

    Returns:
        float64 (n,); 50.0 for sequences of fewer than two tokens.
    """
    unique = UniqueSequences.of(sequences)
    losses = np.full(len(unique.sequences), UNSCORED_LOSS)
    scorable = [row for row, ids in enumerate(unique.sequences) if len(ids) > 1]
    batches = length_sorted_batches([unique.sequences[row] for row in scorable], batch_tokens=batch_tokens)
    for batch in track(batches, "scoring prompts", total=len(scorable), step=lambda batch: len(batch.rows)):
        ids = batch.ids.to(device)
        logits = model(ids).logits[:, :-1].float()
        entropy = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        predicted = batch.lengths - 1
        real = torch.arange(ids.shape[1] - 1) < predicted[:, None]
        total = (entropy.view(len(ids), -1).cpu().double() * real).sum(dim=1)
        losses[np.asarray(scorable)[batch.rows]] = (total / predicted).numpy()
    return losses[unique.index]
