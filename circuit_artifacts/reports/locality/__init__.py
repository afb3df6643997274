"""Static figures of SAE locality, one module per family; each figure is a builder, and a ``draw_`` that saves it.

Builders give a `Figure` to look into or to change; the numbers that they draw come from `statistics`, `events` and the
functions beside each builder. Names of published files are in `names`.
"""
