from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuit_artifacts.causal_dimensionality.agreement import (
    Contrast,
    agreement_table,
    contrasts,
    json_lines,
    name_parts,
    read_agreement,
    without_duplicates,
)
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError
from circuit_artifacts.schemas.causal_agreement import AgreementItem
from circuit_artifacts.schemas.common import arrow_schema

CAT = Contrast("The cat", "The cats", " is", " are", "singular")
CATS = Contrast("The cats", "The cat", " are", " is", "plural")
DOG = Contrast("The dog", "The dogs", " has", " have", "singular")

_texts = st.text(st.characters(exclude_categories=("Cs",)))
_items = st.lists(st.builds(Contrast, _texts, _texts, _texts, _texts, st.none() | _texts))


@given(_items)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_items_survive_json_lines(tmp_path: Path, items: list[Contrast]) -> None:
    file = tmp_path / "nounpp_train.json"
    file.write_text(json_lines(items), encoding="utf-8", newline="\n")
    table = read_agreement(file)
    assert contrasts(table) == items
    assert table == agreement_table(items, structure="nounpp", split="train")
    assert table.schema == arrow_schema(AgreementItem)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("within_rc_train.json", ("within_rc", "train")),
        ("rc_test.json", ("rc", "test")),
        ("simple_test.jsonl", ("simple", "test")),
        ("mine.json", ("mine", None)),
        ("train.json", ("train", None)),
        ("my items.v2.json", ("my items", None)),
    ],
)
def test_a_files_name_says_structure_and_split(name: str, parts: tuple[str, str | None]) -> None:
    assert name_parts(name) == parts


def test_blank_lines_a_mark_no_case_and_more_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "simple_test.json"
    odd = {**CAT._asdict(), "source": {"n": 1}, "weight": float("nan")}
    del odd["case"]
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(odd).encode() + b"\r\n\n  \n" + json_lines([DOG]).encode())
    table = read_agreement(file)
    assert contrasts(table) == [CAT._replace(case=None), DOG]
    assert table.column("extra").to_pylist() == ['{"source": {"n": 1}, "weight": null}', None]
    assert set(table.column("structure").to_pylist()) == {"simple"}
    assert set(table.column("split").to_pylist()) == {"test"}


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ('{"clean_prefix": "The c', FormatError, "line 2: the line is not JSON"),
        ("[" * 100_000, FormatError, "line 2: the line is not JSON"),
        ("[1, 2]", SchemaError, "line 2: the line does not hold a JSON object"),
        ('{"clean_prefix": "The cat"}', SchemaError, "line 2: there is no patch_prefix"),
        (json.dumps({**CAT._asdict(), "case": 3}), SchemaError, "line 2: case is not text"),
        (json.dumps({**CAT._asdict(), "clean_answer": None}), SchemaError, "line 2: clean_answer is not text"),
        (
            json.dumps({**CAT._asdict(), "case": "\ud800"}),
            SchemaError,
            "json:case: a value has another type",
        ),
    ],
)
def test_a_bad_line_is_located(tmp_path: Path, line: str, error: type[Exception], words: str) -> None:
    file = tmp_path / "simple_train.json"
    file.write_text(json_lines([CAT]) + line + "\n")
    with pytest.raises(error, match=words):
        read_agreement(file)


def test_what_is_no_text_and_what_is_absent(tmp_path: Path) -> None:
    file = tmp_path / "simple_train.json"
    with pytest.raises(MissingArtifactError):
        read_agreement(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not UTF-8"):
        read_agreement(file)
    file.write_bytes(b"")
    assert contrasts(read_agreement(file)) == []


def test_duplicates_go_within_and_across_splits_and_the_first_split_keeps_them() -> None:
    splits = {"test": [CAT, DOG, CAT], "train": [DOG, CATS, CATS]}
    assert without_duplicates(splits) == {"test": [CAT, DOG], "train": [CATS]}
    assert without_duplicates(splits, either_direction=True) == {"test": [CAT, DOG], "train": []}
    other_way = {"train": splits["train"], "test": splits["test"]}
    assert without_duplicates(other_way) == {"train": [DOG, CATS], "test": [CAT]}


def test_another_answer_to_a_prefix_is_another_item() -> None:
    has = CAT._replace(clean_answer=" has", patch_answer=" have")
    assert without_duplicates({"train": [CAT, has, CAT._replace(case=None)]}) == {"train": [CAT, has]}
