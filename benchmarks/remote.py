"""A mask file on a Hub that answers after 30 milliseconds: the first row, the requests and the bytes it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import datasets
import pytest
from huggingface_hub import hf_hub_download

from benchmarks.harness import Row, Side, at_most, compare
from benchmarks.loopback import LoopbackHub, point_clients_at
from benchmarks.synthetic import CONFIG, MIRROR, write_old_style_masks
from circuit_artifacts import load_dataset
from circuit_artifacts.parquet import convert
from circuit_artifacts.sources import Sources

__all__ = ["run"]

_LATENCY_SECONDS = 0.03
_REPOSITORY = MIRROR.repositories[0]
_CONVERTED = "someone/converted"


def run(work: Path) -> Iterator[Row]:
    """All rows about a remote mask config.

    Args:
        work: folder for what is written.
    """
    path = write_old_style_masks(work / "atlas")
    convert(Sources(mirror=MIRROR, data_root=work / "atlas"), work / "parquet", [CONFIG])
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patch:
        point_clients_at(hub.endpoint, patch)
        hub.add_repository(_REPOSITORY, {path.name: path})
        converted = [file for file in (work / "parquet").rglob("*") if file.is_file()]
        hub.add_repository(_CONVERTED, {str(file.relative_to(work / "parquet")): file for file in converted})
        hub.latency = _LATENCY_SECONDS
        ours = Side("`streaming=True`", _with_an_empty_cache(_first_row))
        whole = Side("one whole-file download", _with_an_empty_cache(_download))
        stock = Side("stock `datasets`, converted parquet", _with_an_empty_cache(_first_converted_row))
        work_name = "first row of a remote mask config"
        yield compare(work_name, ours, whole, at_most(1.1))
        hub.reset()
        ours.run()
        described = f"{len(hub.requests)} requests, {sum(request.sent for request in hub.requests) / 1e6:.1f} MB"
        yield Row(
            work_name, f"`streaming=True`: {described}", "", len(hub.requests), "requests", at_most(4, "requests")
        )
        yield compare(work_name, stock, whole)


def _first_row() -> object:
    return next(iter(load_dataset("csp-atlas", CONFIG.name, split="pair", streaming=True)))


def _first_converted_row() -> object:
    return next(iter(datasets.load_dataset(_CONVERTED, CONFIG.name, split="pair", streaming=True)))


def _download() -> object:
    return hf_hub_download(_REPOSITORY, CONFIG.file, repo_type="dataset")


def _with_an_empty_cache(action: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with tempfile.TemporaryDirectory() as cache, mock.patch("huggingface_hub.constants.HF_HUB_CACHE", cache):
            return action()

    return run
