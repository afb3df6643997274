"""The compute layer: what regenerates artifacts from a model. Reached only through import strings."""
