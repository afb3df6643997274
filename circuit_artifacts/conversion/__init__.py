"""From tables to the parquet files of a config: what the Hub's viewer asks of them, and complete or not at all.

The files of a split are in `parts`, columns in `columns`, one config in `configs`, its folder in `folders`, and
several configs at a time in `processes`. The entry is :func:`circuit_artifacts.parquet.convert`.
"""
