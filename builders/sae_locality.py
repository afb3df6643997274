"""`load_dataset("sae-locality", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs
from circuit_artifacts.builders.runs import RunsConfig

__all__ = ["SaeLocality"]


class SaeLocality(ArtifactBuilder):
    """SAE locality as published."""

    MIRROR = "sae-locality"
    BUILDER_CONFIG_CLASS = RunsConfig
    BUILDER_CONFIGS = artifact_configs(MIRROR, RunsConfig)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
