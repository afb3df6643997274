"""The concepts of CSP-Atlas, the pairs they form and the keywords that name them (csp_atlas spec 2).

A concept is an AST node class of Python (``ast__For``) or a builtin (``builtin__list``). Nodes that go with no builtin
are paired with the sentinel ``_isolated_``, which counts as a builtin everywhere: ``Break___isolated_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = [
    "AST_FAMILIES",
    "AST_NODES",
    "BUILTIN_FAMILIES",
    "BUILTIN_OBJS",
    "CONCEPTS",
    "CONSISTENCIES",
    "DROPPED_PAIRS_PRESUMED",
    "EPSILONS",
    "ISOLATED",
    "ISOLATED_NODES",
    "KEYWORDS",
    "NO_KEYWORD",
    "AstFamily",
    "Keyword",
    "Kind",
    "Mode",
    "attempted_pairs",
    "concept_key",
    "pair_key",
    "split_concept",
    "split_pair",
]

Kind = Literal["ast", "builtin"]
Mode = Literal["test", "small", "full"]

EPSILONS = (0.001, 0.1, 0.5)
"""Activation thresholds of the published grid, outer loop (csp_atlas spec 1.0)."""

CONSISTENCIES = (0.2, 0.5, 0.8)
"""Least fractions of firing prompts of the published grid, inner loop (csp_atlas spec 1.0)."""

ISOLATED = "_isolated_"
"""Stands for "no builtin" in pairs of nodes that go with none."""

_SEPARATOR = "__"


class AstFamily(NamedTuple):
    """AST nodes that are paired with the same builtins."""

    name: str
    nodes: tuple[str, ...]
    builtin_families: tuple[str, ...]


class Keyword(NamedTuple):
    """How a text names a concept without using it (csp_atlas spec 2.4).

    Attributes:
        keyword: the word that names the concept.
        forbidden_nodes: AST node classes that must not occur in the text.
        forbidden_calls: names that must not be called in the text.
    """

    keyword: str
    forbidden_nodes: tuple[str, ...]
    forbidden_calls: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BUILTIN_FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "iterables": _words("list tuple set frozenset dict str bytes bytearray range memoryview"),
        "numerics": _words("int float complex bool"),
        "callables": _words(
            "print len range enumerate zip map filter sorted reversed min max sum abs round any all isinstance "
            "issubclass hasattr getattr setattr delattr callable iter next hash id repr input open super property "
            "staticmethod classmethod vars dir type object"
        ),
        "exceptions": _words(
            "Exception ValueError TypeError KeyError IndexError AttributeError RuntimeError StopIteration "
            "FileNotFoundError OSError ImportError NotImplementedError ZeroDivisionError NameError OverflowError "
            "MemoryError RecursionError ArithmeticError LookupError"
        ),
        "types": _words("int float str bool list dict tuple set bytes type object complex"),
    }
)

AST_FAMILIES = tuple(
    AstFamily(name, _words(nodes), _words(builtin_families))
    for name, nodes, builtin_families in (
        ("iteration", "For While AsyncFor ListComp SetComp DictComp GeneratorExp", "iterables"),
        ("exception", "Try Raise ExceptHandler", "exceptions"),
        (
            "callable",
            "FunctionDef AsyncFunctionDef Return Call Lambda Yield YieldFrom",
            "callables types iterables numerics",
        ),
        ("class", "ClassDef", "callables types iterables numerics exceptions"),
        ("assignment", "Assign AugAssign AnnAssign Delete Global Nonlocal", "iterables numerics types callables"),
        ("conditional", "If IfExp", "iterables numerics types exceptions callables"),
        ("operator", "BinOp BoolOp UnaryOp Compare", "numerics iterables"),
        ("structural", "With AsyncWith", "callables types"),
        ("import", "Import ImportFrom", ""),
        ("access", "Attribute Subscript Starred Slice", "iterables types callables"),
        ("literal", "Dict Set", "iterables numerics"),
        ("isolated", "Pass Break Continue Assert", ""),
    )
)
"""The AST families in generation order, each with the builtin families that it is paired with (csp_atlas spec 2.3)."""

_FULL_MODE_ONLY = frozenset(
    _words("ExceptHandler vars dir NameError OverflowError MemoryError RecursionError ArithmeticError LookupError")
)
_TEST_MODE = frozenset(_words("For FunctionDef If ListComp Try ValueError dict int list range"))

AST_NODES = tuple(sorted({node for family in AST_FAMILIES for node in family.nodes} - _FULL_MODE_ONLY))
"""The 43 node classes, in the order of the files' metadata."""

BUILTIN_OBJS = tuple(sorted({ISOLATED}.union(*BUILTIN_FAMILIES.values()) - _FULL_MODE_ONLY))
"""The 62 builtins and the sentinel, in the order of the files' metadata."""

ISOLATED_NODES = tuple(sorted(node for family in AST_FAMILIES if not family.builtin_families for node in family.nodes))
"""The nodes whose only pair is with the sentinel."""


def concept_key(kind: str, name: str) -> str:
    """The key of a concept in files and tables, for example ``ast__For``.

    Raises:
        SchemaError: the kind is neither ``ast`` nor ``builtin``, or the name is empty.
    """
    _check_kind(kind, f"{kind}{_SEPARATOR}{name}")
    return _joined(kind, name)


def split_concept(key: str) -> tuple[Kind, str]:
    """The kind and name of a concept key: ``builtin___isolated_`` gives ``("builtin", "_isolated_")``.

    Raises:
        SchemaError: the key has no separator, or its first part is neither ``ast`` nor ``builtin``.
    """
    kind, name = _split(key, expected="ast__<Node> or builtin__<name>")
    return _check_kind(kind, key), name


