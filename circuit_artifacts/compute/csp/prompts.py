"""Stage 11, object prompts: short programs that use an AST node together with a builtin (csp_atlas spec 3.1-3.4)."""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Iterable, Iterator
from functools import lru_cache
from string import Template
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuit_artifacts.compute.csp import word_banks
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import ISOLATED, ISOLATED_NODES, attempted_pairs

__all__ = ["LossRule", "ObjectPrompt", "filter_by_loss", "generate_object_prompts"]

LossRule = Literal["pair_mean", "best"]

_DEFAULT_THRESHOLDS: dict[str, float] = {"pair_mean": 3.0, "best": 10.0}
_SMOKE_TEST_PROMPTS = 9
_DEFINITIONS = ("class ", "def ", "async def ")


class ObjectPrompt(NamedTuple):
    """One generated program.

    Attributes:
        ast_node: the node class that it uses.
        builtin_obj: the builtin that it was made for, or the sentinel; many templates never mention it.
        variation_id: its number within the pair.
        prompt_text: Python source in the layout of `ast.unparse`, without a trailing newline.
        ast_verified: the node class occurs in the syntax tree.
    """

    ast_node: str
    builtin_obj: str
    variation_id: int
    prompt_text: str
    ast_verified: bool


def generate_object_prompts(
    pairs: Iterable[tuple[str, str]] | None = None, *, n: int = 50, seed: int = 42, smoke_test: bool = True
) -> Iterator[ObjectPrompt]:
    """Generate the prompts of each pair, one after the other (csp_atlas spec 3.1).

    The texts depend on nothing but the arguments. The defaults give the 64,850 texts that the published generator
    gives, byte for byte. All pairs draw from one random stream, so the prompts of a pair depend on the pairs before
    it: for a subset of the pairs this is the stream of that subset, not a part of the published one.

    Args:
        pairs: (AST node, builtin) pairs in generation order; the 1,297 published ones if None.
        n: prompts per pair.
        seed: of the random stream, which is private to this call.
        smoke_test: first make the 27 draws of the published notebook's trial cell.

    Returns:
        An iterator over ``len(pairs) * n`` prompts.

    Raises:
        UnknownNameError: there is no template for a node, or a node and a builtin do not go together.
        SchemaError: n is negative.
    """
    if n < 0:
        problem = "the number of prompts per pair cannot be negative"
        raise SchemaError(problem, where="n", found=n, expected="0 or more")
    chosen = attempted_pairs() if pairs is None else tuple(pairs)
    for node, builtin in chosen:
        _check_pair(node, builtin)
    return _generate(chosen, n, random.Random(seed), smoke_test=smoke_test)  # noqa: S311 - a reproducible stream


def _check_pair(node: str, builtin: str) -> None:
    if node not in word_banks.ESSENCES:
        problem = f"there is no prompt template for the AST node {node!r}"
        raise UnknownNameError(problem, where=f"pair ({node}, {builtin})", expected="one of AST_NODES")
    if (node in ISOLATED_NODES) != (builtin == ISOLATED):
        problem = f"the nodes {', '.join(ISOLATED_NODES)}, and only these, go with {ISOLATED}"
        raise UnknownNameError(problem, where=f"pair ({node}, {builtin})")


def _generate(
    pairs: tuple[tuple[str, str], ...], n: int, generator: random.Random, *, smoke_test: bool
) -> Iterator[ObjectPrompt]:
    if smoke_test:
        for _ in range(_SMOKE_TEST_PROMPTS):
            _draw(generator)
    for node, builtin in pairs:
        essences = [_essence(node, builtin, domain) for domain in word_banks.DOMAINS]
        for variation in range(n):
            domain = word_banks.DOMAINS[variation % len(essences)]
            essence, verified = essences[variation % len(essences)]
            text = _wrap(essence, domain, *_draw(generator))
            yield ObjectPrompt(node, builtin, variation, text, verified)


def _draw(generator: random.Random) -> tuple[str, str, str]:
    before = generator.choice(word_banks.PADDING_BEFORE)
    after = generator.choice(word_banks.PADDING_AFTER)
    (wrapper,) = generator.choices(word_banks.WRAPPERS, weights=word_banks.WRAPPER_WEIGHTS, k=1)
    return before, after, wrapper


def _essence(node: str, builtin: str, domain: word_banks.Domain) -> tuple[str, bool]:
    """The statements that use the node, as `ast.unparse` lays them out, and whether the node occurs in them."""
    slots = {**domain.names, "builtin": builtin, "literal": domain.literal(builtin)}
    slots |= {f"{name}_literal": literal for name, literal in domain.literals.items()}
    line = word_banks.ITERABLE_LINES.get(builtin, word_banks.ITERABLE_LINE_OTHERWISE)
    slots["iterable"] = Template(line).substitute(slots)
    return _normalise(Template(word_banks.ESSENCES[node]).substitute(slots), node)


