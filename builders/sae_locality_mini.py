"""`load_dataset("sae-locality-mini", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs
from circuit_artifacts.builders.runs import RunsConfig

__all__ = ["SaeLocalityMini"]


class SaeLocalityMini(ArtifactBuilder):
    """SAE locality of the bundled mini model: not the published data."""

    MIRROR = "sae-locality-mini"
    BUILDER_CONFIG_CLASS = RunsConfig
    BUILDER_CONFIGS = artifact_configs(MIRROR, RunsConfig)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
