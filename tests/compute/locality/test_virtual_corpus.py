"""Answers of Neuronpedia put together into a corpus, and checked against the model."""

from __future__ import annotations

from typing import Any

import event_fixture
import pytest
import torch
from event_fixture import SILENT, autoencoder

from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts
from circuit_artifacts.compute.locality.virtual_corpus import (
    AdapterLog,
    NeuronpediaContexts,
    contexts_from_neuronpedia,
    verify_contexts,
)
from circuit_artifacts.errors import ModelError, SchemaError

PIECES = ["<bos>", "a", "b", "c", "null", "\n", "<unk>"]
IDS = {piece: number for number, piece in enumerate(PIECES)}


def example(text: str, peak: int, value: float, **more: Any) -> dict[str, Any]:
    return {"tokens": text.split(" "), "maxValueTokenIndex": peak, "maxValue": value, **more}


def put_together(answers: dict[int, Any], top_k: int = 2) -> NeuronpediaContexts:
    """With a tokenizer that, as many do, gives pieces that it does not know the id of <unk>."""
    return contexts_from_neuronpedia(
        answers, lambda piece: IDS.get(piece, IDS["<unk>"]), PIECES.__getitem__, bos_id=0, top_k=top_k
    )


def test_events_are_ranked_and_put_one_behind_the_other() -> None:
    answers = {
        9: {"activations": [example("a b", 1, 2.0), example("c null \n", 2, 5.5, dataIndex="7:3")]},
        4: {"activations": [example("b b b", 0, 1.0)]},
    }
    found = put_together(answers)
    assert found.corpus.tolist() == [0, 3, 4, 5, 0, 1, 2, 0, 2, 2, 2]
    assert found.corpus.dtype == torch.int64
    assert found.contexts == [
        FeatureContexts(
            9,
            5.5,
            (
                ContextExample(5.5, 3, ("<bos>", "c", "null", "\n"), 0, 0, "7:3"),
                ContextExample(2.0, 2, ("<bos>", "a", "b"), 4, 1, None),
            ),
        ),
        FeatureContexts(4, 1.0, (ContextExample(1.0, 1, ("<bos>", "b", "b", "b"), 7, 0, None),)),
    ]
    for entry in found.contexts:
        for event in entry.examples:
            assert PIECES[found.corpus[event.peak]] == event.activating_token


def test_the_log_counts_until_enough_events_are_found() -> None:
    activations = [
        example("a b", 1, 1.0),  # never reached
        example("a x", 1, 2.0),  # never reached
        example("c c", 0, 3.0),
        example("a y x", 0, 4.0),
        example("a b", 0, 5.0),
        example("a b", 0, 5.0),  # a duplicate; the same tokens with another peak are none
        example("z", 0, 6.0),
    ]
    found = put_together({3: {"activations": activations}})
    assert found.logs == {3: AdapterLog(7, 6, 1, 2, 2, ("z", "y"))}
    assert [(each.activation, each.neuronpedia_rank) for each in found.contexts[0].examples] == [(5.0, 1), (3.0, 3)]


def test_at_most_three_failures_are_shown() -> None:
    found = put_together({3: {"activations": [example(f"a x{n}", 0, -n) for n in range(5)]}})
    assert found.logs[3] == AdapterLog(5, 5, 0, 5, 0, ("x0", "x1", "x2"))
    assert found.contexts == [FeatureContexts(3, 0.0, ())]


def test_equal_activations_stay_in_the_order_of_the_answer() -> None:
    found = put_together({3: {"activations": [example(piece, 0, 1.0) for piece in "cab"]}}, top_k=3)
    assert [each.activating_token for each in found.contexts[0].examples] == ["c", "a", "b"]


@pytest.mark.parametrize("answer", [{}, {"activations": None}, {"activations": []}])
def test_a_feature_without_activations_has_no_events(answer: dict[str, Any]) -> None:
    found = put_together({3: answer})
    assert found.contexts == [FeatureContexts(3, 0.0, ())]
    assert found.corpus.shape == (0,)
    assert found.logs == {3: AdapterLog(0, 0, 0, 0, 0, ())}
    nothing = put_together({})
    assert (nothing.contexts, nothing.corpus.tolist(), nothing.logs) == ([], [], {})


