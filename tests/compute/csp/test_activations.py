"""Stage 12 sums against one prompt at a time, and that a run killed half-way ends with the same numbers."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny_model import write_tiny_gpt2, write_tiny_model
from torch import nn

from circuit_artifacts.compute.csp import activations
from circuit_artifacts.compute.csp.activations import accumulate
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.models import load_model
from circuit_artifacts.errors import SchemaError

THRESHOLDS = (0.05, 0.5)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("dense")))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("sparse"), afrac=0.25))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_model(write_tiny_gpt2(tmp_path_factory.mktemp("gpt2")))


@pytest.fixture(params=["dense", "sparse", "gpt2"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    found: nn.Module = request.getfixturevalue(request.param)
    return found


def _prompts(n: int = 40, n_groups: int = 5, seed: int = 0) -> tuple[list[list[int]], npt.NDArray[np.int64]]:
    """Prompts of 1 to 19 tokens, a third of them repeated in the same and in other groups, groups interleaved."""
    random = np.random.default_rng(seed)
    distinct = [random.integers(0, 300, random.integers(1, 20)).tolist() for _ in range(2 * n // 3)]
    sequences = [distinct[i % len(distinct)] for i in range(n)]
    groups = random.integers(0, n_groups, n)
    groups[:n_groups] = np.arange(n_groups)
    sequences.append(sequences[0])
    return sequences, np.append(groups, groups[0]).astype(np.int64)


def _mlp_outputs(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """(batch, token, layer, width), by plain hooks on the modules that csp_atlas spec 4.1 names."""
    seen: list[torch.Tensor] = []
    handles = [
        block.mlp.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        for block in model.transformer.h
    ]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return torch.stack(seen, dim=2)


def _oracle(
    model: nn.Module, sequences: list[list[int]], groups: npt.NDArray[np.int64], n_groups: int
) -> ActivationStatistics:
    each = [_mlp_outputs(model, torch.tensor([ids]))[0, -1].abs().numpy() for ids in sequences]
    members = [[each[row] for row in np.flatnonzero(groups == group)] for group in range(n_groups)]
    return ActivationStatistics(
        np.stack([np.sum(m, axis=0, dtype=np.float64) for m in members]).astype(np.float32),
        np.stack([np.sum([a > 0 for a in m], axis=0) for m in members]).astype(np.int32),
        np.array([len(m) for m in members]),
        np.stack([[np.sum([a > t for a in m], axis=0) for m in members] for t in THRESHOLDS]).astype(np.int32),
        THRESHOLDS,
    )


def _assert_same(found: ActivationStatistics, expected: ActivationStatistics) -> None:
    for name in ("activation_sum", "firing_count", "n_prompts", "exceedance_count"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert found.thresholds == expected.thresholds


# The true last token


@pytest.mark.parametrize("batch_tokens", [1, 50, 8192])
def test_last_token_equals_each_prompt_run_alone(model: nn.Module, batch_tokens: int) -> None:
    sequences, groups = _prompts()
    found = accumulate(model, sequences, groups, 5, thresholds=THRESHOLDS, batch_tokens=batch_tokens)
    expected = _oracle(model, sequences, groups, 5)
    np.testing.assert_allclose(found.activation_sum, expected.activation_sum, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(found.firing_count, expected.firing_count)
    np.testing.assert_array_equal(found.exceedance_count, expected.exceedance_count)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.n_prompts, expected.n_prompts)
    assert found.activation_sum.dtype == np.float32
    assert found.firing_count.dtype == np.int32
    assert found.n_prompts.dtype == np.int64
    assert found.activation_sum.shape == (5, 2, 16)


def test_the_pad_token_does_not_matter(dense: nn.Module) -> None:
    sequences, groups = _prompts()
    one, other = (accumulate(dense, sequences, groups, 5, pad_id=pad) for pad in (0, 299))
    np.testing.assert_allclose(one.activation_sum, other.activation_sum, rtol=1e-6)


def test_the_order_of_prompts_does_not_change_a_bit(dense: nn.Module) -> None:
    # One prompt per batch, so that only the order of adding differs; float32 sums would differ in the last place.
    sequences, groups = _prompts()
    order = np.random.default_rng(1).permutation(len(sequences))
    one = accumulate(dense, sequences, groups, 5, batch_tokens=1)
    other = accumulate(dense, [sequences[row] for row in order], groups[order], 5, batch_tokens=1)
    _assert_same(other, one)


def test_sparse_activations_fire_exactly_as_often_as_their_top_k_allows(sparse: nn.Module) -> None:
    sequences, groups = _prompts()
    found = accumulate(sparse, sequences, groups, 5)
    np.testing.assert_array_equal(found.firing_count.sum(axis=2), 4 * np.repeat(found.n_prompts[:, None], 2, axis=1))


def test_equal_prompts_run_once_and_count_in_every_group(dense: nn.Module) -> None:
    rows: list[int] = []
    trunk: Any = dense.base_model
    handle = trunk.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    sequences, groups = [[1, 2, 3]] * 3 + [[4, 5]], np.array([0, 0, 1, 1])
    found = accumulate(dense, sequences, groups, 2)
    handle.remove()
    assert sum(rows) == 2
    assert found.n_prompts.tolist() == [2, 2]
    once = _oracle(dense, [[1, 2, 3], [4, 5]], np.array([0, 1]), 2).activation_sum
    np.testing.assert_allclose(found.activation_sum, [2 * once[0], once[0] + once[1]], rtol=1e-5)


def test_a_group_without_prompts_has_zeros(dense: nn.Module) -> None:
    found = accumulate(dense, [[1, 2]], np.array([1]), 3)
    assert found.n_prompts.tolist() == [0, 1, 0]
    assert not found.activation_sum[[0, 2]].any()
    assert not found.firing_count[[0, 2]].any()


def test_thresholds_are_sorted_and_counted_once(dense: nn.Module) -> None:
    sequences, groups = _prompts()
    found = accumulate(dense, sequences, groups, 5, thresholds=(0.5, 0.05, 0.5))
    assert found.thresholds == THRESHOLDS
    _assert_same(found, accumulate(dense, sequences, groups, 5, thresholds=THRESHOLDS))
    assert found.exceedance_count is not None
    np.testing.assert_array_equal(found.exceedance(0.5), found.exceedance_count[1])  # type: ignore[arg-type]
    assert found.exceedance(0.1) is None
    assert accumulate(dense, sequences, groups, 5).exceedance_count is None


@pytest.mark.parametrize("position", ["last_token", "as_committed"])
def test_prompts_without_tokens_are_refused(dense: nn.Module, position: activations.Position) -> None:
    with pytest.raises(SchemaError, match=r"row 1: 1 prompt\(s\) without a token"):
        accumulate(dense, [[1], []], np.array([0, 0]), 1, position=position)
    with pytest.raises(SchemaError, match="no prompts"):
        accumulate(dense, [], np.array([], dtype=np.int64), 0, position=position)


# The published positions


def _as_committed_oracle(
    model: nn.Module, sequences: list[list[int]], groups: npt.NDArray[np.int64], n_groups: int, pad: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """csp_atlas spec 4.2, 4.3: left-padded batches of 64 in row order, no mask, index (tokens - 1), float32 sums."""
    sums, counts = np.zeros((n_groups, 2, 16), np.float32), np.zeros((n_groups, 2, 16), np.int32)
    for group in range(n_groups):
        rows = [row for row in range(len(sequences)) if groups[row] == group]
        for start in range(0, len(rows), 64):
            batch = [sequences[row] for row in rows[start : start + 64]]
            longest = max(map(len, batch))
            outputs = _mlp_outputs(model, torch.tensor([[pad] * (longest - len(ids)) + ids for ids in batch]))
            for place, ids in enumerate(batch):
                magnitude = outputs[place, len(ids) - 1].abs().numpy()
                sums[group] += magnitude
                counts[group] += magnitude > 0
    return sums, counts


def test_as_committed_repeats_the_published_code_bit_for_bit(model: nn.Module) -> None:
    sequences, groups = _prompts(90, 3)
    groups[10:80] = 1  # more than one batch of 64
    assert np.bincount(groups)[1] > 64
    found = accumulate(model, sequences, groups, 3, position="as_committed", pad_id=299, batch_tokens=10)
    sums, counts = _as_committed_oracle(model, sequences, groups, 3, 299)
    np.testing.assert_array_equal(found.activation_sum, sums)
    np.testing.assert_array_equal(found.firing_count, counts)
    np.testing.assert_array_equal(found.n_prompts, np.bincount(groups))


def test_the_two_positions_agree_only_where_nothing_is_padded(dense: nn.Module) -> None:
    groups = np.array([0, 0, 1, 1])
    even, uneven = [[1, 2], [3, 4], [5, 6, 7], [8, 9, 10]], [[1, 2], [3, 4], [5], [8, 9, 10]]
    for sequences, same in ((even, [True, True]), (uneven, [True, False])):
        true, committed = (
            accumulate(dense, sequences, groups, 2, position=p).activation_sum for p in ("last_token", "as_committed")
        )
        assert [np.allclose(a, b, rtol=1e-5) for a, b in zip(true, committed, strict=True)] == same


# Checkpoints


class _Killed(Exception):
    pass


def _tracker(stop_after: int | None, seen: list[int]) -> Callable[..., Iterator[Any]]:
    def track(items: Iterable[Any], _description: str, **_: Any) -> Iterator[Any]:
        for count, item in enumerate(items):
            if count == stop_after:
                raise _Killed
            seen.append(item[0])
            yield item

    return track


@pytest.fixture
def run(
    dense: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[ActivationStatistics | None, list[int]]]:
    """Run with a checkpoint after every batch; gives the result, None if killed, and the batches that ran."""
    monkeypatch.setattr(activations, "_CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr("circuit_artifacts.atomic._synchronise", lambda _: None)

    def start(stop_after: int | None = None, **changes: Any) -> tuple[ActivationStatistics | None, list[int]]:
        sequences, groups = _prompts(seed=changes.pop("seed", 0))
        seen: list[int] = []
        monkeypatch.setattr(activations, "track", _tracker(stop_after, seen))
        arguments = {
            "batch_tokens": 40,
            "thresholds": THRESHOLDS,
            "checkpoint": tmp_path / "sums",
            "identity": "tiny",
        } | changes
        try:
            return accumulate(dense, sequences, groups, 5, **arguments), seen
        except _Killed:
            return None, seen

    return start


@pytest.mark.parametrize("position", ["last_token", "as_committed"])
def test_a_killed_run_resumes_with_the_same_bits(run: Any, position: str) -> None:
    whole, all_batches = run(checkpoint=None, position=position)
    killed, before = run(3, position=position)
    resumed, after = run(position=position)
    assert killed is None
    assert before == [1, 2, 3]
    assert before + after == all_batches
    assert len(after) >= 2
    _assert_same(resumed, whole)


def test_the_sums_stay_until_the_caller_has_them_safe(run: Any, tmp_path: Path) -> None:
    # The file made from them may still fail to be written; hours of work must not hang on that.
    whole, _ = run()
    again, batches = run()
    assert batches == []
    _assert_same(again, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["sums"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"identity": "another model"},
        {"position": "as_committed"},
        {"thresholds": (0.1,)},
        {"batch_tokens": 60},
        {"pad_id": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_other_work_is_ignored(run: Any, change: dict[str, Any]) -> None:
    expected, every = run(checkpoint=None, **change)
    run(3)
    found, batches = run(**change)
    assert batches == every
    _assert_same(found, expected)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def _flip_a_bit_of_the_sums(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip_a_bit_of_the_sums,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 900),
    ],
    ids=["truncated", "bit flip", "empty", "garbage"],
)
def test_a_damaged_checkpoint_is_ignored(run: Any, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    expected, every = run(checkpoint=None)
    run(3)
    damage(tmp_path / "sums")
    found, batches = run()
    assert batches == every
    _assert_same(found, expected)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_half_file(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, every = run(checkpoint=None)
    run(3)
    earlier = (tmp_path / "sums").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "write_bytes", full)
        run()
    assert [path.name for path in tmp_path.iterdir()] == ["sums"]
    assert (tmp_path / "sums").read_bytes() == earlier
    found, batches = run()
    assert batches == every[3:]
    _assert_same(found, expected)
