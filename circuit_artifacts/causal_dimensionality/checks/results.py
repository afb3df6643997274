"""Results: whether they can be understood, and how they compare with the published numbers (spec 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts.causal_dimensionality.checks.contents import Contents
from circuit_artifacts.causal_dimensionality.comparison import compare
from circuit_artifacts.causal_dimensionality.consistency import evaluate
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.causal_dimensionality.results import Imported, read_result
from circuit_artifacts.findings import attempt, error, note
from circuit_artifacts.validation import Finding, limited

__all__ = ["check_results"]


def check_results(contents: Contents) -> Iterator[Finding]:
    """Every result file."""
    for file in contents.of_kind("result"):
        findings: list[Finding] = []
        found = attempt(read_result, file, findings=findings)
        yield from findings
        if found is None:
            continue
        yield from limited(_check_form(file, found))
        if found.status == "typed" and not found.stated and contents.is_published(file):
            yield from _check_numbers(file, found)


def _check_form(file: RepositoryFile, found: Imported) -> Iterator[Finding]:
    if found.stated:  # it is of our form, and must obey its rules
        yield from (error("result", file, "", message) for message in found.errors)
        if found.status == "typed" and "provenance" not in found.result.model_fields_set:
            yield error("result-provenance", file, "provenance", "the file does not say what it was computed from")
    elif found.status == "unknown":
        yield note("result-unknown", file, "", "the folder's name does not tell the kind of results")
    else:
        yield from (note("result-not-understood", file, "", message) for message in found.errors)


def _check_numbers(file: RepositoryFile, found: Imported) -> Iterator[Finding]:
    """Published beside found, and the relations between published numbers with these in their place."""
    comparisons = compare(found.result)
    for comparison in comparisons:
        yield note("published-number", file, comparison.fact.id, str(comparison))
    numbers = {comparison.fact.id: comparison.found for comparison in comparisons}
    for verdict in evaluate(numbers):
        if verdict.holds != verdict.expected and verdict.values.keys() & numbers.keys():
            values = ", ".join(f"{name} = {value:.7g}" for name, value in verdict.values.items())
            outcome = "holds" if verdict.holds else "fails"
            message = f"{verdict.sentence}; with the numbers of this file the check {outcome} ({values})"
            yield note("published-consistency", file, verdict.name, message)
