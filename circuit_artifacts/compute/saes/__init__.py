"""Sparse autoencoders: one module for all architectures, read from the formats in which they are published."""

from circuit_artifacts.compute.saes.autoencoder import Gate, SparseAutoencoder
from circuit_artifacts.compute.saes.description import (
    Architecture,
    EncodeMode,
    Normalization,
    SaeDescription,
    SaeOrigin,
    TrainingFacts,
)
from circuit_artifacts.compute.saes.loading import load_sae
from circuit_artifacts.compute.saes.saving import save_sae

__all__ = [
    "Architecture",
    "EncodeMode",
    "Gate",
    "Normalization",
    "SaeDescription",
    "SaeOrigin",
    "SparseAutoencoder",
    "TrainingFacts",
    "load_sae",
    "save_sae",
]
