"""The survey of odd HDF5 files: one small file of each kind, written from a seed, and what has to be seen in it."""

from __future__ import annotations

from hdf5_zoo import programs, shapes, storage, types  # noqa: F401 - each enters its kinds into the table
from hdf5_zoo.specimen import TABLE, Kind, Layout, Refusal, Row, Specimen, as_recorded, objects, text
from hdf5_zoo.storage import CANARY

__all__ = ["CANARY", "KINDS", "Kind", "Layout", "Refusal", "Row", "Specimen", "as_recorded", "objects", "text"]

KINDS = dict(sorted(TABLE.items()))
"""All 87 by name."""
