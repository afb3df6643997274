"""Dictionaries: size, numbers, norms, and that no two are the same (causal-dimensionality spec 1.2 to 1.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from circuit_artifacts.causal_dimensionality.checks.contents import Contents
from circuit_artifacts.causal_dimensionality.dictionaries import Dictionary, open_dictionary, summary
from circuit_artifacts.causal_dimensionality.facts import published_facts
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.causal_dimensionality.statements import STATEMENTS
from circuit_artifacts.findings import attempt, error, note
from circuit_artifacts.validation import Finding

__all__ = ["check_dictionaries"]

_SLACK_BYTES = 64 << 10
"""Bytes of a file beside its numbers."""
_NORM_TOLERANCE = 1e-3


def check_dictionaries(contents: Contents) -> Iterator[Finding]:
    """Every dictionary, and all of them together."""
    of_hash: dict[str, RepositoryFile] = {}
    said = False
    for file in contents.of_kind("dictionary"):
        findings: list[Finding] = []
        dictionary = attempt(open_dictionary, file, findings=findings)
        row = None if dictionary is None else attempt(_row, file, dictionary, findings=findings)
        yield from findings
        if dictionary is None or row is None:
            continue
        yield from _check_file(dictionary, row)
        if contents.is_published(file):
            yield from _check_published(dictionary)
            if not said:  # one is enough to show it
                yield note("card-jumprelu", file, "", STATEMENTS["jumprelu_style"].sentence)
                said = True
        first = of_hash.setdefault(row["sha256"], file)
        if first.place.site != file.place.site:
            yield error("dictionary-twice", file, "", f"the same bytes as {first.name}, of another site")


def _row(file: RepositoryFile, dictionary: Dictionary) -> dict[str, Any]:
    del file
    row: dict[str, Any] = summary(dictionary).to_pylist()[0]
    return row


def _check_file(dictionary: Dictionary, row: dict[str, Any]) -> Iterator[Finding]:
    file, payload = dictionary.file, dictionary.payload
    if not payload <= row["bytes"] <= payload + _SLACK_BYTES:
        message = f"{row['bytes']:,} bytes, expected {payload:,} of numbers and at most {_SLACK_BYTES:,} more"
        yield error("dictionary-bytes", file, "", message)
    if dictionary.dtype != "float32":
        yield note("dictionary-dtype", file, "", f"{dictionary.dtype}; the published dictionaries are in float32")
    low, high = row["decoder_norm_min"], row["decoder_norm_max"]
    if max(abs(low - 1), abs(high - 1)) > _NORM_TOLERANCE:
        message = f"columns have norms from {low:.6g} to {high:.6g}, expected 1, as training left them"
        yield note("decoder-norm", file, "decoder.weight", message)


def _check_published(dictionary: Dictionary) -> Iterator[Finding]:
    facts = published_facts()
    expected = int(facts["d_model_p70m"].published), int(facts["d_sae_marks"].published)
    if (found := (dictionary.d_in, dictionary.d_sae)) != expected:
        message = f"width and number of features are {found}; those of the published dictionaries are {expected}"
        yield note("dictionary-shape", dictionary.file, "encoder.weight", message)
