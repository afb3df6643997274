"""Stage 12 on the bundled model: the extractor against bare forward passes, and against prompts in file order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.harness import Row, Side, at_least, compare
from circuit_artifacts.compute.csp.activations import accumulate
from circuit_artifacts.compute.csp.batching import UniqueSequences, length_sorted_batches
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.compute.hooks import layer_count, recording
from circuit_artifacts.compute.models import backbone, load_model, load_tokenizer
from circuit_artifacts.schemas.csp_vocabulary import attempted_pairs

__all__ = ["run"]

BATCH_TOKENS, BATCH_PROMPTS = 8192, 64
NODE_STEP, N_PROMPTS = 7, 50  # whole nodes, so that prompts repeat as they do in the full set (71 % distinct there)

Ids = list[list[int]]
Groups = npt.NDArray[np.int64]


def run(work: Path) -> Iterator[Row]:
    """Rows about stage 12.

    Args:
        work: not used.
    """
    del work
    model, tokenizer = load_model("mini"), load_tokenizer("mini")
    nodes = list(dict.fromkeys(node for node, _ in attempted_pairs("small")))[::NODE_STEP]
    pairs = [pair for pair in attempted_pairs("small") if pair[0] in nodes]
    texts = [prompt.prompt_text for prompt in generate_object_prompts(pairs, n=N_PROMPTS)]
    yield from _rows(model, tokenizer.encode_batch(texts, max_length=256), len(pairs))


def _rows(model: nn.Module, sequences: Ids, n_groups: int) -> Iterator[Row]:
    groups = np.repeat(np.arange(n_groups), len(sequences) // n_groups)
    unique = UniqueSequences.of(sequences).sequences
    batches = [batch.ids for batch in length_sorted_batches(unique, batch_tokens=BATCH_TOKENS)]
    work = f"stage 12, {len(sequences):,} prompts ({len(unique):,} distinct)"
    ours = Side("`accumulate`", lambda: accumulate(model, sequences, groups, n_groups, batch_tokens=BATCH_TOKENS))
    yield compare(
        work,
        ours,
        Side("whole model, the same length-sorted batches of distinct prompts", lambda: _forward(model, batches)),
        at_least(0.9),
        rounds=2,
    )
    yield compare(
        work,
        ours,
        Side("the same without the unembedding", lambda: _forward(backbone(model), batches)),
        rounds=2,
    )
    yield compare(
        work,
        ours,
        Side(
            f"batches of {BATCH_PROMPTS} in file order, whole outputs kept",
            lambda: _in_order(model, sequences, groups, n_groups),
        ),
        at_least(2.5),
        rounds=2,
    )


@torch.inference_mode()
def _forward(model: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    for ids in batches:
        model(ids)


@torch.inference_mode()
def _in_order(model: nn.Module, sequences: Ids, groups: Groups, n_groups: int) -> list[list[torch.Tensor]]:
    """The plain way: pad each batch to its longest prompt, keep every output, add up prompt by prompt."""
    layers = range(layer_count(model))
    sums: list[list[torch.Tensor]] = [[torch.zeros(0) for _ in layers] for _ in range(n_groups)]
    outputs: dict[int, torch.Tensor] = {}

    def keep(layer: int, output: torch.Tensor) -> None:
        outputs[layer] = output

    with recording(model, "mlp_out", layers, keep):
        for start in range(0, len(sequences), BATCH_PROMPTS):
            rows = sequences[start : start + BATCH_PROMPTS]
            longest = max(map(len, rows))
            model(torch.tensor([row + [0] * (longest - len(row)) for row in rows]))
            for place, row in enumerate(rows):
                group = sums[int(groups[start + place])]
                for layer in layers:
                    magnitude = outputs[layer][place, len(row) - 1].abs()
                    group[layer] = group[layer] + magnitude if len(group[layer]) else magnitude
    return sums
