"""`datasets` against the loopback Hub: configurations, streaming and publishing."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, get_dataset_config_names, get_dataset_split_names, load_dataset

from hub import LoopbackHub

REPOSITORY = "user/masks"
CARD = b"""---
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/*.parquet
- config_name: universal
  data_files: universal/all.parquet
---
"""


def parquet(**columns: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.fixture
def published(hub: LoopbackHub) -> LoopbackHub:
    files = {
        "README.md": CARD,
        "pair/0.parquet": parquet(layer=[0, 1]),
        "pair/1.parquet": parquet(layer=[2]),
        "universal/all.parquet": parquet(size=[7]),
        "raw/masks.h5": b"not asked for",
    }
    hub.add_repository(REPOSITORY, files)
    return hub


def test_configs_of_the_card(published: LoopbackHub) -> None:
    assert get_dataset_config_names(REPOSITORY) == ["pair", "universal"]
    assert get_dataset_split_names(REPOSITORY, "pair") == ["train"]


@pytest.mark.parametrize("streaming", [False, True])
def test_load_by_config_reads_only_its_files(published: LoopbackHub, streaming: bool) -> None:
    loaded = load_dataset(REPOSITORY, "pair", split="train", streaming=streaming)
    assert list(loaded) == [{"layer": 0}, {"layer": 1}, {"layer": 2}]
    assert published.count("pair/*.parquet", "GET") >= 2
    assert published.count("universal/*", "GET") == published.count("raw/*") == 0


def test_data_files_by_address(published: LoopbackHub) -> None:
    address = f"hf://datasets/{REPOSITORY}/pair/*.parquet"
    assert load_dataset("parquet", data_files=address, split="train")["layer"][:] == [0, 1, 2]


def test_pushed_twice_and_loaded_again(hub: LoopbackHub) -> None:
    Dataset.from_dict({"layer": [1, 2]}).push_to_hub(REPOSITORY, "pair")
    Dataset.from_dict({"size": [3]}).push_to_hub(REPOSITORY, "universal")
    assert get_dataset_config_names(REPOSITORY) == ["pair", "universal"]
    assert load_dataset(REPOSITORY, "pair", split="train")["layer"][:] == [1, 2]
    assert load_dataset(REPOSITORY, "universal", split="train")["size"][:] == [3]
