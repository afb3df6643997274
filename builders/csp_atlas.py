"""`load_dataset("csp-atlas", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs

__all__ = ["CspAtlas"]


class CspAtlas(ArtifactBuilder):
    """CSP-Atlas as published."""

    MIRROR = "csp-atlas"
    BUILDER_CONFIGS = artifact_configs(MIRROR)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
