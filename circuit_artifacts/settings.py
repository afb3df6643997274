"""Settings from the environment, read when they are needed and never at import."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "circuit-artifacts"


class Settings(BaseSettings):
    """``CIRCUIT_ARTIFACTS_ROOT``, ``CIRCUIT_ARTIFACTS_HOME`` and ``CIRCUIT_ARTIFACTS_REGENERATE``.

    Attributes:
        root: folder with one subfolder per mirror, holding local copies.
        home: folder of derived files and of notes about downloads; the default is the user's cache directory.
        regenerate: whether steps that run a model may happen by themselves.
    """

    model_config = SettingsConfigDict(env_prefix="CIRCUIT_ARTIFACTS_")

    root: Path | None = None
    home: Path | None = None
    regenerate: bool = False

    @property
    def derived(self) -> Path:
        """Where derived files live, apart from anything downloaded."""
        return (self.home or _user_cache()) / "derived"

    @property
    def listings(self) -> Path:
        """Where it is kept which files repositories of the Hub have."""
        return (self.home or _user_cache()) / "listings"

    @property
    def verified(self) -> Path:
        """Where it is noted which downloads were compared with their hashes."""
        return (self.home or _user_cache()) / "verified"
