"""Events against one window at a time; what keeps one from being measured; and runs that are killed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import event_fixture
import numpy as np
import pytest
import scipy.stats
import torch
from event_fixture import SILENT, autoencoder, entropies
from torch import Tensor, nn

from circuit_artifacts.compute.locality import events
from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts
from circuit_artifacts.compute.locality.events import (
    COLUMNS,
    FeatureEntropy,
    MeasuredEvent,
    measure_events,
)
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel
from circuit_artifacts.compute.locality.influence import WindowInfluence, window_influence
from circuit_artifacts.compute.saes import Architecture
from circuit_artifacts.errors import ModelError, SchemaError, UnknownNameError

LENGTH = 12
FEATURES = (17, 8, 11, SILENT)
LABELS = (FeatureLabel(8, "phrase", "words, 'words'"), FeatureLabel(3, "token", "none"))


def contexts(n_events: int = 7) -> list[FeatureContexts]:
    """Stretches of ten tokens all over the corpus; the first ends too early, the last too late for a window."""
    found = []
    for number, feature in enumerate(FEATURES):
        starts = [(37 * (n + number * n_events)) % 190 for n in range(n_events)]
        pieces = tuple(f"piece {token}" for token in range(10))
        examples = [ContextExample(9.0 - rank, 2 + rank, pieces, start) for rank, start in enumerate(starts)]
        found.append(FeatureContexts.of(feature, examples))
    found[0] = FeatureContexts.of(17, [*found[0].examples, ContextExample(0.5, 9, ("x",) * 10, 195)])
    return found


def measure(arch: Architecture = "relu", model: nn.Module | None = None, **options: Any) -> list[MeasuredEvent]:
    given = {"layer": 1, "threshold": 0.0, "context_len": LENGTH, "labels": LABELS}
    corpus, found = event_fixture.corpus(), contexts()
    return measure_events(model or event_fixture.model(), autoencoder(arch), corpus, found, **given | options)


def plain(row: MeasuredEvent) -> list[Any]:
    """For comparisons in which NaN equals NaN."""
    values = [getattr(row, name) for name in COLUMNS]
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def same(ours: list[MeasuredEvent], theirs: list[MeasuredEvent]) -> bool:
    """To the last bit."""
    pairs = list(zip(ours, theirs, strict=True))
    assert all(np.array_equal(a.influence, b.influence) for a, b in pairs if a.influence is not None)
    return [plain(a) for a, _ in pairs] == [plain(b) for _, b in pairs]


@pytest.mark.parametrize("group_tokens", [1, 4 * LENGTH, 4096])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_agrees_with_one_window_at_a_time(
    monkeypatch: pytest.MonkeyPatch, arch: Architecture, group_tokens: int
) -> None:
    monkeypatch.setattr(events, "_GROUP_TOKENS", group_tokens)
    corpus, rows = event_fixture.corpus(), iter(measure(arch))
    statuses = []
    for entry in contexts():
        for rank, example in enumerate(entry.examples):
            row = next(rows)
            peak = example.window_start_token + example.token_idx
            assert (row.feature_id, row.top_act_rank, row.key) == (entry.feature_id, rank, f"{entry.feature_id}_{rank}")
            assert (row.abs_peak, row.ctx_len, row.ctx_start) == (peak, LENGTH, peak - LENGTH + 1)
            assert (row.activation_value, row.peak_token_str) == (example.activation, example.activating_token)
            assert (row.tier, row.description) == (("phrase", "words, 'words'") if entry.feature_id == 8 else ("", ""))
            statuses.append(row.status)
            if not 0 <= row.ctx_start <= peak < len(corpus):
                assert row.status == "peak_too_close_to_corpus_boundary"
                continue
            window = corpus[row.ctx_start : peak + 1]
            expected = window_influence(event_fixture.model(), autoencoder(arch), window, layer=1, threshold=0.0)
            if entry.feature_id not in expected.features:
                assert row.status == "feature_below_threshold_at_peak"
                continue
            influence = expected.influence[expected.features.tolist().index(entry.feature_id)]
            assert row.status == "ok"
            assert row.influence is not None
            assert row.influence.dtype == np.float32
            np.testing.assert_allclose(row.influence, influence, rtol=1e-4, atol=1e-6 * influence.max())
            assert (row.n_positions, row.J_argmax) == (LENGTH, influence.argmax())
            assert row.J_max == pytest.approx(influence.max(), rel=1e-4)
            assert row.J_sum == pytest.approx(influence.sum(), rel=1e-4)
            share = (influence + 1e-12) / (influence.sum() + 1e-12)
            assert row.H_pos_bits == pytest.approx(scipy.stats.entropy(share, base=2), abs=1e-4)
    assert next(rows, None) is None
    assert set(statuses) == {"ok", "peak_too_close_to_corpus_boundary", "feature_below_threshold_at_peak"}


def test_rows_without_an_influence_say_nothing_of_it() -> None:
    rows = [row for row in measure() if row.status != "ok"]
    assert rows
    for row in rows:
        assert np.isnan([row.H_pos_bits, row.J_max, row.J_sum]).all()
        assert (row.n_positions, row.J_argmax, row.influence) == (0, -1, None)


def test_a_window_may_begin_with_the_corpus_and_end_with_it() -> None:
    corpus = event_fixture.corpus(20)
    examples = [ContextExample(1.0, peak, ("x",) * 21, 0) for peak in (10, 11, 19, 20)]
    found = measure_events(
        event_fixture.model(),
        autoencoder("relu", shift=1e3),
        corpus,
        [FeatureContexts.of(17, examples)],
        layer=1,
        threshold=0.0,
        context_len=12,
    )
    boundary = "peak_too_close_to_corpus_boundary"
    assert [row.status for row in found] == [boundary, "ok", "ok", boundary]


def test_the_threshold_is_that_of_this_window() -> None:
    """Not of the activation that the source of the contexts states."""
    statuses = {row.status for row in measure(threshold=1e6) if row.ctx_start >= 0 and row.abs_peak < 203}
    assert statuses == {"feature_below_threshold_at_peak"}


class Failing(nn.Module):
    """The model, but for windows that hold a token."""

    def __init__(self, token: int, error: BaseException) -> None:
        super().__init__()
        self.inner, self.token, self.error = event_fixture.model(), token, error

    def forward(self, ids: Tensor) -> Any:
        if (ids == self.token).any():
            raise self.error
        return self.inner(ids)


def test_a_failure_of_one_event_does_not_lose_the_others() -> None:
    whole = measure()
    victim = next(row for row in whole if row.status == "ok")
    token = int(event_fixture.corpus()[victim.abs_peak])
    message = "no memory for '/home/alice/weights.pt'\n" + "and so on " * 20
    found = measure(model=Failing(token, RuntimeError(message)))
    holds = [token in event_fixture.corpus()[max(row.ctx_start, 0) : row.abs_peak + 1] for row in whole]
    assert 0 < sum(holds) < len(whole)
    for row, other, is_hit in zip(found, whole, holds, strict=True):
        if is_hit and other.status != "peak_too_close_to_corpus_boundary":
            assert row.status == "compute_error: RuntimeError: no memory for 'weights.pt' and so on and so on and "
            assert len(row.status) == 80
            assert row.influence is None
        else:
            assert row.status == other.status
            np.testing.assert_allclose(row.J_sum, other.J_sum, rtol=1e-4)


def test_a_run_that_is_taken_up_tries_failed_events_again(tmp_path: Path) -> None:
    whole = measure()
    victim = next(row for row in whole if row.status == "ok")
    error = MemoryError("half a pair \ud800")
    failing = Failing(int(event_fixture.corpus()[victim.abs_peak]), error)
    failed = [row.status for row in measure(model=failing, checkpoint=tmp_path)]
    assert "compute_error: MemoryError: half a pair \\ud800" in failed
    assert [row.status for row in measure(checkpoint=tmp_path)] == [row.status for row in whole]


def test_an_interrupt_is_no_failure_of_an_event() -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(model=Failing(int(event_fixture.corpus()[100]), KeyboardInterrupt()))


def test_an_influence_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, features: list[list[int]], **__: Any) -> list[WindowInfluence]:
        one = np.ones(1, np.float32)
        infinite = np.full((1, LENGTH), np.inf, np.float32)
        return [WindowInfluence(np.array(ids), one, infinite, one, None, None) for ids in features]

    monkeypatch.setattr(events, "window_influences", broken)
    statuses = {row.status for row in measure()}
    assert statuses == {"compute_error: the influence is not finite", "peak_too_close_to_corpus_boundary"}


def test_what_no_event_can_be_measured_with_is_refused() -> None:
    with pytest.raises(ModelError, match="longer than the model takes"):
        measure(context_len=161)
    with pytest.raises(UnknownNameError, match="0 to 1"):
        measure(layer=2)
    with pytest.raises(ModelError, match="negative threshold"):
        measure(threshold=-1.0)
    model, sae, corpus = event_fixture.model(), autoencoder(), event_fixture.corpus()
    options = {"layer": 1, "threshold": 0.0, "context_len": LENGTH}
    with pytest.raises(SchemaError, match="a feature is listed twice"):
        measure_events(model, sae, corpus, contexts() + contexts()[:1], **options)
    with pytest.raises(UnknownNameError, match="no such feature"):
        measure_events(model, sae, corpus, [FeatureContexts(24, 0.0, ())], **options)


def test_features_without_events_have_no_rows() -> None:
    nothing = [FeatureContexts(17, 0.0, ()), FeatureContexts(8, 0.0, ())]
    empty = torch.empty(0, dtype=torch.int64)
    options = {"layer": 1, "threshold": 0.0, "context_len": LENGTH}
    assert measure_events(event_fixture.model(), autoencoder(), empty, nothing, **options) == []


class Killed:
    """Counts the groups that are measured; kills the run at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
        self.at, self.n, self.ordinary = at, 0, events.window_influences
        monkeypatch.setattr(events, "window_influences", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.n += 1
        if self.n == self.at:
            raise KeyboardInterrupt
        return self.ordinary(*arguments, **options)


def test_a_killed_run_goes_on_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_GROUP_TOKENS", 4 * LENGTH)
    whole = measure()
    n_groups = math.ceil(sum(row.status != "peak_too_close_to_corpus_boundary" for row in whole) / 4)
    assert n_groups > 3
    run = Killed(monkeypatch, at=3)
    with pytest.raises(KeyboardInterrupt):
        measure(checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    run.at, run.n = None, 0
    assert same(measure(checkpoint=tmp_path), whole)
    assert run.n == n_groups - 2
    run.n = 0
    assert same(measure(checkpoint=tmp_path), whole)
    assert run.n == 0


def test_a_damaged_group_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_GROUP_TOKENS", 4 * LENGTH)
    whole = measure(checkpoint=tmp_path)
    first, second, *_ = sorted(tmp_path.iterdir())
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 255
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:100])
    run = Killed(monkeypatch, at=None)
    assert same(measure(checkpoint=tmp_path), whole)
    assert run.n == 2


