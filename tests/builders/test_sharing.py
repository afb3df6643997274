"""Streams that are split, resumed, shuffled and sent to other processes; preparation by several processes."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest
from atlas_fixture import Atlas, write_atlas
from datasets.distributed import split_dataset_by_node

import circuit_artifacts

MASKS = "masks_eps0.5_cons0.8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A narrow atlas, so that rows are short."""
    pairs = [("For", "list"), ("For", "int"), ("If", "list"), ("If", "int"), ("Break", "_isolated_")]
    return str(write_atlas(tmp_path_factory.mktemp("narrow"), pairs=pairs, n_prompts=4, width=48).folder)


def stream(folder: str, config: str = MASKS, split: str = "pair") -> datasets.IterableDataset:
    return circuit_artifacts.load_dataset("csp-atlas", config, data_root=folder, split=split, streaming=True)


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["ast_node"], row["builtin_obj"], row["layer"]


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    """Runs in another process."""
    return list(dataset)


def rows_of_builder(builder: datasets.DatasetBuilder) -> list[dict[str, Any]]:
    """Runs in another process."""
    return list(builder.as_streaming_dataset(split="pair"))


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_nodes_share_the_rows(folder: str, world_size: int) -> None:
    dataset = stream(folder)
    parts = [list(split_dataset_by_node(dataset, rank, world_size)) for rank in range(world_size)]
    identities = [identity(row) for part in parts for row in part]
    assert all(parts)
    assert len(identities) == len(set(identities))
    assert sorted(identities) == sorted(map(identity, dataset))


@pytest.mark.parametrize(
    ("config", "split"), [(MASKS, "pair"), ("object_prompts", "train"), ("modularity_detail", "train")]
)
@pytest.mark.parametrize("consumed", [1, 7, 19])
def test_a_stream_resumes_at_the_next_row(folder: str, config: str, split: str, consumed: int) -> None:
    # Holds down: a state that repeats or loses rows inside a shard, or that JSON cannot hold.
    expected = list(stream(folder, config, split))
    first = stream(folder, config, split)
    iterator = iter(first)
    for _ in range(consumed):
        next(iterator)
    state = json.loads(json.dumps(first.state_dict()))
    second = stream(folder, config, split)
    second.load_state_dict(state)
    assert list(second) == expected[consumed:]


def test_shuffling_keeps_the_rows(folder: str) -> None:
    dataset = stream(folder)
    plain = [identity(row) for row in dataset]
    shuffled = [identity(row) for row in dataset.shuffle(seed=3, buffer_size=16)]
    assert shuffled == [identity(row) for row in stream(folder).shuffle(seed=3, buffer_size=16)]
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)


def test_two_processes_prepare_the_same_table(folder: str, tmp_path: Path) -> None:
    def prepared(num_proc: int | None, cache: str) -> datasets.Dataset:
        return circuit_artifacts.load_dataset(
            "csp-atlas", MASKS, data_root=folder, split="pair", num_proc=num_proc, cache_dir=str(tmp_path / cache)
        )

    one, two = prepared(None, "one"), prepared(2, "two")
    assert two.to_list() == one.to_list()
    assert two.features == one.features


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_builders_and_streams_cross_process_borders(folder: str, method: str) -> None:
    # Holds down: open handles, lambdas or locks in what DataLoader workers are sent.
    builder = datasets.load_dataset_builder("csp-atlas", MASKS, data_root=folder)
    expected = list(stream(folder))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(rows_of, stream(folder)).result() == expected
        assert pool.submit(rows_of_builder, builder).result() == expected


def test_streams_can_be_mapped_and_batched(atlas: Atlas) -> None:
    dataset = stream(str(atlas.folder))
    sizes = dataset.map(lambda row: {"again": len(row["active"])}, remove_columns=["active"])
    assert all(row["again"] == row["size"] for row in sizes)
    batches = list(dataset.batch(7))
    assert [layer for batch in batches for layer in batch["layer"]] == [row["layer"] for row in dataset]
    assert {len(batch["layer"]) for batch in batches[:-1]} == {7}
    assert dataset.take(3).features == dataset.features
