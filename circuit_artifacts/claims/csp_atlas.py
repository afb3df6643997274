"""CSP-Atlas: what its card, its paper's code and its notebooks say of the files (csp_atlas spec 8 and 10).

Numbers of the earlier experiments, with 115 concepts, are left out: no published file is of them.
"""

from __future__ import annotations

from circuit_artifacts.claims import csp_atlas_circuits as circuits
from circuit_artifacts.claims import csp_atlas_tables as tables
from circuit_artifacts.claims.csp_atlas_card import CARD
from circuit_artifacts.claims.csp_atlas_printed import ARITHMETIC, NOTEBOOK
from circuit_artifacts.claims.model import Claim, Interval

__all__ = ["claims"]

_REFERENCE = "masks_eps0.5_cons0.8"
_TESTS, _CARD, _README = "the paper's test suite", "dataset card", "README of the paper's code"
_NONE, _3, _62_5, _106 = map(Interval.printed, ("0", "3", "62.5", "106"))
_4_TO_9 = Interval.between("4", "9")
_TOP_THREE = ("ast__Assert", "ast__Break", "ast__ImportFrom")
_CLUSTER = (*circuits.ATOMIC, "ast__Raise", "builtin___isolated_")


def claims() -> tuple[Claim, ...]:
    """Claims about the release, about the form of its files, about an earlier file, and of printed numbers."""
    return (*RELEASE, *CARD, *NOTEBOOK, *ARITHMETIC)


