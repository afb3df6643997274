"""Static figures of causal dimensionality, one module per kind of result (causal-dimensionality spec 3).

Each has a function for its numbers, a builder that gives a `Figure` to look into or to change, and a ``draw_`` that
saves it. All layouts are ours. Fields that only results computed here have are drawn where they are there.
"""
