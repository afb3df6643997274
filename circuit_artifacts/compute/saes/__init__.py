"""Sparse autoencoders: one module for all architectures, read from the formats they are published in, and trained."""

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
from circuit_artifacts.compute.saes.quality import SaeQuality, sae_quality
from circuit_artifacts.compute.saes.saving import save_sae
from circuit_artifacts.compute.saes.training import SaeRecipe, train_sae

__all__ = [
    "Architecture",
    "EncodeMode",
    "Gate",
    "Normalization",
    "SaeDescription",
    "SaeOrigin",
    "SaeQuality",
    "SaeRecipe",
    "SparseAutoencoder",
    "TrainingFacts",
    "load_sae",
    "sae_quality",
    "save_sae",
    "train_sae",
]
