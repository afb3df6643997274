"""Checker prompts against the hashes of the csp_atlas golden values and the rules of csp_atlas spec 3.5."""

import hashlib
from collections import Counter
from typing import cast

import pytest

from circuit_artifacts.compute.csp.checkers import (
    CheckerCandidate,
    CheckerKind,
    concept_absent,
    generate_checker_candidates,
    keyword_in_tokens,
    select_checkers,
)
from circuit_artifacts.compute.csp.word_banks import CHECKER_CATEGORIES
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS

GOLDEN = {
    "checker": "a80d306cd7d8c9dd7438d79019b2dff4fad4e05fac567220d9f085e0eb76c322",
    "token_checker": "d81f0912dfcfc9e80ed158bd19201ace4053af5228c7c92e4fd793236ec0e968",
}


class WordTokenizer:
    """Words between spaces, numbered as they come: a keyword is found only where spaces surround it."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode(self, text: str) -> list[int]:
        words = text.split(" ")
        self.words += [word for word in dict.fromkeys(words) if word not in self.words]
        return [self.words.index(word) for word in words]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[token] for token in ids)


def encode_bytes(text: str) -> list[int]:
    return list(text.encode())


def decode_bytes(ids: list[int]) -> str:
    return bytes(ids).decode()


@pytest.fixture(scope="module", params=["checker", "token_checker"])
def kind(request: pytest.FixtureRequest) -> CheckerKind:
    return cast("CheckerKind", request.param)


@pytest.fixture(scope="module")
def candidates(kind: CheckerKind) -> list[CheckerCandidate]:
    return list(generate_checker_candidates(kind))


def test_the_published_candidates(kind: CheckerKind, candidates: list[CheckerCandidate]) -> None:
    assert len(candidates) == 8670
    parts = (f"{c.object}\x1f{c.index}\x1f{c.category}\x1f{c.prompt_text}\x1e" for c in candidates)
    assert hashlib.sha256("".join(parts).encode()).hexdigest() == GOLDEN[kind]


def test_from_has_no_identifiers(candidates: list[CheckerCandidate]) -> None:
    """No identifier contains ``from``: 30 candidates fewer, and no gap in their numbers."""
    counts = Counter(candidate.object for candidate in candidates)
    assert counts == {concept: 120 if concept == "ast__ImportFrom" else 150 for concept in KEYWORDS}
    assert [c.index for c in candidates if c.object == "ast__ImportFrom"] == list(range(120))


def test_without_the_token_check_every_concept_is_full(candidates: list[CheckerCandidate]) -> None:
    """Whatever the release lacks of 2,900 rows, its tokenizer dropped: every keyword is among a text's bytes."""
    rows = select_checkers(candidates, encode_bytes, decode_bytes)
    assert len(rows) == 2900
    assert list(dict.fromkeys(row.object for row in rows)) == list(KEYWORDS)
    assert [row.variation_id for row in rows] == list(range(50)) * 58
    assert all(row.keyword == KEYWORDS[row.object].keyword and row.keyword in row.prompt_text for row in rows)
    assert all(concept_absent(row.prompt_text, row.object) for row in rows)


def test_print_is_never_checked_by_printing(candidates: list[CheckerCandidate]) -> None:
    rows = select_checkers(candidates, encode_bytes, decode_bytes)
    printing = {row.object for row in rows if "print(" in row.prompt_text}
    assert printing == set(KEYWORDS) - {"builtin__print"}


def test_selection_takes_categories_in_order_then_fills(candidates: list[CheckerCandidate]) -> None:
    tokenizer = WordTokenizer()
    group = [candidate for candidate in candidates if candidate.object == "ast__Break"]
    rows = select_checkers(group, tokenizer.encode, tokenizer.decode)

    valid = [c for c in group if "break" in c.prompt_text.split(" ") and concept_absent(c.prompt_text, "ast__Break")]
    expected = []
    for category in CHECKER_CATEGORIES:
        expected += [c.prompt_text for c in valid if c.category == category][:10]
    for candidate in valid:
        if len(expected) < 50 and candidate.prompt_text not in expected:
            expected.append(candidate.prompt_text)
    assert [row.prompt_text for row in rows] == expected
    assert not any("breakpoint_flag" in text for text in expected)


def test_a_category_keeps_its_repetitions_but_the_fill_adds_none() -> None:
    def candidate(category: str, index: int, text: str) -> CheckerCandidate:
        return CheckerCandidate("ast__If", "if", category, index, text)

    same, other = "x = 'if'", "y = 'if'"
    texts = [same, same, same, other, other]
    group = [candidate("A_string", index, text) for index, text in enumerate(texts)]
    rows = select_checkers(group, encode_bytes, decode_bytes, n_target=10)
    assert [row.prompt_text for row in rows] == [same, same, other]


@pytest.mark.parametrize(
    ("text", "concept", "absent"),
    [
        ("note = 'for'", "ast__For", True),
        ("note = [x for x in []]", "ast__For", False),
        ("def f():\n    for x in y:\n        pass", "ast__For", False),
        ("x = a if b else c", "ast__If", False),
        ("import os", "ast__ImportFrom", False),
        ("async def f():\n    pass", "ast__FunctionDef", False),
        ("yield_ = 1", "ast__Yield", True),
        ("x = list(y)", "builtin__list", False),
        ("x = list", "builtin__list", True),
        ("x.list(y)", "builtin__list", True),
        ("x = list(y)", "builtin__tuple", True),
        ("if", "ast__While", False),
        ("x = '\0'", "ast__While", False),
    ],
)
def test_concept_absent(text: str, concept: str, absent: bool) -> None:
    assert concept_absent(text, concept) is absent


@pytest.mark.parametrize(
    ("token_ids", "keyword_ids", "found"),
    [
        ([5, 1, 2, 6], [1, 2], True),
        ([5, 1, 6, 2], [1, 2], False),
        ([1, 2], [1, 2], True),
        ([2], [1, 2], False),
        ([5, 9, 6], [1, 2], True),
        ([5, 8, 6], [1, 2], False),
        ([5], [], False),
        ([], [1], False),
    ],
)
def test_keyword_in_tokens(token_ids: list[int], keyword_ids: list[int], found: bool) -> None:
    """A run counts, and so does one token such as " for", whose id differs from that of the keyword alone."""
    texts = {1: "fo", 2: "r", 5: "x", 6: " =", 8: " form", 9: " for"}

    def decode(ids: list[int]) -> str:
        return "".join(texts[token] for token in ids)

    assert keyword_in_tokens(token_ids, keyword_ids, decode, keyword="for") is found


def test_streams_are_private_and_subsets_start_afresh(kind: CheckerKind, candidates: list[CheckerCandidate]) -> None:
    assert list(generate_checker_candidates(kind, ["ast__Assert"])) == candidates[:150]
    assert list(generate_checker_candidates(kind, ["ast__AsyncFor"])) != candidates[150:300]
    assert [c.prompt_text for c in generate_checker_candidates(kind, seed=7)] != [c.prompt_text for c in candidates]


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="checker or token_checker"):
        generate_checker_candidates("object")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="ast__Slice"):
        generate_checker_candidates(concepts=["ast__Slice"])
    with pytest.raises(UnknownNameError, match="ast__Slice"):
        concept_absent("x", "ast__Slice")
    with pytest.raises(SchemaError, match="negative"):
        select_checkers([], encode_bytes, decode_bytes, n_target=-1)
