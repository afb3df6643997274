"""Autocorrelation of activations: files of which only the card speaks (sae_locality spec 4.19).

What the card says is read under its names; every other column is kept as it is, in ``extra``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.npz import read_npz
from circuit_artifacts.sae_locality.csv_files import read_text_columns, typed, typed_table
from circuit_artifacts.sae_locality.files import RepositoryFile, companion, make_table
from circuit_artifacts.sae_locality.json_files import json_text
from circuit_artifacts.schemas.sae_locality import (
    AutocorrelationCurve,
    AutocorrelationExample,
    AutocorrelationFeature,
    EntropyTarget,
)

__all__ = [
    "PEAK",
    "TRACE_LENGTH",
    "autocorrelation_curves",
    "autocorrelation_examples",
    "autocorrelation_features",
    "entropy_targets",
    "read_traces",
]

TRACE_LENGTH = 129
PEAK = 64
_LAG_NAMES = ("lag", "tau")
_VALUE_NAMES = ("autocorrelation", "autocorr", "acf", "r")
_ENTROPY_NAMES = ("H_pos_bits", "H_pos", "entropy_bits")
_LAG_COLUMN = re.compile(r"(?:lag_?|tau_?)?(\d+)")
_NUMBER = re.compile(r"\d+")


def autocorrelation_features(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `AutocorrelationFeature`, from ``selected_features.csv`` or ``feature_summary.csv``.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    return typed_table(file, AutocorrelationFeature, {"run": file.place.run, "table": file.place.kind})


def entropy_targets(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `EntropyTarget`, from ``entropy_targets.csv``.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    columns = _renamed(read_text_columns(file), "H_pos_bits", _ENTROPY_NAMES)
    return typed_table(file, EntropyTarget, {"run": file.place.run}, columns=columns)


def autocorrelation_curves(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `AutocorrelationCurve`, from ``autocorr_curves.csv`` in long form or with one column per lag.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    columns = read_text_columns(file)
    wide = {name: int(found[1]) for name in columns if (found := _LAG_COLUMN.fullmatch(name))}
    if wide:
        columns = _in_long_form(columns, wide)
    columns = _renamed(columns, "lag", _LAG_NAMES)
    columns = _renamed(columns, "autocorrelation", _VALUE_NAMES)
    return typed_table(file, AutocorrelationCurve, {"run": file.place.run}, columns=columns)


def autocorrelation_examples(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `AutocorrelationExample`, by feature in the order of the archive.

    Args:
        file: ``activation_traces.npz``.
        beside: ``top_examples.csv`` tells the document and position of each strip: the n-th row of a feature is of its
            n-th strip.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: an array of Python objects.
        FormatError: not an npz or CSV file.
        SchemaError: names that tell no feature, or strips that are not 129 tokens long.
    """
    table = companion(file, beside, "top_examples")
    lines = {} if table is None else _lines_by_feature(table)
    traces = read_traces(file, set(lines))
    rows = [
        {"feature_id": feature, "example": number, **_document(lines.get(feature, ()), number)}
        for feature, strips in traces.items()
        for number in range(len(strips))
    ]
    flat = np.concatenate([strips.ravel() for strips in traces.values()]) if rows else np.empty(0, np.float32)
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    columns |= {"run": file.place.run, "trace": pa.FixedSizeListArray.from_arrays(pa.array(flat), TRACE_LENGTH)}
    return make_table(AutocorrelationExample, columns, len(rows), file=file)


def read_traces(file: RepositoryFile, known: set[int] | None = None) -> dict[int, npt.NDArray[np.float32]]:
    """Strips by feature, float32 (examples, 129), NaN where a strip leaves its document.

    How the arrays are named is not known: of the numbers in the names, the one that differs from array to array is the
    feature.

    Args:
        file: ``activation_traces.npz``.
        known: features that may occur; None or empty allows all.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError, SchemaError: as :func:`autocorrelation_examples`.
    """
    arrays = read_npz(file.path)
    for key, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != TRACE_LENGTH or array.dtype.kind not in "iuf":
            problem = "not strips of activations"
            expected = f"(examples, {TRACE_LENGTH}) numbers"
            raise SchemaError(
                problem, file=file.path, where=key, found=f"{array.dtype} {array.shape}", expected=expected
            )
    features = _features_named(list(arrays), known or set(), file)
    return {
        feature: array.astype(np.float32, copy=False) for feature, array in zip(features, arrays.values(), strict=True)
    }


def _features_named(keys: Sequence[str], known: set[int], file: RepositoryFile) -> list[int]:
    numbers = [[int(number) for number in _NUMBER.findall(key)] for key in keys]
    for candidate in zip(*numbers, strict=False):
        if len(set(candidate)) == len(keys) and (not known or known.issuperset(candidate)):
            return list(candidate)
    if not keys:
        return []
    problem = "the names of the arrays tell no features"
    expected = "one number per name that is its feature" + " in top_examples.csv" * bool(known)
    raise SchemaError(problem, file=file.path, where=", ".join(keys[:3]), expected=expected)


def _lines_by_feature(table: RepositoryFile) -> dict[int, list[dict[str, str]]]:
    columns = read_text_columns(table)
    if "feature_id" not in columns:
        return {}
    ids = typed(columns["feature_id"], pa.field("feature_id", pa.int32(), nullable=False), file=table).to_pylist()
    lines: dict[int, list[dict[str, str]]] = {feature: [] for feature in ids}
    for feature, cells in zip(ids, zip(*(c.to_pylist() for c in columns.values()), strict=True), strict=True):
        lines[feature].append(dict(zip(columns, cells, strict=True)))
    return lines


def _document(lines: Sequence[dict[str, str]], number: int) -> dict[str, Any]:
    """What the n-th line of a feature says of its n-th strip."""
    line = dict(lines[number]) if number < len(lines) else {}
    position = line.pop("peak_position", "")
    document = line.pop("doc_id", None)
    line.pop("feature_id", None)
    return {
        "doc_id": document,
        "peak_position": int(float(position)) if position else None,
        "extra": json_text(line) if line else None,
    }


def _renamed(columns: Mapping[str, pa.ChunkedArray], name: str, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """The columns with the first of some names replaced by one."""
    old = next((candidate for candidate in (name, *names) if candidate in columns), name)
    return {name if column == old else column: values for column, values in columns.items()}


def _in_long_form(columns: Mapping[str, pa.ChunkedArray], lags: Mapping[str, int]) -> dict[str, pa.ChunkedArray]:
    """One row per lag instead of one column per lag, by the rows of the file and then by lag."""
    others = [name for name in columns if name not in lags]
    table = pa.table({name: columns[name] for name in others})
    rows = np.repeat(np.arange(len(table)), len(lags))
    ordered = sorted(lags, key=lambda name: lags[name])
    cells = np.stack([columns[name].to_numpy() for name in ordered], axis=1).ravel()
    long = {name: pc.take(table[name], pa.array(rows)) for name in others}
    long["lag"] = pa.chunked_array([pa.array([str(lags[name]) for name in ordered] * len(table))])
    long["autocorrelation"] = pa.chunked_array([pa.array(cells, pa.string())])
    return long
