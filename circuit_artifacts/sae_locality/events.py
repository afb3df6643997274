"""The events strand: entropy and influence at the peaks of chosen features (sae_locality spec 4.7 to 4.10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.npz import read_npz
from circuit_artifacts.sae_locality.csv_files import read_text_columns, typed, typed_table
from circuit_artifacts.sae_locality.files import RepositoryFile, companion, extra_text, make_table
from circuit_artifacts.sae_locality.influences import float_lists
from circuit_artifacts.sae_locality.json_files import json_text, read_object
from circuit_artifacts.sae_locality.privacy import stripped_text
from circuit_artifacts.sae_locality.torch_files import Floats
from circuit_artifacts.schemas.sae_locality import Event, Influence, TopContext

__all__ = ["ALIASES", "event_starts", "events", "influence_vectors", "influences", "top_contexts"]

ALIASES = {
    "event_idx": "top_act_rank",
    "H_pos": "H_pos_bits",
    "peak_value": "activation_value",
    "sum_J": "J_sum",
}
"""Columns under the names of the card, and what the code calls them (spec 4.8)."""

_EXAMPLE_KEYS = frozenset(
    {"activation", "token_idx", "tokens", "activating_token", "window_start_token", "neuronpedia_rank"}
)
_FEATURE_AND_RANK = re.compile(r"(\d+)_(\d+)")
_ROW = re.compile(r"(?:arr_)?(\d+)")


def events(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `Event`, in the order of the file.

    Args:
        file: ``ctx<N>.csv``, with the columns of the code or of the card, or ``ctx<N>_<tier>.csv``.
        beside: ``top_contexts_layer<L>.json`` tells where events start in the corpus that was put together from them.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not CSV.
        SchemaError: a column is missing, or a cell has another type than its column.
    """
    found = read_text_columns(file)
    columns, published = {}, {}
    for name, column in found.items():
        known = ALIASES.get(name, name)
        known = name if known != name and known in found else known
        columns[known] = column
        if known != name:
            published[known] = name
    given: dict[str, Any] = {"run": file.place.run, "ctx": file.place.ctx}
    if published:
        given["published_as"] = json_text(published)
    if file.place.tier is not None and "tier" not in columns:
        given["tier"] = file.place.tier
    if "ctx_len" in columns:
        _check_ctx(columns.pop("ctx_len"), file)
    if "status" in columns:  # it may quote an exception, which may quote a path
        columns["status"] = pa.chunked_array([[stripped_text(text) for text in columns["status"].to_pylist()]])
    table = typed_table(file, Event, given, columns=columns)
    table = _with_corpus_peaks(table)
    contexts = companion(file, beside, "top_contexts")
    return table if contexts is None else _with_crossings(table, event_starts(contexts))


