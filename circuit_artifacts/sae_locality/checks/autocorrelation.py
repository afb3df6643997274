"""Activation strips: as wide as the card says, and 1 at the peak (spec 8, "Autocorr")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from circuit_artifacts.sae_locality.autocorrelation import PEAK, read_traces
from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.validation import Finding

__all__ = ["check_autocorrelation"]

_TOLERANCE = 1e-5


def check_autocorrelation(contents: Contents) -> Iterator[Finding]:
    """Every archive of strips. One of another width cannot be read at all, which the check of all tables reports."""
    for file in contents.of_kind("traces"):
        yield from limited(_check_peaks(file))


def _check_peaks(file: RepositoryFile) -> Iterator[Finding]:
    for feature, strips in (attempt(read_traces, file, findings=[]) or {}).items():
        peaks = strips[:, PEAK]
        for number in np.flatnonzero(np.abs(peaks - 1) > _TOLERANCE).tolist():  # never true of NaN
            where = f"feature {feature}, strip {number}"
            yield error("peak", file, where, f"{peaks[number]:.6g} in column {PEAK}, expected 1")
