from __future__ import annotations

import pytest

from circuit_artifacts.causal_dimensionality.agreement import Contrast, without_duplicates
from circuit_artifacts.causal_dimensionality.agreement_checks import check_items, check_splits
from circuit_artifacts.causal_dimensionality.agreement_items import CODE, ENGLISH, STRUCTURES, Lexicon, agreement_items
from circuit_artifacts.errors import UnknownNameError

SMALL = Lexicon(("cat",), ("tree",), ("king",), ("near",), (("sees", "see"),))


def lines(structure: str) -> set[tuple[str, str, str | None]]:
    items = agreement_items(structure, lexicon=SMALL, test_share=0.0)["train"]
    return {(item.clean_prefix, item.patch_prefix, item.case) for item in items if item.clean_answer in {" is", " are"}}


def test_each_structure_flips_its_noun_and_keeps_the_rest() -> None:
    assert lines("simple") == {("The cat", "The cats", "singular"), ("The cats", "The cat", "plural")}
    assert lines("nounpp") == {
        ("The cat near the tree", "The cats near the tree", "singular_singular"),
        ("The cats near the tree", "The cat near the tree", "plural_singular"),
        ("The cat near the trees", "The cats near the trees", "singular_plural"),
        ("The cats near the trees", "The cat near the trees", "plural_plural"),
    }
    assert lines("within_rc") == {
        ("The cat that the king", "The cat that the kings", "singular_singular"),
        ("The cat that the kings", "The cat that the king", "singular_plural"),
        ("The cats that the king", "The cats that the kings", "plural_singular"),
        ("The cats that the kings", "The cats that the king", "plural_plural"),
    }
    assert lines("rc") == {
        ("The cat that the king sees", "The cats that the king sees", "singular_singular"),
        ("The cats that the king sees", "The cat that the king sees", "plural_singular"),
        ("The cat that the kings see", "The cats that the kings see", "singular_plural"),
        ("The cats that the kings see", "The cat that the kings see", "plural_plural"),
    }


@pytest.mark.parametrize("lexicon", [ENGLISH, CODE], ids=["english", "code"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_generated_items_keep_every_rule_and_no_prefix_is_in_two_splits(structure: str, lexicon: Lexicon) -> None:
    splits = agreement_items(structure, lexicon=lexicon, seed=3)
    for split, items in splits.items():
        assert list(check_items(items, structure=structure, file=split)) == []
    assert not {item.clean_prefix for item in splits["train"]} & {item.clean_prefix for item in splits["test"]}
    assert without_duplicates(splits, either_direction=False) == splits
    assert len(splits["test"]) == pytest.approx(len(splits["train"]) / 4, rel=0.1)


def test_there_are_as_many_items_as_combinations() -> None:
    both = {name: sum(map(len, agreement_items(name).values())) for name in STRUCTURES}
    assert both == {"simple": 160, "nounpp": 9600, "within_rc": 3200, "rc": 16_000}


def test_the_seed_decides() -> None:
    assert agreement_items("simple", seed=1) == agreement_items("simple", seed=1)
    assert agreement_items("simple", seed=1) != agreement_items("simple", seed=2)
    assert agreement_items("simple", seed=1, largest=5)["train"] == agreement_items("simple", seed=1)["train"][:5]


def test_an_unknown_structure_is_named() -> None:
    with pytest.raises(UnknownNameError, match="expected simple, nounpp, within_rc, rc"):
        agreement_items("clefts")


GOOD = Contrast("The cat near the tree", "The cats near the tree", " is", " are", "singular_singular")


@pytest.mark.parametrize(
    ("item", "rule", "words"),
    [
        (GOOD._replace(patch_prefix="The cats near the trees"), "prefixes", "differ in 2 words"),
        (GOOD._replace(patch_prefix=GOOD.clean_prefix), "prefixes", "differ in 0 words"),
        (GOOD._replace(patch_prefix="The cat near the trees"), "prefixes", "differ in word 4, expected word 1"),
        (GOOD._replace(patch_prefix="The cats near a tall tree"), "prefixes", "5 and 6 words"),
        (GOOD._replace(clean_prefix="The cat", patch_prefix="The cats"), "prefixes", "2 words, expected 5"),
        (GOOD._replace(patch_answer=" have"), "answers", "' is' and ' have'"),
        (GOOD._replace(clean_answer="is", patch_answer="are"), "answers", "with a space"),
        (GOOD._replace(case=None), "case", "None"),
        (GOOD._replace(case="singular"), "case", "expected <number>_<number>"),
        (GOOD._replace(case="dual_singular"), "case", "dual_singular"),
        (GOOD._replace(case="plural_singular"), "case", "' is' is singular"),
    ],
)
def test_each_broken_rule_is_found(item: Contrast, rule: str, words: str) -> None:
    findings = [f for f in check_items([GOOD, item], structure="nounpp", file="f") if f.level == "error"]
    assert [(finding.rule, finding.where) for finding in findings] == [(rule, "item 2")]
    assert words in findings[0].message


def test_any_structure_can_be_read_and_is_checked_as_far_as_it_is_known() -> None:
    item = Contrast("A b c", "A d c", " is", " are", "plural")
    assert list(check_items([item], structure="unheard_of", file="f")) == []


def test_duplicates_and_leakage_are_notes() -> None:
    other = GOOD._replace(clean_answer=" has", patch_answer=" have")
    (repeated,) = check_items([GOOD, GOOD, other], structure="nounpp", file="f")
    assert (repeated.level, repeated.rule, repeated.message[:6]) == ("note", "duplicates", "1 of 3")
    (leaked,) = check_splits([GOOD], [GOOD, other, other], file="f")
    assert (leaked.level, leaked.rule, leaked.message[:6]) == ("note", "leakage", "1 of 2")
    assert list(check_splits([GOOD], [other], file="f")) == []