@pytest.mark.parametrize(
    "change",
    [{"context_len": 8}, {"threshold": 0.5}, {"layer": 0}, {"sae_encode": "faithful"}, {"identity": "another"}],
)
def test_groups_of_another_run_are_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    alone = measure(**change)
    measure(checkpoint=tmp_path)
    run = Killed(monkeypatch, at=None)
    assert same(measure(checkpoint=tmp_path, **change), alone)
    assert run.n > 0


def test_labels_are_no_reason_to_measure_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(checkpoint=tmp_path)
    run = Killed(monkeypatch, at=None)
    assert {row.tier for row in measure(checkpoint=tmp_path, labels=[FeatureLabel(17, "concept")])} == {"concept", ""}
    assert run.n == 0


def test_statistics_of_a_feature_are_those_of_the_population_of_its_good_events() -> None:
    rows = measure()
    found = entropies(rows)
    assert [entry.feature_id for entry in found] == list(FEATURES)
    for entry in found[:3]:
        bits = [row.H_pos_bits for row in rows if row.feature_id == entry.feature_id and row.status == "ok"]
        assert entry.n_events == len(bits) > 0
        mean = sum(bits) / len(bits)
        assert entry.mean_bits == pytest.approx(mean)
        assert entry.std_bits == pytest.approx(math.sqrt(sum((h - mean) ** 2 for h in bits) / len(bits)))
    assert found[3] == FeatureEntropy(SILENT, None, None, 0)
    assert entropies([]) == []