RELEASE = (
    Claim(
        name="ast_concepts",
        statement="43 of the concepts are AST node types",
        source=f"{_TESTS}; {_CARD}, summary",
        published=Interval.printed("43"),
        needs=("concepts",),
        check=tables.concepts_of("ast"),
    ),
    Claim(
        name="builtin_concepts",
        statement="63 of the concepts are builtin objects",
        source=f"{_TESTS}; {_CARD}, summary",
        published=Interval.printed("63"),
        needs=("concepts",),
        check=tables.concepts_of("builtin"),
    ),
    Claim(
        name="real_builtins",
        statement="all 63 builtin objects are objects of Python",
        source=f"{_CARD}, summary",
        published=Interval.printed("63"),
        needs=("concepts",),
        check=tables.real_builtins,
    ),
    Claim(
        name="concepts",
        statement="there are 106 concepts",
        source=f"{_TESTS}; {_CARD}, summary",
        published=_106,
        needs=("concepts",),
        check=tables.concepts_of(None),
    ),
    Claim(
        name="circuits_in_every_setting",
        statement="every one of the nine settings has universal masks of 106 concepts",
        source=_TESTS,
        published=_106,
        needs=("masks",),
        quantifier="every",
        check=circuits.in_every_setting(len, _106, "concepts"),
    ),
    Claim(
        name="no_concept_is_empty",
        statement="in every setting each concept has a mask that is not empty at some layer",
        source=_TESTS,
        published=_NONE,
        needs=("masks",),
        quantifier="every",
        check=circuits.in_every_setting(circuits.empty_concepts, _NONE, "concepts are empty at all layers"),
    ),
    Claim(
        name="no_circuit_is_empty",
        statement="in every setting all circuits are non-empty",
        source=_README,
        published=_NONE,
        needs=("masks",),
        quantifier="every",
        check=circuits.in_every_setting(circuits.empty_circuits, _NONE, "masks of a concept at a layer are empty"),
    ),
    Claim(
        name="circuits_are_intersections",
        statement="the mask of a concept is the intersection of the masks of its pairs",
        source="notebook of stage 13",
        kind="structural",
        needs=(_REFERENCE,),
        check=circuits.are_intersections,
    ),
    Claim(
        name="circuits_shrink",
        statement="circuits lose dimensions, and gain none, as either threshold is raised",
        source="follows from the rule of stage 13",
        kind="structural",
        needs=("masks",),
        quantifier="every",
        check=circuits.shrink,
    ),
    Claim(
        name="most_modular",
        statement="Break leads: it is modular at 3 layers without a trim",
        source=f"{_TESTS}; {_CARD}, modularity",
        published=_3,
        needs=("modularity_scores",),
        check=circuits.leader("ast__Break", _3),
    ),
    Claim(
        name="three_most_modular",
        statement="the three most modular concepts are Break, ImportFrom and Assert",
        source=_TESTS,
        published="Break, ImportFrom, Assert",
        needs=("modularity_scores",),
        check=circuits.top_scores(_TOP_THREE),
    ),
    Claim(
        name="other_atomic_concepts",
        statement="Continue, Import and Pass are modular at one layer each",
        source=f"{_TESTS}, in words",
        published="1, 1, 1",
        needs=("modularity_scores",),
        check=circuits.scores_are_one("ast__Continue", "ast__Import", "ast__Pass"),
    ),
    Claim(
        name="modularity_is_a_rank",
        statement="significance is a rank among the concepts below 0.05, so that few can have it",
        source="script that makes the modularity tables",
        kind="structural",
        needs=("modularity_detail",),
        check=circuits.significant_concepts,
    ),
    Claim(
        name="atomicity_cluster",
        statement="Assert, Break, Continue, Import, ImportFrom and Pass are in one of four Ward clusters at layer 3",
        source=_TESTS,
        published=Interval.printed("1"),
        needs=(_REFERENCE,),
        check=circuits.clusters(3),
    ),
    Claim(
        name="atomicity_cluster_members",
        statement="that cluster has eight members: the six, Raise, and the sentinel",
        source=f"{_TESTS} and configuration of figure 1, in words",
        published=Interval.printed("8"),
        needs=(_REFERENCE,),
        check=circuits.cluster_members(3, _CLUSTER),
    ),
    Claim(
        name="atomicity_at_layer_5",
        statement="at layer 5 the six are split over 3 clusters (of four, presumably)",
        source="configuration of figure 1, in words",
        published=Interval.printed("3"),
        needs=(_REFERENCE,),
        check=circuits.clusters(5),
    ),
    Claim(
        name="largest_concept_share",
        statement="AST circuits reach 62.5 % of dimensions that their keyword does not explain, at some setting",
        source="the paper's code, words beside the decomposition; the setting is not stated",
        published=_62_5,
        needs=("target_checker",),
        quantifier="some",
        check=tables.largest_concept_share(_62_5),
    ),
    Claim(
        name="ast_over_builtin",
        statement="in all nine settings the concept share of AST nodes is 4 to 9 times that of builtins",
        source=_README,
        published=_4_TO_9,
        needs=("summary",),
        check=tables.ratios_within(_4_TO_9),
    ),
    Claim(
        name="ast_above_builtin",
        statement="in all settings the concept share of AST nodes is above that of builtins",
        source=f"{_README}, without its numbers",
        kind="structural",
        needs=("summary",),
        check=tables.lowest_ratio,
    ),
    Claim(
        name="summary_is_recovered",
        statement="concept fractions are recovered from the cells of the decomposition tables",
        source=f"{_CARD}, decomposition",
        kind="structural",
        needs=("summary", "target_checker"),
        check=tables.cells_give_summary,
    ),
    Claim(
        name="settings",
        statement="the summary has one row for each of nine settings",
        source=f"{_CARD}, global summary",
        published=Interval.printed("9"),
        needs=("summary",),
        check=tables.count_rows,
    ),
    Claim(
        name="testable_concepts",
        statement="58 concepts can be tested against their keyword: 24 AST nodes and 34 builtins",
        source=f"{_CARD}, decomposition; the two parts by the paper's code",
        published="58 = 24 + 34",
        needs=("summary",),
        check=tables.keyword_counts,
    ),
    Claim(
        name="decomposition_shape",
        statement="every decomposition table has 58 concepts and 8 layers",
        source=f"{_CARD}, decomposition",
        published="58 by 8",
        needs=("target_checker",),
        quantifier="every",
        check=tables.table_shape,
    ),
    Claim(
        name="concepts_without_keyword",
        statement="48 concepts have no keyword: 19 AST nodes and 29 builtins",
        source=f"{_CARD}, token independence",
        published="48 = 19 + 29",
        needs=("token_independence_no_keyword",),
        check=tables.no_keyword_counts,
    ),
    Claim(
        name="object_prompts",
        statement="there are 63,800 object prompts",
        source=f"{_CARD}, summary and layout",
        published=Interval.printed("63,800"),
        needs=("object_prompts",),
        check=tables.count_rows,
    ),
    Claim(
        name="pairs",
        statement="they are of 1,276 pairs",
        source=f"{_CARD}, summary; output of notebook 3A",
        published=Interval.printed("1,276"),
        needs=("object_prompts",),
        check=tables.pairs,
    ),
    Claim(
        name="prompts_per_pair",
        statement="each pair has 50 prompts",
        source=f"{_CARD}, summary",
        published=Interval.printed("50"),
        needs=("object_prompts",),
        check=tables.prompts_per_pair,
    ),
    Claim(
        name="checker_prompts",
        statement="there are 2,848 checker prompts",
        source=f"{_CARD}, summary and layout",
        published=Interval.printed("2,848"),
        needs=("checker_prompts",),
        check=tables.count_rows,
    ),
    Claim(
        name="token_checker_prompts",
        statement="there are 2,861 token-checker prompts",
        source=f"{_CARD}, summary and layout",
        published=Interval.printed("2,861"),
        needs=("token_checker_prompts",),
        check=tables.count_rows,
    ),
)
