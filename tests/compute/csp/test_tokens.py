import numpy as np
import pytest

from circuit_artifacts.compute.csp.tokens import token_independence
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import CONCEPTS, KEYWORDS, NO_KEYWORD


def test_by_hand() -> None:
    universal = np.zeros((4, 2, 8), dtype=np.bool_)
    universal[1, 0, :3] = universal[1, 1, :1] = True  # ast__For: sizes 3 and 1
    universal[2, 0, :4] = True  # builtin__list: sizes 4 and 0
    universal[3, :, :2] = True  # builtin__map, the same fractions as ast__For would have without layer 0
    checker = np.zeros((3, 2, 8), dtype=np.bool_)
    checker[0, :, 2:6] = True  # builtin__list
    checker[1, :, 1:3] = True  # ast__For
    checker[2, :, 1] = True  # builtin__map
    concepts = ["ast__BinOp", "ast__For", "builtin__list", "builtin__map"]
    tables = token_independence(concepts, universal, ["builtin__list", "ast__For", "builtin__map"], checker)

    assert tables.detail.to_csv(index=False).splitlines() == [
        "A_size,B_size,A_only,A_and_B,B_only,token_fraction,concept_fraction,object,type,keyword,layer",
        "3,2,1,2,0,0.6667,0.3333,ast__For,ast,for,0",
        "1,2,1,0,2,0.0,1.0,ast__For,ast,for,1",
        "4,4,2,2,2,0.5,0.5,builtin__list,builtin,list,0",
        "0,4,0,0,4,0.0,0.0,builtin__list,builtin,list,1",
        "2,1,1,1,0,0.5,0.5,builtin__map,builtin,map,0",
        "2,1,1,1,0,0.5,0.5,builtin__map,builtin,map,1",
    ]
    # The fraction means are 0.66665, 0.25 and 0.5.
    summary = tables.summary.to_csv(index=False).splitlines()
    assert summary[0] == "object,type,keyword,concept_fraction,token_fraction,A_size,A_and_B,A_only,B_only"
    assert summary[1].split(",")[:3] == ["ast__For", "ast", "for"]
    assert summary[2] == "builtin__map,builtin,map,0.5,0.5,2.0,1.0,1.0,0.0"
    assert summary[3] == "builtin__list,builtin,list,0.25,0.25,2.0,1.0,1.0,3.0"
    assert tables.no_keyword.to_csv(index=False).splitlines() == ["object,status", "ast__BinOp,no_keyword"]


def test_ties_come_in_ascii_order() -> None:
    names = sorted(KEYWORDS, reverse=True)
    universal = np.ones((58, 3, 4), dtype=np.bool_)
    summary = token_independence(names, universal, names, np.zeros_like(universal)).summary
    assert summary["concept_fraction"].tolist() == [1.0] * 58
    assert summary["object"].tolist() == sorted(names)


def test_published_row_counts() -> None:
    random = np.random.default_rng(0)
    universal, checker = random.random((106, 8, 32)) < 0.5, random.random((58, 8, 32)) < 0.5
    tables = token_independence(CONCEPTS, universal, list(KEYWORDS), checker)
    assert [len(table) for table in tables] == [58, 464, 48]
    assert tables.no_keyword["object"].tolist() == sorted(NO_KEYWORD)
    assert tables.summary["concept_fraction"].is_monotonic_decreasing
    # Means over layers, from the definition, for one concept.
    a, b = universal[CONCEPTS.index("ast__YieldFrom")], checker[list(KEYWORDS).index("ast__YieldFrom")]
    row = tables.summary.set_index("object").loc["ast__YieldFrom"]
    assert row["keyword"] == "yield"
    assert row["B_only"] == (b & ~a).sum() / 8
    fractions = [round(int((x & ~y).sum()) / int(x.sum()), 4) for x, y in zip(a, b, strict=True)]
    assert row["concept_fraction"] == pytest.approx(sum(fractions) / 8, abs=0.50001e-4)


def test_missing_layer_raises() -> None:
    with pytest.raises(SchemaError, match="same shape"):
        token_independence(["ast__For"], np.ones((1, 8, 4), np.bool_), ["ast__For"], np.ones((1, 7, 4), np.bool_))


def test_nothing_testable_gives_empty_tables_with_their_columns() -> None:
    tables = token_independence(["ast__BinOp"], np.ones((1, 2, 4), np.bool_), [], np.ones((0, 2, 4), np.bool_))
    assert [len(table) for table in tables] == [0, 0, 1]
    assert list(tables.summary.columns)[:3] == ["object", "type", "keyword"]