def test_a_piece_that_no_tokenizer_can_take_is_an_unknown_one() -> None:
    backend = event_fixture.tokenizer().backend
    answer = {"activations": [{"tokens": ["a", "\ud800"], "maxValueTokenIndex": 0, "maxValue": 1.0}]}
    found = contexts_from_neuronpedia({3: answer}, backend.token_to_id, backend.id_to_token, bos_id=0, top_k=1)
    assert found.logs[3].roundtrip_failure_examples == ("\ud800",)


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        {"tokens": ["a"], "maxValueTokenIndex": 1, "maxValue": 1.0},
        {"tokens": ["a"], "maxValueTokenIndex": -1, "maxValue": 1.0},
        {"tokens": ["a", 1], "maxValueTokenIndex": 0, "maxValue": 1.0},
        {"tokens": ["a"], "maxValueTokenIndex": 0, "maxValue": None},
        {"tokens": ["a"], "maxValueTokenIndex": 0, "maxValue": float("inf")},
        {"maxValueTokenIndex": 0, "maxValue": 1.0},
    ],
)
def test_examples_of_another_form_are_refused(broken: Any) -> None:
    with pytest.raises(SchemaError, match=r"feature 3, activations\[1\]: not an example.* Remove the answer"):
        put_together({3: {"activations": [example("a", 0, 1.0), broken]}})


def events(off: dict[int, float]) -> tuple[torch.Tensor, list[FeatureContexts]]:
    """Two events of each of three features with the activations that they have, off by so much; the second by 99."""
    tokens, found = event_fixture.corpus(60), []
    for number, feature in enumerate((17, 8, 11)):
        start = 20 * number
        residual = capture(event_fixture.model(), tokens[None, start : start + 10], site="resid_post", layers=[1])[1][0]
        values = autoencoder("topk").encode(residual)[:, feature]
        peak = int(values.argmax())
        first = ContextExample(float(values[peak]) + off.get(feature, 0.0), peak, ("x",) * 10, start, 0)
        found.append(FeatureContexts.of(feature, [first, ContextExample(99.0, 0, ("x",) * 10, start + 10, 1)]))
    return tokens, [*found, FeatureContexts(SILENT, 0.0, ())]


def test_the_first_event_of_each_feature_is_verified_alone() -> None:
    tokens, contexts = events({})
    found = verify_contexts(event_fixture.model(), autoencoder("topk"), tokens, contexts, layer=1)
    expected = {entry.feature_id: entry.max_activation for entry in contexts[:3]}
    assert found == pytest.approx(expected, rel=1e-4)
    assert max(expected.values()) > 1


@pytest.mark.parametrize("off", [0.499, -0.499])
def test_a_difference_of_a_half_passes(off: float) -> None:
    tokens, contexts = events({17: off})
    verify_contexts(event_fixture.model(), autoencoder("topk"), tokens, contexts, layer=1)


def test_five_percent_of_a_large_activation_pass() -> None:
    sae = autoencoder("relu")
    sae.W_enc *= 100
    tokens = event_fixture.corpus(10)
    residual = capture(event_fixture.model(), tokens[None], site="resid_post", layers=[1])[1][0, 6]
    value = float(sae.encode(residual).max())
    feature = int(sae.encode(residual).argmax())
    assert value > 100
    for stated, passes in (
        (value / 1.049, True),
        (value / 0.951, True),
        (value / 1.051, False),
        (value / 0.949, False),
    ):
        contexts = [FeatureContexts.of(feature, [ContextExample(stated, 6, ("x",) * 10, 0, 0)])]
        if passes:
            verify_contexts(event_fixture.model(), sae, tokens, contexts, layer=1)
        else:
            with pytest.raises(ModelError, match="1 of 1 features are not as active"):
                verify_contexts(event_fixture.model(), sae, tokens, contexts, layer=1)


def test_all_failing_features_are_named() -> None:
    tokens, contexts = events({17: 0.6, 11: -0.6})
    with pytest.raises(
        ModelError, match=r"layer 1: 2 of 3 features .*feature 17: .* instead of .*, feature 11: "
    ) as info:
        verify_contexts(event_fixture.model(), autoencoder("topk"), tokens, contexts, layer=1)
    assert "feature 8:" not in str(info.value)
    with pytest.raises(ModelError, match="of 3 features"):
        verify_contexts(event_fixture.model(), autoencoder("topk"), tokens, contexts, layer=0)


def test_activations_that_are_not_numbers_do_not_pass() -> None:
    tokens, contexts = events({})
    sae = autoencoder("topk")
    sae.b_enc[17] = float("nan")
    with pytest.raises(ModelError, match="feature 17: nan"):
        verify_contexts(event_fixture.model(), sae, tokens, contexts, layer=1)
