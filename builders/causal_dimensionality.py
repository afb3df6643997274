"""`load_dataset("causal-dimensionality", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs

__all__ = ["CausalDimensionality"]


class CausalDimensionality(ArtifactBuilder):
    """Causal dimensionality as published."""

    MIRROR = "causal-dimensionality"
    BUILDER_CONFIGS = artifact_configs(MIRROR)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
