"""`load_dataset("csp-atlas-mini", ...)`."""

from __future__ import annotations

from circuit_artifacts import catalog
from circuit_artifacts.builders.base import ArtifactBuilder, artifact_configs

__all__ = ["CspAtlasMini"]


class CspAtlasMini(ArtifactBuilder):
    """The CSP-Atlas experiment on the bundled mini model: not the published data."""

    MIRROR = "csp-atlas-mini"
    BUILDER_CONFIGS = artifact_configs(MIRROR)
    DEFAULT_CONFIG_NAME = catalog.mirror(MIRROR).default_config
