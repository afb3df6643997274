"""Object prompts against the hashes and counts of csp_atlas spec 3.1-3.4 and its golden values."""

import ast
import hashlib
import re
from collections.abc import Iterable
from itertools import groupby, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_artifacts.compute.csp.prompts import (
    LossRule,
    ObjectPrompt,
    _essence,
    filter_by_loss,
    generate_object_prompts,
)
from circuit_artifacts.compute.csp.word_banks import DOMAINS
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import DROPPED_PAIRS_PRESUMED, ISOLATED, attempted_pairs


@pytest.fixture(scope="module")
def published() -> list[ObjectPrompt]:
    return list(generate_object_prompts())


def by_pair(prompts: list[ObjectPrompt]) -> dict[tuple[str, str], list[ObjectPrompt]]:
    return {
        pair: list(group) for pair, group in groupby(prompts, key=lambda prompt: (prompt.ast_node, prompt.builtin_obj))
    }


def stream_hash(prompts: Iterable[ObjectPrompt]) -> str:
    digest = hashlib.sha256()
    for node, builtin, variation, text, _ in prompts:
        digest.update(f"{node}\x1f{builtin}\x1f{variation}\x1f{text}\x1e".encode())
    return digest.hexdigest()


def names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def test_the_published_stream(published: list[ObjectPrompt]) -> None:
    assert len(published) == 64_850
    assert stream_hash(published) == "c8a0d987bd9df49d0c442d0f8e40fe6ee22a517047db0d10582008b9899db071"


def test_the_stream_without_the_trial_cell() -> None:
    prompts = generate_object_prompts(smoke_test=False)
    assert stream_hash(prompts) == "cb01eaddf7bc090abd5b0e8494ba8be1284cb3f419966615cdecfc8fe8519aad"


def test_the_first_prompt(published: list[ObjectPrompt]) -> None:
    text = (
        "print('Starting process')\nledger_entries = list(b'hello')\nfor transaction in ledger_entries:\n"
        "    audit_record(transaction)\nstatus = False"
    )
    assert published[0] == ("For", "bytearray", 0, text, True)


def test_distinct_texts(published: list[ObjectPrompt]) -> None:
    assert len({prompt.prompt_text for prompt in published}) == 45_887
    kept = {prompt.prompt_text for prompt in published if prompt[:2] not in DROPPED_PAIRS_PRESUMED}
    assert len(kept) == 44_949
    distinct = [len({prompt.prompt_text for prompt in group}) for group in by_pair(published).values()]
    assert (min(distinct), max(distinct)) == (40, 50)


def test_many_pairs_never_name_their_builtin(published: list[ObjectPrompt]) -> None:
    def named(builtin: str, prompts: list[ObjectPrompt]) -> bool:
        texts = (prompt.prompt_text for prompt in prompts if re.search(rf"\b{builtin}\b", prompt.prompt_text))
        return any(builtin in names(text) for text in texts)

    pairs = {pair: prompts for pair, prompts in by_pair(published).items() if pair[1] != ISOLATED}
    silent = {pair for pair, prompts in pairs.items() if not named(pair[1], prompts)}
    assert len(silent) == 563
    assert len(silent.difference(DROPPED_PAIRS_PRESUMED)) == 554


def test_many_pairs_share_their_template() -> None:
    cells = {pair: (pair[0], *(_essence(*pair, domain)[0] for domain in DOMAINS)) for pair in attempted_pairs()}
    assert len(set(cells.values())) == 851
    assert len({cell for pair, cell in cells.items() if pair not in DROPPED_PAIRS_PRESUMED}) == 831


