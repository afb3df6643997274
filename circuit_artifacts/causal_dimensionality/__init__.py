"""Causal dimensionality: its dictionaries, its results, and whether the published numbers agree with each other.

Importing this package does not import torch; only reading a dictionary does.
"""

from __future__ import annotations

from circuit_artifacts.causal_dimensionality.readers import dictionary_file, load_sae

__all__ = ["dictionary_file", "load_sae"]
