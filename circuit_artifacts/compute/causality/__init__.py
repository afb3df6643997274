"""Causal dimensionality: what a model's output depends on at a layer, and how many features carry it."""
