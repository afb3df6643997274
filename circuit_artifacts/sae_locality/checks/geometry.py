"""Decoder geometry: tables, tensors and manifest must agree (spec 8, "Geometry")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited
from circuit_artifacts.sae_locality.checks.runs import read_configuration
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.geometry import decoder_vectors, geometry_features, geometry_pairs
from circuit_artifacts.sae_locality.torch_files import load_tensor
from circuit_artifacts.validation import Finding

__all__ = ["check_geometry"]

_TOLERANCE = 1e-5
Matrix = npt.NDArray[np.float32]


def check_geometry(contents: Contents) -> Iterator[Finding]:
    """Every geometry run that has its table of features."""
    for file in contents.of_kind("geometry_features"):
        findings: list[Finding] = []
        table = attempt(geometry_features, file, findings=findings)
        if table is not None:
            findings.extend(_check_run(contents, file, table.to_pandas()))
        yield from findings


def _check_run(contents: Contents, file: RepositoryFile, features: pd.DataFrame) -> Iterator[Finding]:
    beside = contents.beside(file)
    files = {other.place.kind: other for other in beside}
    n_features = len(features)
    findings: list[Finding] = []
    if sorted(features["row_idx"]) != list(range(n_features)):
        yield error("row-index", file, "row_idx", f"not the numbers from 0 to {n_features - 1}")
        return  # nothing else says which row of a tensor is of which feature
    if (vectors := files.get("decoder_vectors")) is not None:
        attempt(decoder_vectors, vectors, beside, findings=findings)
    matrix, cosines = files.get("cosine_matrix"), None
    if matrix is not None and (cosines := attempt(_read_cosines, matrix, findings=findings)) is not None:
        findings.extend(_check_cosines(matrix, cosines, n_features))
    pairs = files.get("geometry_pairs")
    if pairs is not None and (rows := attempt(geometry_pairs, pairs, findings=findings)) is not None:
        is_usable = cosines is not None and cosines.shape == (n_features, n_features)
        findings.extend(_check_pairs(pairs, rows.to_pandas(), features, cosines if is_usable else None))
    if (manifest := files.get("manifest")) is not None:
        findings.extend(_check_manifest(manifest, n_features))
    yield from findings


def _read_cosines(file: RepositoryFile) -> npt.NDArray[Any]:
    return load_tensor(file, n_dims=2)


def _check_cosines(file: RepositoryFile, cosines: Matrix, n_features: int) -> Iterator[Finding]:
    if cosines.shape != (n_features, n_features):
        message = f"shape {cosines.shape}, but the table has {n_features} features"
        yield error("matrix-shape", file, "", message)
        return
    diagonal = np.diag(cosines)
    asymmetric = np.argwhere(np.triu(~np.isclose(cosines, cosines.T, rtol=0, atol=_TOLERANCE), 1))
    yield from limited(
        error("matrix-symmetry", file, f"[{i}, {j}]", f"{cosines[i, j]:.6g}, but [{j}, {i}] is {cosines[j, i]:.6g}")
        for i, j in asymmetric.tolist()
    )
    yield from limited(
        error("matrix-diagonal", file, f"[{i}, {i}]", f"{diagonal[i]:.6g}, expected 1")
        for i in np.flatnonzero(~np.isclose(diagonal, 1, rtol=0, atol=_TOLERANCE)).tolist()
    )


def _check_pairs(
    file: RepositoryFile, pairs: pd.DataFrame, features: pd.DataFrame, cosines: Matrix | None
) -> Iterator[Finding]:
    n_pairs = len(features) * (len(features) - 1) // 2
    if len(pairs) != n_pairs:
        yield error("pair-count", file, "", f"{len(pairs):,} rows, expected {n_pairs:,} for {len(features)} features")
    row_of = dict(zip(features["feature_id"], features["row_idx"], strict=True))
    first, second = pairs["fid_a"].map(row_of), pairs["fid_b"].map(row_of)
    known = (first.notna() & second.notna()).to_numpy()
    yield from limited(
        error("pair-features", file, f"row {row}", "a feature that per_feature.csv does not have")
        for row in np.flatnonzero(~known).tolist()
    )
    expected = {
        "dH": (pairs["H_a"] - pairs["H_b"]).abs().to_numpy(),
        "abs_cosine": pairs["cosine"].abs().to_numpy(),
    }
    if cosines is not None:
        of_matrix = pairs["cosine"].to_numpy(np.float64, copy=True)
        of_matrix[known] = cosines[first[known].astype(int), second[known].astype(int)]
        expected["cosine"] = of_matrix
    for column, values in expected.items():
        stored = pairs[column].to_numpy()
        yield from limited(
            error("pair-values", file, f"{column}, row {row}", f"stored {stored[row]:.6g}, expected {values[row]:.6g}")
            for row in np.flatnonzero(~np.isclose(stored, values, rtol=0, atol=_TOLERANCE)).tolist()
        )


def _check_manifest(file: RepositoryFile, n_features: int) -> Iterator[Finding]:
    manifest = attempt(read_configuration, file, findings=[]) or {}
    counts = {"n_features": n_features, "n_pairs": n_features * (n_features - 1) // 2}
    for name, expected in counts.items():
        if name in manifest and manifest[name] != expected:
            yield error("manifest-counts", file, name, f"{manifest[name]!r}, but the tables have {expected:,}")
