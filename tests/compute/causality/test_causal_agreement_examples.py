from __future__ import annotations

import logging
import random

import pytest
import torch

from circuit_artifacts.causal_dimensionality.agreement import Contrast
from circuit_artifacts.compute.causality.agreement_examples import batched, choose_examples
from circuit_artifacts.errors import ModelError

BOS = 0


class Words:
    """A tokenizer of whole words; ``long`` is two tokens, and ``The x is`` is merged into one."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, text: str) -> list[int]:
        if text == "The x is":
            return [99]
        pieces = text.replace("long", "lo ng").split()
        return [self.ids.setdefault(piece, len(self.ids) + 1) for piece in pieces]

    def with_bos(self, text: str) -> list[int]:
        return [BOS, *self(text)]


def item(noun: str, plural: str | None = None, clean: str = " is", patch: str = " are") -> Contrast:
    return Contrast(f"The {noun}", f"The {plural or noun + 's'}", clean, patch, "singular")


def test_only_items_whose_tokens_line_up_are_kept() -> None:
    items = [
        item("cat"),
        item("long"),
        item("dog", "long"),
        item("cow", clean=" is not", patch=" are not"),
        item("x"),
    ]
    encode = Words()
    chosen = choose_examples(items, encode, n=5)
    kept = {(example.clean, example.patch, example.clean_answer, example.patch_answer) for example in chosen.examples}
    assert kept == {
        (tuple(encode("The cat")), tuple(encode("The cats")), encode.ids["is"], encode.ids["are"]),
        (tuple(encode("The long")), tuple(encode("The longs")), encode.ids["is"], encode.ids["are"]),
    }
    assert chosen.left_out == {
        "with prefixes of different length": 1,
        "with an answer of several tokens": 1,
        "whose tokens change where the answer follows": 1,
    }


def test_the_order_is_that_of_pythons_shuffle_with_seed_12() -> None:
    items = [item(f"n{number}") for number in range(30)]
    encode = Words()
    chosen = choose_examples(items, encode, n=4)
    expected = list(items)
    random.Random(12).shuffle(expected)
    assert [example.clean for example in chosen.examples] == [tuple(encode(i.clean_prefix)) for i in expected[:4]]
    assert items[0] == item("n0"), "the caller's list stays as it is"


def test_bos_is_taken_off_answers_and_stays_before_prefixes() -> None:
    encode = Words()
    with_bos = choose_examples([item("cat")], encode.with_bos, n=1, bos_id=BOS)
    assert with_bos.examples[0].clean == (BOS, *encode("The cat"))
    assert with_bos.examples[0].clean_answer == encode.ids["is"]
    assert choose_examples([item("cat")], encode.with_bos, n=1).examples == ()


def test_shortest_only_starts_anew_at_each_shorter_item() -> None:
    order = [0, 1, 2, 3]
    random.Random(12).shuffle(order)
    lengths = dict(zip(order, ("a long", "a long", "a", "a long"), strict=True))
    items = [item(f"{lengths[place]} {place}", f"{lengths[place]} {place}s") for place in range(4)]
    chosen = choose_examples(items, Words(), n=4, shortest_only=True)
    assert [len(example.clean) for example in chosen.examples] == [3]
    assert chosen.left_out == {"longer than another": 3}
    # The collection is full before the shorter item is seen.
    assert [len(e.clean) for e in choose_examples(items, Words(), n=2, shortest_only=True).examples] == [5, 5]


def test_fewer_than_asked_for_are_returned_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        chosen = choose_examples([item("cat"), item("dog", "long")], Words(), n=100)
    assert len(chosen.examples) == 1
    assert "1 of the 100 items asked for are left of 2: 1 with prefixes of different length" in caplog.text
    caplog.clear()
    choose_examples([item("cat")], Words(), n=1)
    assert not caplog.text


def test_batches_hold_examples_of_one_length_and_the_patch_answer_first() -> None:
    encode = Words()
    items = [item(name) for name in ("cat", "long", "dog", "long long", "cow")]
    examples = choose_examples(items, encode, n=5).examples
    batches = list(batched(examples, 2))
    assert [tuple(batch.clean.shape) for batch in batches] == [(2, 2), (1, 2), (1, 3), (1, 5)]
    assert all(batch.clean.shape == batch.patch.shape and batch.clean.dtype == torch.int64 for batch in batches)
    is_, are = encode.ids["is"], encode.ids["are"]
    assert torch.equal(torch.cat([batch.answers for batch in batches]), torch.tensor([[are, is_]] * 5))


def test_no_example_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="choose_examples"):
        list(batched([]))
