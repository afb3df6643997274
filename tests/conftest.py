"""For every test: its own caches and derived files, and no network. For those that ask: one small atlas."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from atlas_fixture import Atlas, write_atlas
from hub import LoopbackHub, forget_connections, point_clients_at
from hypothesis import settings

# A busy machine is not a fault; a found example stays found, in CI too.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

_OURS = ("CIRCUIT_ARTIFACTS_ROOT", "CIRCUIT_ARTIFACTS_REGENERATE", "CSP_ATLAS_DATA_ROOT")


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)
    environment = {
        "CIRCUIT_ARTIFACTS_HOME": home / "circuit-artifacts",
        "XDG_CACHE_HOME": home,
        "HF_HOME": home,
        "HF_HUB_CACHE": home / "hub",
        "HF_DATASETS_CACHE": home / "datasets",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    # The libraries read their environment once, when they are imported.
    for module, values in {
        "datasets.config": {
            "HF_DATASETS_CACHE": home / "datasets",
            "HF_MODULES_CACHE": str(home / "modules"),
            "DOWNLOADED_DATASETS_PATH": home / "datasets" / "downloads",
            "EXTRACTED_DATASETS_PATH": home / "datasets" / "extracted",
            "HF_HUB_OFFLINE": True,
            "HF_DATASETS_OFFLINE": True,
        },
        "huggingface_hub.constants": {"HF_HUB_CACHE": str(home / "hub"), "HF_HOME": str(home), "HF_HUB_OFFLINE": True},
        "circuit_artifacts.hub": {"_last_probe": {}},
    }.items():
        for name, value in values.items() if module in sys.modules else ():
            monkeypatch.setattr(sys.modules[module], name, value, raising=False)


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A folder as published; tests that change files copy them."""
    return write_atlas(tmp_path_factory.mktemp("atlas") / "published")


@pytest.fixture(scope="session")
def _loopback() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        yield server


@pytest.fixture
def hub(_loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub, and this process's clients pointed at it."""
    _loopback.clear()
    point_clients_at(_loopback.endpoint, monkeypatch)
    yield _loopback
    forget_connections()


@pytest.fixture
def home() -> Path:
    """Where this test's derived files go."""
    return Path(os.environ["CIRCUIT_ARTIFACTS_HOME"])
