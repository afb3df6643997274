"""Token sequences as batches: equal texts run once, lengths sorted so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Batch", "UniqueSequences", "length_sorted_batches"]


@dataclass(frozen=True)
class UniqueSequences:
    """Distinct token sequences of a list, in order of first appearance.

    Attributes:
        sequences: the distinct ones.
        index: int64 (n,), the distinct sequence behind each of the n given ones.
    """

    sequences: list[tuple[int, ...]]
    index: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> UniqueSequences:
        """Find the distinct ones among `sequences`."""
        seen: dict[tuple[int, ...], int] = {}
        index = np.fromiter((seen.setdefault(tuple(ids), len(seen)) for ids in sequences), np.int64, len(sequences))
        return cls(list(seen), index)


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences.

    Attributes:
        rows: int64 (B,), which sequences these are.
        ids: int64 (B, T).
        lengths: int64 (B,), tokens that are not padding.
    """

    rows: npt.NDArray[np.int64]
    ids: torch.Tensor
    lengths: torch.Tensor


def length_sorted_batches(sequences: Sequence[Sequence[int]], *, batch_tokens: int, pad_id: int = 0) -> Iterator[Batch]:
    """Batches of similar length, shortest first, each of at most `batch_tokens` tokens with padding.

    The padding is on the right, where no real token can see it. The order is deterministic.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    widths = np.maximum(lengths, 1)  # an empty sequence takes a place of padding
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * widths[order[stop]] <= batch_tokens:
            stop += 1
        rows = order[start:stop]
        ids = torch.full((len(rows), int(widths[rows].max())), pad_id, dtype=torch.int64)
        for position, row in enumerate(rows):
            ids[position, : lengths[row]] = torch.tensor(sequences[row], dtype=torch.int64)
        yield Batch(rows, ids, torch.from_numpy(lengths[rows]))
        start = stop
