"""Options of mirrors whose files lie in the folders of runs."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_artifacts.builders.base import ArtifactConfig

__all__ = ["RunsConfig"]


@dataclass
class RunsConfig(ArtifactConfig):
    """Which runs to read.

    Attributes:
        run: "latest", "most_complete" (the most files, and of equals the latest), "all", or a timestamp or folder name.
        legacy: read the superseded runs below ``legacy/`` instead.
    """

    run: str = "latest"
    legacy: bool = False
