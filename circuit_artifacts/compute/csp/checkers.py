"""Stage 11, checker prompts: texts that hold a concept's keyword but not the concept (csp_atlas spec 3.5).

Candidates depend on a seed alone. Which of them are kept depends on the tokenizer, which is passed in as two plain
functions.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from string import Template
from typing import Literal, NamedTuple

from circuit_artifacts.compute.csp import word_banks
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, Keyword

__all__ = [
    "CheckerCandidate",
    "CheckerKind",
    "CheckerPrompt",
    "concept_absent",
    "generate_checker_candidates",
    "keyword_in_tokens",
    "select_checkers",
]

CheckerKind = Literal["checker", "token_checker"]

_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class CheckerCandidate:
    """One text that may become a checker prompt.

    Attributes:
        object: concept key whose keyword it holds.
        keyword: that keyword.
        category: where the keyword stands, one of `word_banks.CHECKER_CATEGORIES`.
        index: its number within the concept.
        prompt_text: the text; not every candidate is valid Python.
    """

    object: str
    keyword: str
    category: str
    index: int
    prompt_text: str


class CheckerPrompt(NamedTuple):
    """One selected text: a row of the published tables (csp_atlas spec 1.2)."""

    object: str
    keyword: str
    variation_id: int
    prompt_text: str


def generate_checker_candidates(
    kind: CheckerKind = "checker", concepts: Iterable[str] | None = None, seed: int = 42
) -> Iterator[CheckerCandidate]:
    """Generate the candidates of each concept, one after the other (csp_atlas spec 3.5).

    Each concept has 30 rounds of one text per category (150 candidates; 120 for ``from``, which no identifier
    contains). All concepts draw from one random stream: for a subset of the concepts this is the stream of that
    subset, not a part of the published one.

    Args:
        kind: ``checker`` for `11B_checker_prompts`, ``token_checker`` for `token_checker_prompts`. They differ in one
            identifier snippet, and therefore in everything drawn after it.
        concepts: concept keys, in generation order; the 58 testable ones in ASCII order if None.
        seed: of the random stream, which is private to this call.

    Raises:
        UnknownNameError: no such kind, or a concept without a keyword.
    """
    if kind not in ("checker", "token_checker"):
        problem = "there is no such kind of checker prompt"
        raise UnknownNameError(problem, where="kind", found=repr(kind), expected="checker or token_checker")
    chosen = tuple(KEYWORDS) if concepts is None else tuple(concepts)
    for concept in chosen:
        _keyword(concept)
    return _generate(chosen, random.Random(seed), kind)  # noqa: S311 - a reproducible stream


def _keyword(concept: str) -> Keyword:
    if concept not in KEYWORDS:
        problem = f"the concept {concept!r} has no keyword"
        raise UnknownNameError(problem, expected="one of the 58 testable concepts")
    return KEYWORDS[concept]


def _generate(concepts: tuple[str, ...], generator: random.Random, kind: CheckerKind) -> Iterator[CheckerCandidate]:
    names = _variable_names()
    for concept in concepts:
        keyword = KEYWORDS[concept].keyword
        snippets = _snippets(keyword, kind)
        index = 0
        for _ in range(_ROUNDS):
            slots = {"keyword": keyword}
            slots["w1"], slots["w2"], _unused = generator.sample(word_banks.STRING_WORDS, 3)
            slots["v1"], _unused = generator.sample(names, 2)
            context = generator.choice(word_banks.CHECKER_CONTEXTS)
            for category, choices in snippets.items():
                if category == "C_identifier":
                    slots["identifier"] = generator.choice(word_banks.IDENTIFIER_VARIANTS[keyword])
                snippet = Template(generator.choice(choices)).substitute(slots)
                text = Template(context).substitute(snippet=snippet)
                yield CheckerCandidate(concept, keyword, category, index, text)
                index += 1


def _variable_names() -> list[str]:
    """The names that no keyword is a part of: a name must not bring in a second concept's keyword."""
    keywords = {keyword.keyword for keyword in KEYWORDS.values()}
    return [name for name in word_banks.VARIABLE_NAMES if not any(keyword in name for keyword in keywords)]


def _snippets(keyword: str, kind: CheckerKind) -> dict[str, tuple[str, ...]]:
    snippets = dict(word_banks.CHECKER_SNIPPETS)
    if kind == "token_checker":
        number, text, flag = snippets["C_identifier"]
        comprehension = number if keyword == "for" else word_banks.IDENTIFIER_COMPREHENSION
        snippets["C_identifier"] = (number, text, comprehension, flag)
    if keyword not in word_banks.IDENTIFIER_VARIANTS:
        del snippets["C_identifier"]
    return snippets


