"""What holds for files of subject-verb agreement (causal-dimensionality spec 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from circuit_artifacts.causal_dimensionality.agreement import Contrast
from circuit_artifacts.causal_dimensionality.agreement_items import ANSWERS, STRUCTURES, Structure
from circuit_artifacts.validation import Finding, limited

__all__ = ["check_items", "check_splits"]

_CASES: Final = ("singular", "plural")
_NUMBER_OF: Final = {answer: number for pair in ANSWERS for answer, number in zip(pair, _CASES, strict=True)}


def check_items(items: Sequence[Contrast], *, structure: str, file: str) -> Iterator[Finding]:
    """Every item that breaks a rule of its structure, and how many items are repeated.

    Prefixes of a structure that is not known are only compared with each other.

    Args:
        items: of one file.
        structure: what its name says; see `STRUCTURES`.
        file: its name, for findings.
    """
    known = STRUCTURES.get(structure)
    for rule, check in {"prefixes": _prefixes, "answers": _answers, "case": _case}.items():
        yield from limited(
            _finding("error", rule, file, message, f"item {number}")
            for number, item in enumerate(items, start=1)
            if (message := check(item, known))
        )
    repeated = len(items) - len({(item.clean_prefix, item.clean_answer) for item in items})
    if repeated:
        message = f"{repeated:,} of {len(items):,} items repeat the prefix and answer of another"
        yield _finding("note", "duplicates", file, message)


def check_splits(train: Sequence[Contrast], test: Sequence[Contrast], *, file: str) -> Iterator[Finding]:
    """How many test items recur in training, where they should not.

    Args:
        train: items to learn from.
        test: items held out.
        file: name of the test file.
    """
    seen = {(item.clean_prefix, item.clean_answer) for item in train}
    held_out = {(item.clean_prefix, item.clean_answer) for item in test}
    if recurring := len(seen & held_out):
        message = f"{recurring:,} of {len(held_out):,} different items are in the training split too"
        yield _finding("note", "leakage", file, message)


def _prefixes(item: Contrast, structure: Structure | None) -> str | None:
    clean, patch = item.clean_prefix.split(" "), item.patch_prefix.split(" ")
    if len(clean) != len(patch):
        return f"{len(clean)} and {len(patch)} words, expected as many in both prefixes"
    if structure and len(clean) != len(structure.template):
        return f"{len(clean)} words, expected {len(structure.template)}"
    differing = [place for place, (left, right) in enumerate(zip(clean, patch, strict=True)) if left != right]
    if len(differing) != 1:
        return f"the prefixes differ in {len(differing)} words, expected one"
    if structure and differing != [structure.flipped]:
        return f"the prefixes differ in word {differing[0]}, expected word {structure.flipped}"
    return None


def _answers(item: Contrast, _structure: Structure | None) -> str | None:
    answers = (item.clean_answer, item.patch_answer)
    if answers in ANSWERS or answers[::-1] in ANSWERS:
        return None
    expected = ", ".join("/".join(pair).replace(" ", "") for pair in ANSWERS)
    return f"the answers are {answers[0]!r} and {answers[1]!r}, expected {expected}, with a space before each"


def _case(item: Contrast, structure: Structure | None) -> str | None:
    numbers = [] if item.case is None else item.case.split("_")
    nouns = [noun for noun in ("noun", "other") if structure and noun in structure.template]
    if not numbers or set(numbers) - set(_CASES) or (structure and len(numbers) != len(nouns)):
        return f"the case is {item.case!r}, expected {'_'.join(['<number>'] * max(1, len(nouns)))}"
    # Where the answer agrees with the second noun, files do not say which noun is the main one.
    expected = _NUMBER_OF.get(item.clean_answer)
    if structure and structure.subject == "noun" and expected and numbers[0] != expected:
        return f"the case is {item.case!r}, but the answer {item.clean_answer!r} is {expected}"
    return None


def _finding(level: Literal["error", "note"], rule: str, file: str, message: str, where: str = "") -> Finding:
    return Finding(level=level, rule=rule, file=file, where=where, message=message)