def influences(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `Influence`, in the order of the archive.

    Args:
        file: ``influences_ctx<N>.npz``.
        beside: the event table of the same context length, needed where keys are its row numbers.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: an array of Python objects.
        FormatError: not an npz file.
        SchemaError: a key that names no event, or an array of another shape.
    """
    vectors = influence_vectors(file, beside)
    table = companion(file, beside, "events")
    ctx = file.place.ctx
    if ctx is None and table is not None:
        ctx = table.place.ctx
    columns = {
        "run": file.place.run,
        "ctx": [len(values) for _, values in vectors.values()] if ctx is None else ctx,
        "tier": file.place.tier,
        "feature_id": [feature for feature, _ in vectors],
        "top_act_rank": [rank for _, rank in vectors],
        "key": [key for key, _ in vectors.values()],
        "influence": float_lists([values for _, values in vectors.values()]),
    }
    return make_table(Influence, columns, len(vectors), file=file)


def influence_vectors(
    file: RepositoryFile, beside: Sequence[RepositoryFile] = ()
) -> dict[tuple[int, int], tuple[str, Floats]]:
    """Key in the file and raw J (context length,) by feature and rank; arguments and errors as :func:`influences`."""
    arrays = read_npz(file.path)
    rows = None if all(map(_FEATURE_AND_RANK.fullmatch, arrays)) else _event_rows(companion(file, beside, "events"))
    found: dict[tuple[int, int], tuple[str, Floats]] = {}
    for key, array in arrays.items():
        event = _named_event(key, rows, file)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            problem = "not a vector of numbers"
            raise SchemaError(problem, file=file.path, where=key, found=f"{array.dtype} {array.shape}")
        if event in found:
            problem = "two arrays are of the same event"
            raise SchemaError(problem, file=file.path, where=key, found=f"feature {event[0]}, rank {event[1]}")
        found[event] = key, array.astype(np.float32, copy=False)
    return found


def top_contexts(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `TopContext`: by feature, then by rank.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: JSON of another form.
    """
    rows = [
        {
            "feature_id": feature,
            "rank": rank,
            "max_activation": entry.get("max_activation"),
            **{name: example.get(name) for name in _EXAMPLE_KEYS},
            "extra": extra_text("top_contexts", example, _EXAMPLE_KEYS | {"neuronpedia_data_index"}),
            "neuronpedia_data_index": None
            if (index := example.get("neuronpedia_data_index")) is None
            else json_text(index),
        }
        for feature, entry in _features(file)
        for rank, example in enumerate(entry["examples"])
    ]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    given = {"run": file.place.run, "layer": file.place.layer}
    return make_table(TopContext, columns | given, len(rows), file=file)


def event_starts(contexts: RepositoryFile) -> npt.NDArray[np.int64] | None:
    """Offsets at which events start in the corpus that was put together from them, ascending.

    Returns:
        int64 (n,); None for a corpus that was not put together, where windows hold only what stands there.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as :func:`top_contexts`.
    """
    examples = [example for _, entry in _features(contexts) for example in entry["examples"]]
    if not all("neuronpedia_rank" in example for example in examples):
        return None
    starts = {example["window_start_token"] for example in examples if "window_start_token" in example}
    return np.array(sorted(starts), np.int64)


def _check_ctx(column: pa.ChunkedArray, file: RepositoryFile) -> None:
    """The column says again what the file's name does."""
    lengths = typed(column, pa.field("ctx_len", pa.int64(), nullable=False), file=file).unique().to_pylist()
    if lengths not in ([], [file.place.ctx]):
        problem = "the context length is not that of the file's name"
        raise SchemaError(problem, file=file.path, where="ctx_len", found=lengths, expected=file.place.ctx)


def _features(file: RepositoryFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for key, entry in read_object(file.path).items():
        examples = entry.get("examples") if isinstance(entry, dict) else None
        if not key.isdecimal() or not isinstance(examples, list) or not all(isinstance(e, dict) for e in examples):
            problem = "not a feature with its examples"
            raise SchemaError(problem, file=file.path, where=key, expected='{"<feature id>": {"examples": [...]}}')
        yield int(key), entry


def _with_corpus_peaks(table: pa.Table) -> pa.Table:
    """Fill `abs_peak` from the card's `peak_token_idx` if that counts in the corpus: not all of it fits in a window."""
    peaks = table["peak_token_idx"]
    beyond = pc.any(pc.greater_equal(peaks, table["ctx"])).as_py()
    if not beyond or table["abs_peak"].null_count < len(table):
        return table
    return table.set_column(table.schema.get_field_index("abs_peak"), table.schema.field("abs_peak"), peaks)


def _with_crossings(table: pa.Table, starts: npt.NDArray[np.int64] | None) -> pa.Table:
    """Fill `crosses_event`: whether an event starts inside the window, after its first token (spec 5.5)."""
    if starts is None:
        return table
    peaks = np.array(table["abs_peak"].fill_null(-1))
    first = peaks - np.array(table["ctx"]) + 1
    begins = np.searchsorted(starts, peaks, side="right") - np.searchsorted(starts, first, side="right")
    crosses = pa.array(begins > 0, mask=peaks < 0)
    return table.set_column(table.schema.get_field_index("crosses_event"), table.schema.field("crosses_event"), crosses)


def _event_rows(table: RepositoryFile | None) -> list[tuple[int, int]] | None:
    if table is None:
        return None
    rows = events(table)
    return list(zip(rows["feature_id"].to_pylist(), rows["top_act_rank"].to_pylist(), strict=True))


def _named_event(key: str, rows: Sequence[tuple[int, int]] | None, file: RepositoryFile) -> tuple[int, int]:
    if named := _FEATURE_AND_RANK.fullmatch(key):
        return int(named[1]), int(named[2])
    numbered = _ROW.fullmatch(key)
    if numbered and rows is not None and int(numbered[1]) < len(rows):
        return rows[int(numbered[1])]
    problem = "the name of an array tells no event"
    remedy = "Keep the event table of the same context length beside it." if numbered and rows is None else None
    expected = "<feature>_<rank>, or a row number of the event table"
    raise SchemaError(problem, file=file.path, where=key, expected=expected, remedy=remedy)
