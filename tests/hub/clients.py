"""Pointing clients at a Hub: those of a new process by its environment, those of this one by what they have copied."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["environment", "forget_connections", "point_clients_at"]


def environment(endpoint: str) -> dict[str, str]:
    """The variables to set before `huggingface_hub` is imported."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # uploads would go to another service (hub_and_viewer spec 3)
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def point_clients_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point `huggingface_hub` and `datasets` in this process at a Hub, online and without a token.

    Both read their environment once, when they are imported, so both are imported first.
    """
    import datasets
    from huggingface_hub import constants, hf_api, hf_file_system

    clients = [hf_api.api]
    if default := getattr(hf_file_system, "hffs", None):
        clients += [default, default._api]
    for client in clients:
        monkeypatch.setattr(client, "endpoint", endpoint)
    hub_settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": frozenset({"127.0.0.1"}),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_TOKEN_PATH": str(Path(constants.HF_HOME) / "token"),
    }
    datasets_settings = {
        "HF_ENDPOINT": endpoint,
        "HUB_DATASETS_URL": endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
    }
    # Before 1.0 modules of the client hold copies of its constants.
    modules = [module for name, module in sys.modules.items() if name.startswith("huggingface_hub.")]
    for owners, settings in ((modules, hub_settings), ([datasets.config], datasets_settings)):
        for owner, name in product(owners, settings):
            if name in vars(owner):
                monkeypatch.setattr(owner, name, settings[name])
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    forget_connections()


def forget_connections() -> None:
    """Drop what the clients keep per endpoint: open connections, file systems and their listings."""
    import huggingface_hub
    from huggingface_hub import HfFileSystem, hf_file_system, utils

    for module, name in ((huggingface_hub, "close_session"), (utils, "reset_sessions")):  # since 1.0, before 1.0
        if close := getattr(module, name, None):
            close()
    HfFileSystem.clear_instance_cache()
    if default := getattr(hf_file_system, "hffs", None):
        default.invalidate_cache()
