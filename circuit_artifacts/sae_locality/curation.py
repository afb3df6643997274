"""What people picked: candidate lists and the manifests of case studies (sae_locality spec 4.13, 4.20)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.sae_locality.files import RepositoryFile, extra_text, make_table
from circuit_artifacts.sae_locality.json_files import read_object
from circuit_artifacts.schemas.sae_locality import Candidate, CaseStudy

__all__ = ["candidates", "case_studies"]

_LARGEST = 16 << 20  # bytes of a list for people
_TIER = re.compile(r"## Tier:\s*(?P<tier>\S+)")
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_FEATURE_KEYS = frozenset({"feature_id", "tier", "description", "mean_h_pos", "std_h_pos", "n_events", "recall_alt"})
_NO_NUMBER = "\N{EM DASH}"


def candidates(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `Candidate`, from the tables of ``candidate_features_l<L>.md``.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not UTF-8, or larger than 16 MiB.
        SchemaError: a line of a table that is not five cells, or a cell that is no number.
    """
    with open_bounded(file.path, largest=_LARGEST) as stream:
        data = stream.read()
    try:
        rows = list(_candidate_rows(data.decode("utf-8"), file))
    except UnicodeDecodeError as error:
        problem = "the list is not text"
        raise FormatError(problem, file=file.path, found=error) from error
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return make_table(
        Candidate, columns | {"preset": file.place.preset, "layer": file.place.layer}, len(rows), file=file
    )


def case_studies(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `CaseStudy`, from ``manifest.json``.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: no list of features, or a value of another type.
    """
    manifest = read_object(file.path)
    features = manifest.get("features")
    if not isinstance(features, list) or not all(isinstance(item, dict) for item in features):
        problem = "the manifest lists no features"
        raise SchemaError(problem, file=file.path, where="features", found=type(features).__name__)
    columns: dict[str, Any] = {name: [item.get(name) for item in features] for name in _FEATURE_KEYS}
    columns |= {
        "run": file.place.run,
        "preset": manifest.get("preset"),
        "layer": manifest.get("layer"),
        "ctx": manifest.get("ctx_len"),
        "extra": [extra_text("case_studies", item, _FEATURE_KEYS) for item in features],
    }
    return make_table(CaseStudy, columns, len(features), file=file)


def _candidate_rows(text: str, file: RepositoryFile) -> Iterator[dict[str, Any]]:
    tier = None
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _TIER.match(line):
            tier = heading["tier"]
        if tier is None or not line.startswith("|"):
            continue
        cells = [cell.strip().replace(r"\|", "|") for cell in _CELL_BORDER.split(line.strip())[1:-1]]
        if not cells or not cells[0].isdecimal():  # the header, and the line below it
            continue
        try:
            feature, density, recall, explanation, snippets = cells
            yield {
                "tier": tier,
                "feature_id": int(feature),
                "density": _number(density),
                "recall": _number(recall),
                "explanation": explanation,
                "snippets": snippets,
            }
        except ValueError as error:
            problem = "not a candidate"
            expected = "feature id, density, recall, explanation, snippets"
            raise SchemaError(
                problem, file=file.path, where=f"line {number}", found=error, expected=expected
            ) from error


def _number(cell: str) -> float | None:
    return None if cell in {"", _NO_NUMBER} else float(cell)
