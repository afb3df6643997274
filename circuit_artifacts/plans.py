"""What would be done to have the files of one config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from circuit_artifacts.filesets import FileSet, Local, fingerprint
from circuit_artifacts.schemas.declaration import Config, Step

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done to have the file or files of one config.

    Attributes:
        config: the config.
        action: use it where it is, download it, derive it, or it is missing.
        source: the place or the step, in words.
        location: where it is; of a file that would be derived, where it will be, and of several files, in which
            folder; None before a download that needs a list of files first, or when missing.
        attempts: places looked at before, and why each did not serve.
        step: the step that derives it.
        inputs: plans of the step's inputs.
        repository: the Hub repository whose cache it is in.
        fingerprint: changes when the file's content may have changed.
    """

    config: Config
    action: Literal["use", "download", "derive", "missing"]
    source: str
    location: Local | None = None
    attempts: tuple[str, ...] = ()
    step: Step | None = None
    inputs: tuple[Plan, ...] = ()
    repository: str | None = None
    fingerprint: str = ""

    @classmethod
    def use(cls, config: Config, found: Local, source: str, repository: str | None = None) -> Plan:
        """The plan to use what is there."""
        if isinstance(found, FileSet):
            key = found.fingerprint
        else:
            content = found.resolve()
            status = content.stat()
            # A file of the Hub cache is named by its hash there, so that the same content is the same everywhere.
            known = content.name if repository and content.parent.name == "blobs" else str(content)
            key = fingerprint(known, str(status.st_size), "" if known == content.name else str(status.st_mtime_ns))
        return cls(config=config, action="use", source=source, location=found, repository=repository, fingerprint=key)

    @property
    def runs_model(self) -> bool:
        """Whether fetching runs a language model."""
        here = self.action == "derive" and self.step is not None and self.step.model
        return here or any(plan.runs_model for plan in self.inputs)

    @property
    def from_hub(self) -> Iterator[Plan]:
        """This plan, or those of its inputs, as far as their file is on the Hub or in its cache."""
        if self.action == "download" or self.repository is not None:
            yield self
        for plan in self.inputs:
            yield from plan.from_hub

    @property
    def size(self) -> int | None:
        """Bytes on this machine; None if nothing is there yet."""
        if isinstance(self.location, FileSet):
            return self.location.size
        return self.location.stat().st_size if self.location is not None and self.location.is_file() else None