@lru_cache(maxsize=8192)
def _normalise(source: str, node: str) -> tuple[str, bool]:
    tree = ast.parse(source)
    node_class = getattr(ast, node)
    return ast.unparse(tree), any(isinstance(child, node_class) for child in ast.walk(tree))


def _wrap(essence: str, domain: word_banks.Domain, before: str, after: str, wrapper: str) -> str:
    """Pad and wrap an essence.

    The published generator parses and unparses the whole program. Laying it out here by the two rules that
    `ast.unparse` follows (four spaces per level, an empty line above a definition unless it opens the program) gives
    the same text and is an order of magnitude faster.
    """
    opens_program = wrapper == "global" and not before
    if essence.startswith(_DEFINITIONS) and not opens_program:
        essence = f"\n{essence}"
    body = "\n".join(part for part in (before, essence, after) if part)
    if wrapper == "function":
        return f"def {domain.names['function']}_main():\n{textwrap.indent(body, ' ' * 4)}"
    if wrapper == "method":
        header = f"class {domain.names['class_name']}Main:\n\n    def {domain.names['method']}_run(self):\n"
        return header + textwrap.indent(body, " " * 8)
    return body


def filter_by_loss(
    pair_index: ArrayLike,
    losses: ArrayLike,
    *,
    rule: LossRule = "pair_mean",
    n_keep: int = 50,
    threshold: float | None = None,
) -> NDArray[np.int64]:
    """Choose the prompts to keep by how surprising the model finds them (csp_atlas spec 3.4).

    A pair is dropped when the mean loss of its prompts is strictly greater than the threshold. Of the other pairs

    * ``pair_mean``, the published notebook's rule, keeps the first `n_keep` prompts in generation order;
    * ``best``, the published library's rule, keeps the `n_keep` prompts of least loss.

    Of the library's rule only the sorting, the number (50 of 75) and the threshold (10) are known. That the threshold
    applies to the mean of the pair, strictly, and that equal losses keep their order, is assumed here; the release
    was made by neither that rule nor those numbers.

    Args:
        pair_index: int (n,), the pair of each row, numbered in generation order; rows of a pair may lie apart.
        losses: float (n,), mean next-token cross-entropy of each row, in nats.
        rule: which prompts of a pair to keep.
        n_keep: how many prompts of a pair to keep, at most.
        threshold: greatest mean loss of a kept pair, in nats; 3.0 for ``pair_mean`` and 10.0 for ``best`` if None.

    Returns:
        int64 (m,), the rows to keep: by pair, then by row (``pair_mean``) or by loss (``best``).

    Raises:
        UnknownNameError: no such rule.
        SchemaError: the arrays are not two vectors of one length, a loss is not a number, or n_keep is negative.
    """
    if rule not in _DEFAULT_THRESHOLDS:
        problem = "there is no such filter rule"
        raise UnknownNameError(problem, where="rule", found=repr(rule), expected=" or ".join(_DEFAULT_THRESHOLDS))
    pairs, loss = np.asarray(pair_index), np.asarray(losses, dtype=np.float64)
    _check_rows(pairs, loss, n_keep)
    limit = _DEFAULT_THRESHOLDS[rule] if threshold is None else threshold

    order = np.argsort(pairs, kind="stable") if rule == "pair_mean" else np.lexsort((loss, pairs))
    _, start, group, size = np.unique(pairs[order], return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(order)) - start[group]
    mean = np.bincount(group, weights=loss[order], minlength=len(size)) / size
    return order[(rank < n_keep) & ~(mean > limit)[group]].astype(np.int64)


def _check_rows(pairs: NDArray[np.generic], loss: NDArray[np.float64], n_keep: int) -> None:
    if pairs.ndim != 1 or pairs.shape != loss.shape:
        problem = "pair_index and losses must be two vectors of one length"
        raise SchemaError(problem, found=f"shapes {pairs.shape} and {loss.shape}", expected="(n,) and (n,)")
    if np.isnan(loss).any():
        problem = "a loss is not a number, so the mean of its pair is undefined"
        raise SchemaError(problem, where=f"row {int(np.isnan(loss).argmax())}", found="nan", expected="nats")
    if n_keep < 0:
        problem = "the number of prompts to keep cannot be negative"
        raise SchemaError(problem, where="n_keep", found=n_keep, expected="0 or more")