def test_every_prompt_uses_its_node(published: list[ObjectPrompt]) -> None:
    assert all(prompt.ast_verified for prompt in published)
    for prompt in published[::97]:
        kinds = {type(node).__name__ for node in ast.walk(ast.parse(prompt.prompt_text))}
        assert prompt.ast_node in kinds


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(attempted_pairs()), max_size=8), st.integers(0, 12))
def test_the_layout_is_that_of_unparse(seed: int, pairs: list[tuple[str, str]], n: int) -> None:
    """Holds down a text laid out by hand that differs from what parsing and unparsing would give."""
    prompts = list(generate_object_prompts(pairs, n=n, seed=seed))
    assert [prompt[:3] for prompt in prompts] == [(*pair, variation) for pair in pairs for variation in range(n)]
    for prompt in prompts:
        assert ast.unparse(ast.parse(prompt.prompt_text)) == prompt.prompt_text


def test_streams_are_private_and_subsets_start_afresh(published: list[ObjectPrompt]) -> None:
    """Holds down a shared random state: an interleaved second stream must not shift the first."""
    first, second = generate_object_prompts(), generate_object_prompts(seed=7)
    interleaved = [prompt for prompt, _ in islice(zip(first, second, strict=True), 200)]
    assert interleaved == published[:200]
    assert list(generate_object_prompts(attempted_pairs()[:2])) == published[:100]
    assert list(generate_object_prompts(attempted_pairs()[1:2])) != published[50:100]


@pytest.mark.parametrize("pair", [("ExceptHandler", "ValueError"), ("For", "_isolated_"), ("Pass", "list")])
def test_pairs_without_a_template_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UnknownNameError, match=pair[0]):
        generate_object_prompts([pair])


def test_a_negative_number_of_prompts_is_refused() -> None:
    with pytest.raises(SchemaError, match="negative"):
        generate_object_prompts(n=-1)


def kept_by_loops(pairs: list[int], losses: list[float], rule: LossRule, n_keep: int, threshold: float) -> list[int]:
    kept: list[int] = []
    for pair in sorted(set(pairs)):
        rows = [row for row, other in enumerate(pairs) if other == pair]
        if sum(losses[row] for row in rows) / len(rows) > threshold:
            continue
        kept += (rows if rule == "pair_mean" else sorted(rows, key=lambda row: losses[row]))[:n_keep]
    return kept


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 24).map(lambda quarters: quarters / 4)), max_size=30),
    st.sampled_from(["pair_mean", "best"]),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_filter_agrees_with_loops(rows: list[tuple[int, float]], rule: LossRule, n_keep: int, threshold: float) -> None:
    pairs, losses = [pair for pair, _ in rows], [loss for _, loss in rows]
    kept = filter_by_loss(pairs, losses, rule=rule, n_keep=n_keep, threshold=threshold)
    assert kept.dtype == np.int64
    assert kept.tolist() == kept_by_loops(pairs, losses, rule, n_keep, threshold)


def test_a_mean_loss_of_exactly_the_threshold_is_kept() -> None:
    assert filter_by_loss([0, 0, 1, 1], [2.0, 4.0, 2.0, 4.5]).tolist() == [0, 1]
    assert filter_by_loss([0, 0, 1, 1], [12.0, 8.0, 12.0, 8.5], rule="best").tolist() == [1, 0]


def test_the_published_rule_leaves_losses_unsorted() -> None:
    assert filter_by_loss([0, 0, 0], [3.0, 1.0, 2.0], n_keep=2).tolist() == [0, 1]
    assert filter_by_loss([0, 0, 0], [3.0, 1.0, 2.0], n_keep=2, rule="best").tolist() == [1, 2]


def test_bad_filter_input_is_refused() -> None:
    with pytest.raises(SchemaError, match="one length"):
        filter_by_loss([0, 0], [1.0])
    with pytest.raises(SchemaError, match="row 1"):
        filter_by_loss([0, 0], [1.0, float("nan")])
    with pytest.raises(SchemaError, match="negative"):
        filter_by_loss([0], [1.0], n_keep=-1)
    with pytest.raises(UnknownNameError, match="pair_mean or best"):
        filter_by_loss([0], [1.0], rule="median")  # type: ignore[arg-type]