def concept_absent(text: str, concept: str) -> bool:
    """Whether a text is Python in which the concept is not used (csp_atlas spec 3.5).

    The concept is used where one of its node classes occurs, or where its builtin is called by its bare name; a
    reference without a call does not count. Text that does not parse is never free of a concept.

    Args:
        text: the program.
        concept: key of a testable concept.

    Raises:
        UnknownNameError: the concept has no keyword.
    """
    rule = _keyword(concept)
    occurring = _nodes_and_calls(text)
    if occurring is None:
        return False
    nodes, calls = occurring
    return nodes.isdisjoint(rule.forbidden_nodes) and calls.isdisjoint(rule.forbidden_calls)


@lru_cache(maxsize=16384)
def _nodes_and_calls(text: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Names of the node classes in a program and of the functions that it calls; None if it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return None
    nodes = list(ast.walk(tree))
    calls = (node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return frozenset(type(node).__name__ for node in nodes), frozenset(calls)


def keyword_in_tokens(
    token_ids: Sequence[int], keyword_ids: Sequence[int], decode: Callable[[list[int]], str], *, keyword: str
) -> bool:
    """Whether a tokenised text holds the keyword as tokens of its own (csp_atlas spec 3.5).

    That is so if the tokens of the keyword alone occur in a row, or if some single token, decoded and stripped of
    white space, is the keyword.

    Args:
        token_ids: the text, without special tokens.
        keyword_ids: the keyword alone, without a leading space or special tokens.
        decode: token ids -> text.
        keyword: the keyword itself.
    """
    ids, run = list(token_ids), list(keyword_ids)
    if run and any(ids[start : start + len(run)] == run for start in range(len(ids) - len(run) + 1)):
        return True
    return any(decode([token]).strip() == keyword for token in ids)


def select_checkers(
    candidates: Iterable[CheckerCandidate],
    encode: Callable[[str], list[int]],
    decode: Callable[[list[int]], str],
    n_target: int = 50,
) -> list[CheckerPrompt]:
    """Choose the checker prompts of each concept among its candidates (csp_atlas spec 3.5).

    Valid is a candidate that parses, does not use the concept, and holds the keyword as tokens. Of each category the
    first ``n_target // 5`` valid ones are taken, in category order and with repetitions; then valid candidates whose
    text is not yet among those taken fill up to `n_target`. The spec does not say in which order: here as generated.

    Args:
        candidates: grouped by concept, as `generate_checker_candidates` gives them.
        encode: text -> token ids, without special tokens.
        decode: token ids -> text.
        n_target: prompts per concept; a concept with fewer valid candidates gets fewer.

    Returns:
        The rows of the published table, numbered from 0 within each concept.

    Raises:
        UnknownNameError: a candidate's concept has no keyword.
        SchemaError: n_target is negative.
    """
    if n_target < 0:
        problem = "the number of prompts per concept cannot be negative"
        raise SchemaError(problem, where="n_target", found=n_target, expected="0 or more")

    @cache
    def decode_token(token: int) -> str:
        return decode([token])

    rows = []
    for (concept, keyword), group in groupby(candidates, key=lambda candidate: (candidate.object, candidate.keyword)):
        keyword_ids = encode(keyword)
        valid = [
            candidate
            for candidate in group
            if concept_absent(candidate.prompt_text, concept)
            and keyword_in_tokens(
                encode(candidate.prompt_text), keyword_ids, lambda ids: decode_token(ids[0]), keyword=keyword
            )
        ]
        texts = _choose(valid, n_target)
        rows += [CheckerPrompt(concept, keyword, variation, text) for variation, text in enumerate(texts)]
    return rows


def _choose(valid: list[CheckerCandidate], n_target: int) -> list[str]:
    quota = n_target // len(word_banks.CHECKER_CATEGORIES)
    chosen: list[str] = []
    for category in word_banks.CHECKER_CATEGORIES:
        chosen += [candidate.prompt_text for candidate in valid if candidate.category == category][:quota]
    taken = set(chosen)
    rest = dict.fromkeys(candidate.prompt_text for candidate in valid if candidate.prompt_text not in taken)
    return chosen + list(rest)[: n_target - len(chosen)]
