"""Which items of subject-verb agreement a model can be asked, and the tokens that it gets.

The choice is that of feature-circuits (causal-dimensionality spec 2.8): items are shuffled, those whose tokens do not
line up are left out, and the first n of the rest are taken.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from circuit_artifacts.causal_dimensionality.agreement import Contrast
from circuit_artifacts.errors import ModelError

__all__ = ["AgreementBatch", "AgreementExample", "ChosenExamples", "batched", "choose_examples"]

logger = logging.getLogger(__name__)

_SEED: Final = 12
"""Of the reference's shuffle."""


class AgreementExample(NamedTuple):
    """An item as tokens: prefixes of equal length, and answers of one token each."""

    clean: tuple[int, ...]
    patch: tuple[int, ...]
    clean_answer: int
    patch_answer: int


@dataclass(frozen=True)
class ChosenExamples:
    """What is left of a list of items.

    Attributes:
        examples: in the shuffled order.
        left_out: how many items failed, by the reason; each counts under the first reason that it gives.
    """

    examples: tuple[AgreementExample, ...]
    left_out: Mapping[str, int]


class AgreementBatch(NamedTuple):
    """Examples of one length.

    Attributes:
        clean: token ids (B, T), int64.
        patch: (B, T).
        answers: (B, 2), the patch's answer and then the clean one: the metric is
            logit(patch answer) - logit(clean answer), as in the reference's discovery of circuits.
    """

    clean: Tensor
    patch: Tensor
    answers: Tensor


def choose_examples(
    items: Sequence[Contrast],
    encode: Callable[[str], Sequence[int]],
    *,
    n: int = 100,
    bos_id: int | None = None,
    shortest_only: bool = False,
    seed: int = _SEED,
) -> ChosenExamples:
    """Take up to n items whose tokens line up; where there are fewer, say so and take those.

    An item is kept if both answers are one token, its prefixes have equally many tokens, and the tokens of each prefix
    with its answer are those of the two texts one after the other. The reference gives nothing where fewer than n are
    left.

    Args:
        items: in the order of their file, on which the shuffle depends.
        encode: text to token ids, as the model is to be fed: beginning with BOS where it wants one.
        n: the most examples.
        bos_id: taken off the answers, if they begin with it.
        shortest_only: keep only the shortest prefixes; whenever a shorter one appears, the collection starts anew.
        seed: of Python's `random`.
    """
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - the reference's seed, no secret
    chosen: list[AgreementExample] = []
    left_out: Counter[str] = Counter()
    for item in shuffled:
        if len(chosen) == n:
            break
        example = _example(item, encode, bos_id)
        if isinstance(example, str):
            left_out[example] += 1
            continue
        if shortest_only and chosen and len(example.clean) != len(chosen[0].clean):
            shorter = len(example.clean) < len(chosen[0].clean)
            left_out["longer than another"] += len(chosen) if shorter else 1
            chosen = [example] if shorter else chosen
            continue
        chosen.append(example)
    if len(chosen) < n:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are no more"
        logger.warning("%d of the %d items asked for are left of %d: %s", len(chosen), n, len(items), reasons)
    return ChosenExamples(tuple(chosen), dict(left_out))


def batched(examples: Sequence[AgreementExample], batch_size: int = 16) -> Iterator[AgreementBatch]:
    """Examples in batches of equal length, so that none is padded; shorter ones first.

    Raises:
        ModelError: there are no examples.
    """
    if not examples:
        problem = "no item of agreement is left to ask the model"
        raise ModelError(problem, remedy="Use words that the tokenizer keeps whole; see choose_examples.")
    by_length: dict[int, list[AgreementExample]] = {}
    for example in examples:
        by_length.setdefault(len(example.clean), []).append(example)
    for _, alike in sorted(by_length.items()):
        for start in range(0, len(alike), batch_size):
            clean, patch, clean_answer, patch_answer = zip(*alike[start : start + batch_size], strict=True)
            answers = torch.tensor([patch_answer, clean_answer]).T
            yield AgreementBatch(torch.tensor(clean), torch.tensor(patch), answers)


def _example(item: Contrast, encode: Callable[[str], Sequence[int]], bos_id: int | None) -> AgreementExample | str:
    """The tokens of an item, or why it is left out."""
    answers = [list(encode(answer)) for answer in (item.clean_answer, item.patch_answer)]
    answers = [ids[1:] if bos_id is not None and ids[:1] == [bos_id] else ids for ids in answers]
    if any(len(ids) != 1 for ids in answers):
        return "with an answer of several tokens"
    clean, patch = tuple(encode(item.clean_prefix)), tuple(encode(item.patch_prefix))
    if len(clean) != len(patch):
        return "with prefixes of different length"
    together = (item.clean_prefix + item.clean_answer, item.patch_prefix + item.patch_answer)
    if [tuple(encode(text)) for text in together] != [(*clean, *answers[0]), (*patch, *answers[1])]:
        return "whose tokens change where the answer follows"
    return AgreementExample(clean, patch, answers[0][0], answers[1][0])
