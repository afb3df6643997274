"""Items of subject-verb agreement from templates and word lists of our own (causal-dimensionality spec 6).

They have the form of feature-circuits' items, not their words, and no item or prefix occurs in two splits.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from circuit_artifacts.causal_dimensionality.agreement import Contrast
from circuit_artifacts.errors import UnknownNameError

__all__ = ["ANSWERS", "CODE", "ENGLISH", "STRUCTURES", "Lexicon", "Structure", "agreement_items"]

ANSWERS: Final = ((" is", " are"), (" has", " have"), (" does", " do"), (" goes", " go"))
"""The verbs that complete a prefix, singular and plural."""

_NUMBERS: Final = ("singular", "plural")
_NOUNS: Final = ("noun", "other")


@dataclass(frozen=True)
class Structure:
    """A kind of prefix.

    Attributes:
        template: its words; ``noun``, ``other``, ``preposition`` and ``verb`` stand for words of that kind.
        subject: the noun that the answer agrees with, and whose number is flipped.
    """

    template: tuple[str, ...]
    subject: Literal["noun", "other"] = "noun"

    @property
    def flipped(self) -> int:
        """Index of the word in which clean and patch differ."""
        return self.template.index(self.subject)


STRUCTURES: Mapping[str, Structure] = MappingProxyType(
    {
        "simple": Structure(("The", "noun")),
        "nounpp": Structure(("The", "noun", "preposition", "the", "other")),
        "within_rc": Structure(("The", "noun", "that", "the", "other"), subject="other"),
        # Its published files were not at hand; which noun is flipped is inferred from the template.
        "rc": Structure(("The", "noun", "that", "the", "other", "verb")),
    }
)


@dataclass(frozen=True)
class Lexicon:
    """Words for the templates. Plurals of all nouns are made with an s.

    Attributes:
        nouns: main nouns.
        things: second nouns after a preposition.
        agents: second nouns in a relative clause; none of them is a main noun.
        prepositions: between two nouns.
        verbs: of relative clauses, singular and plural.
    """

    nouns: tuple[str, ...]
    things: tuple[str, ...]
    agents: tuple[str, ...]
    prepositions: tuple[str, ...]
    verbs: tuple[tuple[str, str], ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _verbs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{verb}s", verb) for verb in text.split())


ENGLISH: Final = Lexicon(
    nouns=_words(
        "actor artist baker captain cousin dancer doctor driver farmer guard "
        "judge lawyer painter pilot player sailor singer student tailor writer"
    ),
    things=_words("bike boat car cart cat chair dog door horse tree"),
    agents=_words("boy friend girl guest king manager neighbor queen teacher worker"),
    prepositions=_words("behind beside near"),
    verbs=_verbs("admire follow help know like"),
)
CODE: Final = Lexicon(
    nouns=_words("value name line argument bit element digit point day second item key option token"),
    things=_words("list string module test path block header loop stream table"),
    agents=_words("method file job error parser function server handler client thread"),
    prepositions=_words("in of for"),
    verbs=_verbs("call create read return use"),
)
"""Nouns of documentation strings, several of which are one token in both numbers for tokenizers of code."""


def agreement_items(
    structure: str,
    *,
    lexicon: Lexicon = ENGLISH,
    seed: int = 0,
    test_share: float = 0.2,
    largest: int | None = None,
) -> dict[str, list[Contrast]]:
    """All items of a structure, shuffled, as a training and a test split.

    A prefix, the one with the other number, and all their answers are in one split.

    Args:
        structure: one of ``STRUCTURES``.
        lexicon: the words.
        seed: of the order, and of what is in which split.
        test_share: share of the pairs of prefixes that goes to ``test``.
        largest: items of a split, at most.

    Raises:
        UnknownNameError: no such structure.
    """
    if structure not in STRUCTURES:
        problem = "there is no such structure of sentences"
        raise UnknownNameError(problem, found=repr(structure), expected=", ".join(STRUCTURES))
    generator = random.Random(seed)  # noqa: S311 - a reproducible stream
    pairs = list(_pairs(STRUCTURES[structure], lexicon))
    generator.shuffle(pairs)
    n_test = round(test_share * len(pairs))
    splits = {"train": pairs[n_test:], "test": pairs[:n_test]}
    chosen: dict[str, list[Contrast]] = {}
    for split, of_split in splits.items():
        items = [item for pair in of_split for item in _items(pair)]
        generator.shuffle(items)
        chosen[split] = items[:largest]
    return chosen


def _pairs(structure: Structure, lexicon: Lexicon) -> Iterator[list[tuple[str, str]]]:
    """Prefix and case with the subject in the singular, and the same in the plural."""
    has_other = "other" in structure.template
    for forms in itertools.product(*(_forms(word, structure, lexicon) for word in structure.template)):
        for number in (0, 1) if has_other else (0,):
            numbers = {"noun": number, "other": number}
            yield [_prefix(structure, forms, numbers | {structure.subject: subject}) for subject in (0, 1)]


def _forms(word: str, structure: Structure, lexicon: Lexicon) -> Sequence[tuple[str, str]]:
    """What may stand at a word of the template, in the singular and in the plural."""
    if word == "verb":
        return lexicon.verbs
    if word == "preposition":
        return [(preposition, preposition) for preposition in lexicon.prepositions]
    if word in _NOUNS:
        others = lexicon.things if "preposition" in structure.template else lexicon.agents
        return [(noun, f"{noun}s") for noun in (lexicon.nouns if word == "noun" else others)]
    return [(word, word)]


def _prefix(structure: Structure, forms: tuple[tuple[str, str], ...], numbers: Mapping[str, int]) -> tuple[str, str]:
    # The verb of a relative clause has the second noun for its subject.
    of_words = [numbers["noun" if word == "noun" else "other"] for word in structure.template]
    text = " ".join(form[number] for form, number in zip(forms, of_words, strict=True))
    return text, "_".join(_NUMBERS[numbers[noun]] for noun in _NOUNS if noun in structure.template)


def _items(pair: list[tuple[str, str]]) -> Iterator[Contrast]:
    """Every answer, in both directions."""
    for answers in ANSWERS:
        for clean, patch in ((0, 1), (1, 0)):
            prefix, case = pair[clean]
            yield Contrast(prefix, pair[patch][0], answers[clean], answers[patch], case)
