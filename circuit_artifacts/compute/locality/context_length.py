"""The context-length sweep: the same query token, read with more and more of the text before it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from circuit_artifacts.compute.locality.influence import WindowInfluence, window_influence
from circuit_artifacts.compute.saes import SparseAutoencoder
from circuit_artifacts.errors import SchemaError

__all__ = ["CHARACTERS_PER_TOKEN", "SweepPrompt", "context_lengths", "last_tokens", "sample_prompt", "sweep"]

CHARACTERS_PER_TOKEN = 12
"""Characters of text taken per token wanted, which is more than any tokenizer needs on English."""

Encode = Callable[[str], Sequence[int]]


class SweepPrompt(NamedTuple):
    """The text that a sweep holds fixed.

    Attributes:
        ids: token ids, as many as the longest context.
        char_start: where its slice begins in the corpus, in characters.
        char_budget: length of that slice, in characters.
    """

    ids: list[int]
    char_start: int
    char_budget: int


def context_lengths(minimum: int, maximum: int, step: int) -> list[int]:
    """The lengths of a sweep: steps up from the minimum, and the maximum itself (locality spec 5.4)."""
    return sorted({*range(minimum, maximum + 1, step), maximum})


def sample_prompt(text: str, encode: Encode, *, max_context_len: int, seed: int) -> SweepPrompt:
    """Draw the prompt of a sweep from a corpus, as the published code does (locality spec 5.4).

    Sweeps whose longest context differs begin at the same character for a seed, but end at another token.

    Args:
        text: the corpus.
        encode: text to token ids, special tokens included as the tokenizer does by default.
        max_context_len: tokens of the longest context.
        seed: of Python's `random`.

    Raises:
        SchemaError: the corpus is shorter than the slice, or the slice has too few tokens.
    """
    char_budget = CHARACTERS_PER_TOKEN * max_context_len
    if len(text) < char_budget:
        problem = "the corpus is shorter than the slice that a sweep takes its prompt from"
        raise SchemaError(problem, found=f"{len(text)} characters", expected=f"at least {char_budget}")
    char_start = random.Random(seed).randint(0, len(text) - char_budget)  # noqa: S311 - a published seed, no secret
    ids = last_tokens(text[char_start : char_start + char_budget], encode, max_context_len)
    return SweepPrompt(ids, char_start, char_budget)


def last_tokens(text: str, encode: Encode, max_context_len: int) -> list[int]:
    """The last tokens of a text, for sweeps over a given prompt too.

    How the published FineWeb sweep trims its prompt is not known; keeping its end is ours.

    Raises:
        SchemaError: the text has too few.
    """
    ids = list(encode(text))
    if len(ids) < max_context_len:
        problem = "the prompt is shorter than the longest context of the sweep"
        raise SchemaError(problem, found=f"{len(ids)} tokens", expected=f"at least {max_context_len}")
    return ids[len(ids) - max_context_len :]


def sweep(
    model: nn.Module, sae: SparseAutoencoder, ids: Tensor, *, lengths: Sequence[int], **options: Any
) -> Iterator[tuple[int, WindowInfluence]]:
    """Influence at the last token with each length of context.

    Args:
        model: as in `window_influence`.
        sae: as in `window_influence`.
        ids: (T,), int64; every context is its end.
        lengths: tokens of context, each at most T.
        options: the other arguments of `window_influence`. The published code measures no token-vector influence here:
            ``token_vector=False``.

    Yields:
        A length and the influence over that many tokens, in the order of `lengths`.
    """
    for length in lengths:
        yield length, window_influence(model, sae, ids[len(ids) - length :], **options)
