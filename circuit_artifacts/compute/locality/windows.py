"""Which stretches of a corpus are looked at: fixed-length windows, sampled by a seed or evenly spaced."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_artifacts.errors import SchemaError

__all__ = ["WindowFilter", "cut_windows", "sample_starts", "sequential_starts"]


@dataclass(frozen=True)
class WindowFilter:
    """A rule for which windows may be sampled. The published filters are not known; a run records this one's name.

    Attributes:
        name: what provenance calls it.
        accepts: given the token ids of a window and its text.
    """

    name: str
    accepts: Callable[[Sequence[int], str], bool]


def sample_starts(
    tokens: Sequence[int],
    *,
    context_len: int,
    n_windows: int,
    seed: int,
    keep: WindowFilter | None = None,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> list[int]:
    """Offsets of randomly chosen windows, as the published runs chose them (locality spec 5.3).

    Candidates are the multiples of the window's length; where those are too few, every offset. Python's generator,
    seeded just before, draws from them without replacement.

    Args:
        tokens: the whole corpus.
        context_len: tokens per window.
        n_windows: windows to draw.
        seed: of Python's `random`.
        keep: candidates that it refuses are not drawn from.
        decode: token ids to text, needed by `keep`.

    Returns:
        Token offsets, ascending.

    Raises:
        SchemaError: the corpus has too few windows, or a filter comes without `decode`.
    """
    if keep is not None and decode is None:
        problem = "a window filter reads text, and there is nothing to decode tokens with"
        raise SchemaError(problem, where="decode", expected="a function from token ids to text")
    last = len(tokens) - context_len

    def accepted(offsets: range) -> list[int]:
        if keep is None or decode is None:
            return list(offsets)
        windows = ((start, tokens[start : start + context_len]) for start in offsets)
        return [start for start, window in windows if keep.accepts(window, decode(window))]

    candidates = accepted(range(0, last + 1, context_len))
    if len(candidates) < n_windows:
        candidates = accepted(range(last + 1))
    if len(candidates) < n_windows:
        problem = "the corpus does not have as many windows as were asked for"
        named = f" that pass {keep.name}" if keep else ""
        raise SchemaError(
            problem, found=f"{len(candidates)} windows of {context_len} tokens{named}", expected=n_windows
        )
    return sorted(random.Random(seed).sample(candidates, n_windows))  # noqa: S311 - published seeds, not secrets


def sequential_starts(n_tokens: int, *, context_len: int, n_windows: int) -> list[int]:
    """Offsets of evenly spaced windows from the corpus's beginning, as the published code spaces them.

    Args:
        n_tokens: length of the corpus.
        context_len: tokens per window.
        n_windows: windows wanted.

    Raises:
        SchemaError: the corpus is so short that windows would coincide.
    """
    step = (n_tokens - context_len) // n_windows
    if step < 1:
        problem = "the corpus is too short for windows at different offsets"
        raise SchemaError(problem, found=f"{n_tokens} tokens", expected=f"at least {context_len + n_windows}")
    return [step * window for window in range(n_windows)]


def cut_windows(tokens: Sequence[int], starts: Sequence[int], *, context_len: int) -> Tensor:
    """The windows at these offsets, (len(starts), context_len), int64."""
    return torch.tensor([list(tokens[start : start + context_len]) for start in starts], dtype=torch.int64)
