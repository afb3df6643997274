"""A rule of the viewer, and how its violations become findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.validation import Finding

__all__ = ["Rule", "findings"]

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """One rule.

    Attributes:
        level: "error" if breaking it takes the page, preview, search, filter or statistics of a split away.
        name: short name, the same in all its findings.
        viewer: what the viewer does, as half a sentence.
        check: every violation, with file, place, what was found, what was expected and what to do. Errors it raises
            are violations too.
    """

    level: Literal["error", "note"]
    name: str
    viewer: str
    check: Callable[[Subject], Iterable[CircuitArtifactsError]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """All violations by one subject."""
        try:
            yield from map(self.finding, self.check(subject))
        except CircuitArtifactsError as error:
            yield self.finding(error)

    def finding(self, error: CircuitArtifactsError) -> Finding:
        """One violation as a finding."""
        message = f"{error.problem}{error.contrast}; {self.viewer}"
        return Finding(
            level=self.level,
            rule=self.name,
            file=error.file or "",
            where=error.where or "",
            message=f"{message}. {error.remedy}" if error.remedy else message,
        )


def findings(rules: Iterable[Rule[Subject]], subjects: Iterable[Subject]) -> Iterator[Finding]:
    """All violations of some rules, subject by subject."""
    for subject in subjects:
        for rule in rules:
            yield from rule.findings(subject)
