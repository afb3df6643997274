"""The Ray engine on a real cluster of this machine: the local engine's numbers, whatever happens to its workers."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import ray
from rich.console import Console
from tiny_model import write_tiny_model
from torch import nn

from circuit_artifacts import progress
from circuit_artifacts.compute import engines
from circuit_artifacts.compute.csp.statistics import ActivationStatistics
from circuit_artifacts.compute.engines import LocalEngine, RayEngine
from circuit_artifacts.compute.models import ModelIdentity, load_model
from circuit_artifacts.errors import MissingExtraError, ModelError, SchemaError

BATCH_TOKENS = 40  # small, so that there are many blocks
THRESHOLDS = (0.5, 0.05)
N_GROUPS = 9  # the last but one has no prompts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> nn.Module:
    return load_model(folder)


@pytest.fixture(scope="module")
def _no_cluster_is_left() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture
def cluster(_no_cluster_is_left: None) -> None:
    """Two CPUs; started once, and again after a test that stopped it."""
    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100_000_000,
        )


def _prompts() -> tuple[list[list[int]], npt.NDArray[np.int64]]:
    """Prompts of 1 to 19 tokens, a quarter of them repeated in the same and in other groups, groups interleaved."""
    random = np.random.default_rng(0)
    distinct = [random.integers(0, 300, random.integers(1, 20)).tolist() for _ in range(60)]
    sequences = distinct + distinct[:20]
    groups = random.integers(0, N_GROUPS - 2, len(sequences))
    groups[-1] = N_GROUPS - 1
    return sequences, groups.astype(np.int64)


def _assert_same(found: ActivationStatistics, expected: ActivationStatistics, rtol: float) -> None:
    assert found.activation_sum.dtype == expected.activation_sum.dtype == np.float32
    assert found.firing_count.dtype == expected.firing_count.dtype == np.int32
    np.testing.assert_allclose(found.activation_sum, expected.activation_sum, rtol=rtol, atol=0)
    np.testing.assert_array_equal(found.firing_count, expected.firing_count)
    np.testing.assert_array_equal(found.n_prompts, expected.n_prompts)
    assert found.thresholds == expected.thresholds == (0.05, 0.5)
    assert found.exceedance_count is not None
    assert expected.exceedance_count is not None
    np.testing.assert_array_equal(found.exceedance_count, expected.exceedance_count)
    assert not found.activation_sum[N_GROUPS - 2].any()


@pytest.mark.usefixtures("cluster")
def test_sums_are_those_of_one_process_and_the_same_bits_with_any_number_of_workers(
    folder: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences, groups = _prompts()
    expected = LocalEngine(model, batch_tokens=BATCH_TOKENS).accumulate(
        sequences, groups, N_GROUPS, thresholds=THRESHOLDS
    )
    monkeypatch.chdir(folder.parent)  # workers have their own working directory
    one, two = (
        RayEngine(folder.name, batch_tokens=BATCH_TOKENS, max_workers=workers).accumulate(
            sequences, groups, N_GROUPS, thresholds=THRESHOLDS
        )
        for workers in (1, 2)
    )
    _assert_same(two, expected, rtol=1e-6)
    _assert_same(one, two, rtol=0)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_dies_changes_nothing(
    folder: Path, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences, groups = _prompts()
    died, sum_groups = tmp_path / "died", engines._sum_groups

    def dying_once(model: nn.Module, block: pa.Table, **options: Any) -> pa.Table:
        answer = sum_groups(model, block, **options)
        if 3 in block["key"].to_pylist() and not died.exists():
            died.touch()
            os._exit(1)
        return answer

    monkeypatch.setattr(engines, "_sum_groups", dying_once)
    found, expected = (
        engine.accumulate(sequences, groups, N_GROUPS, position="as_committed", thresholds=THRESHOLDS, pad_id=7)
        for engine in (RayEngine(str(folder), batch_tokens=BATCH_TOKENS), LocalEngine(model))
    )
    assert died.exists()
    _assert_same(found, expected, rtol=1e-6)


def test_a_cluster_of_its_own_is_quiet_and_gone_afterwards(
    folder: Path, model: nn.Module, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    capfd.readouterr()  # what Ray says of the workers of tests before
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    sequences, _ = _prompts()
    with progress.shown(Console(file=None, quiet=True)):
        found = RayEngine(str(folder), batch_tokens=BATCH_TOKENS, max_workers=1).sequence_losses(sequences)
    expected = LocalEngine(model, batch_tokens=BATCH_TOKENS).sequence_losses(sequences)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found == 50.0).sum() == sum(len(ids) < 2 for ids in sequences) > 0
    assert not ray.is_initialized()
    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("cluster")
def test_a_worker_refuses_other_weights_than_the_drivers(folder: Path) -> None:
    # A folder on another node may hold another model; its sums must not be mixed in.
    engine = RayEngine(str(folder), expected=ModelIdentity("tiny", sha256="0" * 64), max_workers=1)
    with pytest.raises(ModelError, match="another model behind the same reference") as caught:
        engine.sequence_losses([[1, 2, 3]])
    assert caught.value.where == str(folder)
    assert ray.is_initialized()  # the cluster was not the engine's to stop


def test_no_prompts_are_refused_before_any_cluster_starts() -> None:
    with pytest.raises(SchemaError, match="there are no prompts"):
        RayEngine("mini").accumulate([], np.zeros(0, dtype=np.int64), 0)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'circuit-artifacts[ray]'")):
        RayEngine("mini")


def test_blocks_hold_whole_groups_in_order_and_every_prompt_once() -> None:
    sequences, groups = _prompts()
    blocks = engines._blocks_of_groups(sequences, groups, block_tokens=100)
    assert len(blocks) > 3
    rows = [row for block in blocks for row in block.to_pylist()]
    assert [row["key"] for row in rows] == sorted(set(groups.tolist()))
    for row in rows:
        assert row["prompts"] == [ids for ids, group in zip(sequences, groups, strict=True) if group == row["key"]]
