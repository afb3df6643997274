"""`load_dataset("causal-dimensionality-mini", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs

__all__ = ["CausalDimensionalityMini"]


class CausalDimensionalityMini(ArtifactBuilder):
    """Causal dimensionality of the bundled mini model: not the published data."""

    MIRROR = "causal-dimensionality-mini"
    BUILDER_CONFIGS = artifact_configs(MIRROR)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
