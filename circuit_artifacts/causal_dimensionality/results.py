"""Result files: ours are typed as they are, others as far as they can be understood, and none is dropped (spec 3)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from circuit_artifacts.causal_dimensionality.aliases import Reading
from circuit_artifacts.causal_dimensionality.importers import IMPORTERS, guess_kind
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.formats.json_files import parse_json
from circuit_artifacts.formats.row_tables import make_table
from circuit_artifacts.schemas import causal_dimensionality as rows
from circuit_artifacts.schemas.causal_results import KINDS, Result, UnknownResult, dump_result, faults

__all__ = ["Imported", "import_result", "read_result", "result"]

Status = Literal["typed", "invalid", "unknown"]

_LARGEST = 64 << 20  # bytes of one file


@dataclass(frozen=True, kw_only=True)
class Imported:
    """One result file, understood or not.

    Attributes:
        result: as a model; `UnknownResult` if it fits no kind.
        status: "typed"; "invalid" if it does not fit the kind that it should; "unknown" if no kind is known for it.
        raw: the text of the file.
        sha256: of its bytes.
        stated: whether the file says its kind itself, as ours do.
        changes: what was read from where, and how.
    """

    result: Result
    status: Status
    raw: str
    sha256: str
    stated: bool
    changes: tuple[str, ...] = ()

    @property
    def errors(self) -> list[str]:
        """Why it is not valid."""
        return self.result.errors if isinstance(self.result, UnknownResult) else []


def read_result(file: RepositoryFile) -> Imported:
    """Read a result file. A file that says its kind is taken at its word, others by the folder that they are in.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: it is not JSON, or larger than 64 MiB.
    """
    with open_bounded(file.path, largest=_LARGEST) as stream:
        data = stream.read()
    value = parse_json(data, file=file.path)
    try:
        raw = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        problem = "the file is not text"
        raise FormatError(problem, file=file.path, found=error) from error
    digest = hashlib.sha256(data).hexdigest()
    found, status, changes = import_result(value, experiment=file.place.experiment, path=file.name, sha256=digest)
    return Imported(
        result=found,
        status=status,
        raw=raw,
        sha256=digest,
        stated=_stated_kind(value) is not None,
        changes=tuple(changes),
    )


def import_result(
    value: Any, *, experiment: str | None, path: str | None = None, sha256: str | None = None
) -> tuple[Result, Status, list[str]]:
    """A result from JSON of whatever form.

    Args:
        value: as parsed.
        experiment: the folder that it was in.
        path: of the file, for the record.
        sha256: of the file, for the record.

    Returns:
        The result, how it is understood, and what was read from where.
    """
    base = _base(value, experiment, path, sha256)
    if stated := _stated_kind(value):
        return _validated(stated, value, base, [])
    reading, guessed = Reading(value), guess_kind(experiment)
    if guessed is None:
        return UnknownResult(**base), "unknown", []
    fields = {name: base[name] for name in ("experiment", "provenance")} | IMPORTERS[guessed](reading)
    return _validated(guessed, fields, base, reading.changes)


def result(file: RepositoryFile) -> pa.Table:
    """One row of `schemas.causal_dimensionality.Result`.

    Raises:
        MissingArtifactError, FormatError: as :func:`read_result`.
    """
    found = read_result(file)
    columns = {
        "kind": found.result.kind,
        "experiment": file.place.experiment,
        "path": file.name,
        "status": found.status,
        "typed": dump_result(found.result) if found.status == "typed" else None,
        "raw": found.raw,
        "sha256": found.sha256,
        "errors": [found.errors],
        "changes": [list(found.changes)],
    }
    return make_table(rows.Result, columns, 1, file=file)


def _stated_kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in KINDS else None


def _base(value: Any, experiment: str | None, path: str | None, sha256: str | None) -> dict[str, Any]:
    provenance = {"origin": "imported", "path": path, "sha256": sha256}
    return {"experiment": experiment or "unknown", "provenance": provenance, "raw": value}


def _validated(
    kind: str, fields: dict[str, Any], base: dict[str, Any], changes: list[str]
) -> tuple[Result, Status, list[str]]:
    model: type[BaseModel] = KINDS[kind]
    try:
        found: Any = model.model_validate(fields)
    except ValidationError as error:
        errors = [f"expected {kind}", *faults(error)]
        return UnknownResult(**base, errors=errors), "invalid", changes
    return found, "unknown" if kind == "unknown" else "typed", changes
