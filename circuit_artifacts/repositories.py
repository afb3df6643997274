"""The Hub repositories of one mirror as places of its files: what their caches hold, and what can be downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from circuit_artifacts import hub, listings
from circuit_artifacts.errors import SourceError, UnknownNameError
from circuit_artifacts.filesets import FileSet, fingerprint, pick
from circuit_artifacts.plans import Plan
from circuit_artifacts.schemas.declaration import Config, Mirror

__all__ = ["Repositories"]


@dataclass(kw_only=True)
class Repositories:
    """The repositories of a mirror, in the order they are tried.

    Attributes:
        mirror: the mirror.
        revision: Hub revision to pin.
        token: for the Hub; None looks at the usual places.
        options: for configs of several files.
        refused: why a download was not to be had, by file.
    """

    mirror: Mirror
    revision: str | None
    token: str | bool | None = field(repr=False)
    options: Mapping[str, Any]
    refused: dict[str, list[str]] = field(default_factory=dict)

    def files(self, config: Config) -> list[hub.HubFile]:
        """The file in each repository; of several files, only the repository counts."""
        return [
            hub.HubFile(repository=repository, file=config.file, revision=self.revision, token=self.token)
            for repository in self.mirror.repositories
        ]

    def answers(self, config: Config) -> Iterator[Plan | str]:
        """The plan to use the Hub's cache or to download, or why neither serves; the Hub is not asked."""
        if not self.mirror.repositories:
            return
        if config.family.select:
            yield from self._listed(config)
            asked = all(map(listings.known, self.files(config)))
            if asked and config.file not in self.refused and hub.offline_reason() is None:
                return
        else:
            for file in self.files(config):
                if path := hub.cached(file):
                    yield Plan.use(config, path, f"Hub cache of {file.repository}", file.repository)
            yield "Hub cache: not there"
        if config.file in self.refused:
            yield from self.refused[config.file]
        elif reason := hub.offline_reason():
            places = " and ".join(self.mirror.repositories)
            yield f"the Hub, {places} at {self.revision or 'main'}: not asked, because {reason}"
        else:
            key = fingerprint("hub", *self.mirror.repositories, self.revision or "main", config.file)
            source = f"the Hub, {self.mirror.repositories[0]}"
            yield Plan(config=config, action="download", source=source, fingerprint=key)

    def _listed(self, config: Config) -> Iterator[Plan | str]:
        """What the lists of files say that are known."""
        for file in self.files(config):
            repository = file.repository
            if (known := listings.known(file)) is None:
                yield f"Hub cache of {repository}: not there"
                continue
            try:
                found = pick(config, replace(file, revision=known.commit), known.names, self.options)
            except UnknownNameError as error:
                yield f"{repository}: {error.problem}{error.contrast}"
                continue
            if found is None:
                yield f"{repository}: no such files"
            elif found.is_here:
                yield Plan.use(config, found, f"Hub cache of {repository}", repository)
            elif config.file not in self.refused and hub.offline_reason() is None:
                source, key = f"the Hub, {repository}", found.fingerprint
                yield Plan(config=config, action="download", source=source, location=found, fingerprint=key)
            else:
                yield f"Hub cache of {repository}: not all of its files are there"

    def obtain_listing(self, config: Config) -> None:
        """Have the lists of files that a config of several files is picked from, or note why they are not to be had."""
        reasons = []
        for file in self.files(config):
            try:
                listings.obtain(file)
            except SourceError as error:
                reasons.append(f"the Hub: {error}")
        if not any(isinstance(answer, Plan) and answer.location is not None for answer in self._listed(config)):
            self.refused[config.file] = reasons

    def prefetch(self, configs: Iterable[Config]) -> None:
        """Download single files together, from each repository those that the ones before it lack."""
        places = [self.files(config) for config in configs if config.family.select is None]
        for number in range(len(self.mirror.repositories)):
            places = [files for files in places if not any(map(hub.cached, files))]
            if places:
                hub.prefetch([files[number] for files in places])

    def download(self, plan: Plan) -> bool:
        """Have what a plan takes from the Hub in its cache, checked, or note why it is not to be had.

        Returns:
            Whether the plan can still be carried out, perhaps from another place: not, if what is in the cache is
            damaged and not to be had again.
        """
        if isinstance(plan.location, FileSet):
            reasons = self._download_set(plan.location)
        else:
            files = [file for file in self.files(plan.config) if plan.repository in {None, file.repository}]
            reasons = self._download_first(sorted(files, key=lambda file: hub.cached(file) is None))
        if reasons:
            self.refused[plan.config.file] = reasons
        return not (reasons and plan.repository)

    def _download_first(self, files: Iterable[hub.HubFile]) -> list[str]:
        """Download one file from the first repository that has it; why not, if none has."""
        reasons = []
        for file in files:  # what was prefetched first
            try:
                hub.download(file)
            except SourceError as error:
                reasons.append(f"the Hub: {error}")
            else:
                return []
        return reasons

    def _download_set(self, files: FileSet) -> list[str]:
        try:
            listings.download(files)
        except SourceError as error:
            return [f"the Hub: {error}"]
        return []
