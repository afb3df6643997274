"""The vocabulary of CSP-Atlas against the lists and counts of csp_atlas spec 2."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas import csp_vocabulary as vocabulary

AST_NODES = """
AnnAssign Assert Assign AsyncFor AsyncFunctionDef AsyncWith Attribute AugAssign BinOp BoolOp Break Call ClassDef Compare
Continue Delete Dict DictComp For FunctionDef GeneratorExp Global If IfExp Import ImportFrom Lambda ListComp Nonlocal
Pass Raise Return Set SetComp Slice Starred Subscript Try UnaryOp While With Yield YieldFrom
"""

BUILTIN_OBJS = """
AttributeError Exception FileNotFoundError ImportError IndexError KeyError NotImplementedError OSError RuntimeError
StopIteration TypeError ValueError ZeroDivisionError _isolated_ abs all any bool bytearray bytes callable classmethod
complex delattr dict enumerate filter float frozenset getattr hasattr hash id input int isinstance issubclass iter len
list map max memoryview min next object open print property range repr reversed round set setattr sorted staticmethod
str sum super tuple type zip
"""

NODES_BY_PAIR_COUNT = {
    10: "For While AsyncFor ListComp SetComp DictComp GeneratorExp",
    13: "Try Raise",
    49: "FunctionDef AsyncFunctionDef Return Call Lambda Yield YieldFrom Assign AugAssign AnnAssign Delete Global "
    "Nonlocal Attribute Subscript Starred Slice",
    62: "ClassDef If IfExp",
    14: "BinOp BoolOp UnaryOp Compare Dict Set",
    46: "With AsyncWith",
    1: "Import ImportFrom Pass Break Continue Assert",
}


def test_metadata_lists() -> None:
    assert list(vocabulary.AST_NODES) == AST_NODES.split()
    assert list(vocabulary.BUILTIN_OBJS) == BUILTIN_OBJS.split()
    assert vocabulary.ISOLATED_NODES == ("Assert", "Break", "Continue", "Import", "ImportFrom", "Pass")


def test_concepts_are_in_ascii_order() -> None:
    concepts = [f"ast__{node}" for node in AST_NODES.split()] + [f"builtin__{name}" for name in BUILTIN_OBJS.split()]
    assert list(vocabulary.CONCEPTS) == sorted(concepts)


def test_each_node_is_paired_with_the_builtins_of_its_family() -> None:
    expected = {node: count for count, nodes in NODES_BY_PAIR_COUNT.items() for node in nodes.split()}
    assert Counter(node for node, _ in vocabulary.attempted_pairs()) == expected


def test_each_builtin_is_intersected_over_the_stated_number_of_pairs() -> None:
    counts = Counter(name for _, name in set(vocabulary.attempted_pairs()) - set(vocabulary.DROPPED_PAIRS_PRESUMED))
    stated = {"ValueError": 5, "_isolated_": 6, "len": 22, "delattr": 21, "enumerate": 21, "zip": 21, "complex": 28}
    stated |= {"bool": 27, "float": 27, "int": 23, "bytearray": 33, "frozenset": 33, "memoryview": 33, "set": 33}
    stated |= {"bytes": 35, "dict": 35, "list": 35, "range": 35, "str": 31, "tuple": 31}
    assert {name: counts[name] for name in stated} == stated


@pytest.mark.parametrize(("mode", "n_pairs"), [("test", 16), ("small", 1297), ("full", 1390)])
def test_pair_counts(mode: vocabulary.Mode, n_pairs: int) -> None:
    pairs = vocabulary.attempted_pairs(mode)
    assert len(pairs) == len(set(pairs)) == n_pairs


def test_generation_order_is_by_family_then_node_then_builtin() -> None:
    pairs = vocabulary.attempted_pairs()
    assert pairs[:3] == (("For", "bytearray"), ("For", "bytes"), ("For", "dict"))
    assert list(dict.fromkeys(node for node, _ in pairs))[:10] == [
        *("For", "While", "AsyncFor", "ListComp", "SetComp", "DictComp", "GeneratorExp", "Try", "Raise", "FunctionDef"),
    ]
    assert pairs[-4:] == tuple((node, "_isolated_") for node in ("Pass", "Break", "Continue", "Assert"))


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="test, small or full"):
        vocabulary.attempted_pairs("large")  # type: ignore[arg-type]


def test_dropped_pairs_are_attempted_and_in_generation_order() -> None:
    dropped = vocabulary.DROPPED_PAIRS_PRESUMED
    positions = [vocabulary.attempted_pairs().index(pair) for pair in dropped]
    assert positions == sorted(positions)
    counts = {"AnnAssign": 7, "Delete": 5, "Call": 4, "Assign": 3, "BoolOp": 1}
    assert Counter(node for node, _ in dropped) == counts


def test_keywords() -> None:
    keywords = vocabulary.KEYWORDS
    assert list(keywords) == sorted(keywords)
    assert Counter(concept.partition("__")[0] for concept in keywords) == {"ast": 24, "builtin": 34}
    assert keywords["ast__For"] == (
        "for",
        ("For", "AsyncFor", "ListComp", "SetComp", "DictComp", "GeneratorExp"),
        (),
    )
    assert keywords["ast__ImportFrom"] == ("from", ("Import", "ImportFrom"), ())
    assert keywords["ast__Delete"] == ("del", ("Delete",), ())
    assert keywords["ast__YieldFrom"] == ("yield", ("Yield", "YieldFrom"), ())
    assert keywords["ast__AsyncWith"] == ("async", ("AsyncFor", "AsyncFunctionDef", "AsyncWith"), ())
    assert keywords["builtin__list"] == ("list", (), ("list",))


def test_the_other_concepts_have_no_keyword() -> None:
    assert sorted([*vocabulary.NO_KEYWORD, *vocabulary.KEYWORDS]) == list(vocabulary.CONCEPTS)
    assert Counter(concept.partition("__")[0] for concept in vocabulary.NO_KEYWORD) == {"ast": 19, "builtin": 29}
    assert "builtin___isolated_" in vocabulary.NO_KEYWORD


def test_keys_split_at_the_first_separator() -> None:
    assert vocabulary.split_pair("Break___isolated_") == ("Break", "_isolated_")
    assert vocabulary.split_pair("Call____import__") == ("Call", "__import__")
    assert vocabulary.split_concept("builtin___isolated_") == ("builtin", "_isolated_")
    assert vocabulary.concept_key("builtin", "_isolated_") == "builtin___isolated_"


@given(st.sampled_from(vocabulary.attempted_pairs("full")))
def test_pair_keys_round_trip(pair: tuple[str, str]) -> None:
    assert vocabulary.split_pair(vocabulary.pair_key(*pair)) == pair


@given(st.sampled_from(vocabulary.CONCEPTS))
def test_concept_keys_round_trip(concept: str) -> None:
    assert vocabulary.concept_key(*vocabulary.split_concept(concept)) == concept


@pytest.mark.parametrize("key", ["", "For", "For_list", "__list", "For__"])
def test_a_key_that_names_one_thing_is_refused(key: str) -> None:
    with pytest.raises(SchemaError, match="does not name two things"):
        vocabulary.split_pair(key)


def test_names_that_no_key_can_hold_are_refused() -> None:
    with pytest.raises(SchemaError, match="split again"):
        vocabulary.pair_key("For__x", "list")
    with pytest.raises(SchemaError, match="AST node or a builtin"):
        vocabulary.concept_key("node", "For")
    with pytest.raises(SchemaError, match="AST node or a builtin"):
        vocabulary.split_concept("For__list")


def test_the_published_grid() -> None:
    assert vocabulary.EPSILONS == (0.001, 0.1, 0.5)
    assert vocabulary.CONSISTENCIES == (0.2, 0.5, 0.8)
    assert f"eps{vocabulary.EPSILONS[0]}_cons{vocabulary.CONSISTENCIES[0]}" == "eps0.001_cons0.2"