def pair_key(ast_node: str, builtin_obj: str) -> str:
    """The key of a pair in files, for example ``For__list``.

    Raises:
        SchemaError: a part is empty.
    """
    return _joined(ast_node, builtin_obj)


def split_pair(key: str) -> tuple[str, str]:
    """The AST node and builtin of a pair key, split at the first separator (csp_atlas spec 1.0).

    A split at the last one would break the sentinel's pairs: ``Break___isolated_`` is ``("Break", "_isolated_")``.

    Raises:
        SchemaError: the key has no separator, or nothing before or after it.
    """
    return _split(key, expected="<Node>__<builtin>")


def _joined(first: str, second: str) -> str:
    key = f"{first}{_SEPARATOR}{second}"
    if _split(key, expected="two names, the first without __") != (first, second):
        problem = "these two names do not form a key that can be split again"
        raise SchemaError(problem, where=key, expected="a first name without __")
    return key


def _split(key: str, *, expected: str) -> tuple[str, str]:
    first, separator, second = key.partition(_SEPARATOR)
    if not (first and separator and second):
        problem = "the key does not name two things"
        raise SchemaError(problem, where="key", found=repr(key), expected=expected)
    return first, second


def _check_kind(kind: str, key: str) -> Kind:
    if kind not in ("ast", "builtin"):
        problem = "a concept is an AST node or a builtin"
        raise SchemaError(problem, where=key, found=repr(kind), expected="ast or builtin")
    return cast("Kind", kind)


CONCEPTS = (*(concept_key("ast", node) for node in AST_NODES), *(concept_key("builtin", b) for b in BUILTIN_OBJS))
"""The 106 concept keys, in ASCII order."""

_NODE_KEYWORDS = (
    # keyword, concepts that it names, node classes that must be absent (default: those concepts)
    ("import", "Import", "Import ImportFrom"),
    ("from", "ImportFrom", "Import ImportFrom"),
    ("break", "Break", ""),
    ("pass", "Pass", ""),
    ("continue", "Continue", ""),
    ("assert", "Assert", ""),
    ("if", "If", "If IfExp"),
    ("while", "While", ""),
    ("for", "For", "For AsyncFor ListComp SetComp DictComp GeneratorExp"),
    ("return", "Return", ""),
    ("with", "With", "With AsyncWith"),
    ("raise", "Raise", ""),
    ("del", "Delete", ""),
    ("global", "Global", ""),
    ("nonlocal", "Nonlocal", ""),
    ("lambda", "Lambda", ""),
    ("yield", "Yield YieldFrom", ""),
    ("try", "Try", ""),
    ("class", "ClassDef", ""),
    ("def", "FunctionDef", "FunctionDef AsyncFunctionDef"),
    ("async", "AsyncFor AsyncFunctionDef AsyncWith", ""),
)
_KEYWORD_BUILTINS = _words(
    "all any bool bytes complex dict filter float hash id input int iter len list map max min next object open print "
    "property range reversed round set sorted str sum super tuple type zip"
)

KEYWORDS: Mapping[str, Keyword] = MappingProxyType(
    dict(
        sorted(
            [
                (concept_key("ast", node), Keyword(keyword, _words(absent or nodes), ()))
                for keyword, nodes, absent in _NODE_KEYWORDS
                for node in _words(nodes)
            ]
            + [(concept_key("builtin", name), Keyword(name, (), (name,))) for name in _KEYWORD_BUILTINS]
        )
    )
)
"""The 58 testable concepts in ASCII order, each with its keyword (csp_atlas spec 2.4)."""

NO_KEYWORD = tuple(concept for concept in CONCEPTS if concept not in KEYWORDS)
"""The 48 concepts that no single word names (csp_atlas spec 2.5)."""


def attempted_pairs(mode: Mode = "small") -> tuple[tuple[str, str], ...]:
    """The (AST node, builtin) pairs for which prompts are generated, in generation order (csp_atlas spec 2.3).

    Args:
        mode: ``small`` is the published vocabulary (1,297 pairs), ``test`` a sample of it (16), ``full`` an earlier
            experiment's (1,390).

    Raises:
        UnknownNameError: no such mode.
    """
    if mode not in ("test", "small", "full"):
        problem = "there is no such mode"
        raise UnknownNameError(problem, where="mode", found=repr(mode), expected="test, small or full")

    def included(name: str) -> bool:
        return mode == "full" or (name in _TEST_MODE if mode == "test" else name not in _FULL_MODE_ONLY)

    pairs = []
    for family in AST_FAMILIES:
        names = {name for builtins in family.builtin_families for name in BUILTIN_FAMILIES[builtins] if included(name)}
        builtins = sorted(names) if family.builtin_families else [ISOLATED]
        pairs += [(node, builtin) for node in family.nodes if included(node) for builtin in builtins]
    return tuple(pairs)


DROPPED_PAIRS_PRESUMED = tuple(
    (node, builtin)
    for node, builtins in (
        ("Call", "float int str tuple"),
        ("Assign", "int str tuple"),
        ("AnnAssign", "delattr enumerate int set str tuple zip"),
        ("Delete", "bool int set str tuple"),
        ("BoolOp", "int"),
    )
    for builtin in _words(builtins)
)
"""20 of the 21 attempted pairs that the release very probably lacks, in generation order; no file names the last one.

They are the pairs an earlier run lost to the loss filter, with the same counts per node (csp_atlas spec 2.3).
"""
