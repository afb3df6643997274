"""Where a file comes from: plan first, without touching anything, then fetch.

The order is: an explicit folder, a folder from the environment, files derived earlier, files bundled with the package,
the Hub cache, the Hub, and derivation from other files. A folder that holds regenerated files is completed by
derivation only, so that numbers of different runs cannot mix. Steps that run a model happen on demand only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from circuit_artifacts import hub, provenance
from circuit_artifacts.errors import MissingArtifactError, SourceError, UnsafeContentError
from circuit_artifacts.remote import RemoteFile, remote_file
from circuit_artifacts.schemas.declaration import Config, Mirror, Step, import_string
from circuit_artifacts.settings import Settings

__all__ = ["Job", "Plan", "Sources"]

logger = logging.getLogger(__name__)

_KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done to have one file.

    Attributes:
        config: the config whose file it is.
        action: use it where it is, download it, derive it, or it is missing.
        source: the place or the step, in words.
        path: where the file is or will be; None before a download or when missing.
        attempts: places looked at before, and why each did not serve.
        step: the step that derives it.
        inputs: plans of the step's inputs.
        repository: the Hub repository whose cache it is in.
        fingerprint: changes when the file's content may have changed.
    """

    config: Config
    action: Literal["use", "download", "derive", "missing"]
    source: str
    path: Path | None = None
    attempts: tuple[str, ...] = ()
    step: Step | None = None
    inputs: tuple[Plan, ...] = ()
    repository: str | None = None
    fingerprint: str = ""

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


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a step: what a step function is called with.

    Attributes:
        inputs: path of every input, by config name.
        outputs: final path of every file to make, by config name.
        parameters: the mirror's defaults and what the caller overrode.
    """

    mirror: Mirror
    step: Step
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    parameters: Mapping[str, Any]

    def input(self, family: str, setting: Mapping[str, float] | None = None) -> Path:
        """The input of a family at a setting."""
        config = Config(family=self.mirror.family_by_name[family], setting=setting or {})
        return self.inputs[config.name]

    def output_configs(self, family: str) -> Iterable[tuple[Config, Path]]:
        """The outputs of a family that are wanted, in grid order."""
        for config in self.mirror.family_by_name[family].configs:
            if config.name in self.outputs:
                yield config, self.outputs[config.name]

    def record(self, inputs: Iterable[Path] | None = None, **facts: Any) -> provenance.Provenance:
        """The provenance of a file of this job.

        Args:
            inputs: what the file is made from; None for all of the job's inputs.
            facts: model, n_layers, width and parameters.
        """
        chosen = self.inputs.values() if inputs is None else inputs
        return provenance.Provenance(
            mirror=self.mirror.name,
            step=self.step.name,
            inputs={path.name: provenance.file_digest(path) for path in sorted(chosen)},
            versions=provenance.package_versions(),
            **facts,
        )


@dataclass(kw_only=True)
class Sources:
    """The places where one mirror's files can come from.

    Args:
        mirror: the mirror.
        data_root: a folder in the published layout, looked at first.
        revision: Hub revision to pin.
        token: for the Hub; None looks at the usual places.
        regenerate: whether steps that run a model may happen; None asks ``CIRCUIT_ARTIFACTS_REGENERATE``.
        output: write derived files here, under their published names, and look nowhere else.
        force: names of families to make anew although they exist in `output`.
        parameters: overrides of the mirror's step parameters.
    """

    mirror: Mirror
    data_root: Path | None = None
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    regenerate: bool | None = None
    output: Path | None = None
    force: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    _plans: dict[str, Plan] = field(default_factory=dict, repr=False)
    _made: set[Path] = field(default_factory=set, repr=False)
    _refused: dict[str, list[str]] = field(default_factory=dict, repr=False)  # what the Hub said, by file

    def __post_init__(self) -> None:
        self._settings = Settings()
        if self.regenerate is None:
            self.regenerate = self._settings.regenerate
        self._parameters = {**self.mirror.parameters, **self.parameters}

    def plan(self, config: Config) -> Plan:
        """How to have the file of a config; looks at folders and caches, writes and downloads nothing.

        Raises:
            SourceError: `data_root` is not a folder.
        """
        if config.file not in self._plans:
            self._plans[config.file] = self._plan(self.mirror.config_by_file[config.file])
        return self._plans[config.file]

    def fetch(self, *configs: Config) -> dict[str, Path]:
        """Have the files of these configs: path by config name.

        Raises:
            MissingArtifactError: a file is nowhere and may not be derived; the message names every place.
        """
        self._download_all(configs)
        paths = self._execute([self.plan(config) for config in configs])
        return {config.name: paths[config.file] for config in configs}

    def fetch_available(self) -> dict[str, Path]:
        """Have the files of all configs that can be had, and log which cannot: path by config name, as declared.

        What one step derives is derived together.
        """
        configs = list(self.mirror.configs.values())
        self._download_all(configs)
        together: dict[str, list[Config]] = {}
        for config in configs:
            plan = self.plan(config)
            origin = f"step {plan.step.name}" if plan.action == "derive" and plan.step is not None else config.name
            together.setdefault(origin, []).append(config)
        paths: dict[str, Path] = {}
        for group in together.values():
            try:
                paths.update(self.fetch(*group))
            except MissingArtifactError as error:
                logger.warning("left out: %s. %s", ", ".join(config.name for config in group), error.problem)
        if not paths:
            problem = f"no file of {self.mirror.name} could be had"
            raise MissingArtifactError(problem, remedy=f"'circuit-artifacts ls {self.mirror.name}' says why.")
        return {name: paths[name] for name in self.mirror.configs if name in paths}

    def locate(self, config: Config) -> Path | RemoteFile:
        """The file of a config, to be read in place: as `fetch`, but what is on the Hub is not downloaded.

        Raises:
            MissingArtifactError: as in `fetch`.
        """
        while self.plan(config).action == "download":
            for file in self._hub_files(config):
                try:
                    return remote_file(file)
                except SourceError as error:
                    self._refused.setdefault(config.file, []).append(f"the Hub: {error}")
            self._plans.clear()
        return self.fetch(config)[config.name]

    # Planning

    def _plan(self, config: Config) -> Plan:
        attempts: list[str] = []
        for answer in self._places(config):
            if isinstance(answer, Plan):
                return replace(answer, attempts=tuple(attempts))
            attempts.append(answer)
        return Plan(config=config, action="missing", source="nowhere", attempts=(*attempts, *self._why_not(config)))

    def _places(self, config: Config) -> Iterator[Plan | str]:
        """For each place in order, the plan if it serves, else why it does not."""
        for place, folder in self.local_folders():
            path = folder / config.file
            if path.is_file() and not (self.output and config.family.name in self.force):
                _refuse_escape(path, folder)
                yield self._use(config, path, place)
            yield f"{place} {folder}: not there"
        derivation = self._derivation(config)
        if derivation is not None and derivation.action == "use":
            yield derivation
        if regenerated := self._regenerated_folder():
            other = "the package" if self.mirror.bundled else "the Hub"
            yield f"{other}: not asked, because {regenerated} holds regenerated files"
        elif not self.output:
            yield from self._bundled(config)
            yield from self._hub(config)
        if derivation is not None:
            yield derivation

    def _bundled(self, config: Config) -> Iterator[Plan | str]:
        if self.mirror.bundled:
            path = Path(str(resources.files("circuit_artifacts.data") / self.mirror.bundled / config.file))
            if path.is_file():
                yield self._use(config, path, "bundled with the package")
            yield "the package: not bundled"

    def _hub(self, config: Config) -> Iterator[Plan | str]:
        for file in self._hub_files(config):
            if path := hub.cached(file):
                yield self._use(config, path, f"Hub cache of {file.repository}", file.repository)
        if not self.mirror.repositories:
            return
        yield "Hub cache: not there"
        if config.file in self._refused:
            yield from self._refused[config.file]
        elif reason := hub.offline_reason():
            places = " and ".join(self.mirror.repositories)
            yield f"the Hub, {places} at {self.revision or 'main'}: not asked, because {reason}"
        else:
            fingerprint = _digest("hub", *self.mirror.repositories, self.revision or "main", config.file)
            source = f"the Hub, {self.mirror.repositories[0]}"
            yield Plan(config=config, action="download", source=source, fingerprint=fingerprint)

    def _hub_files(self, config: Config) -> list[hub.HubFile]:
        """The file in each repository of the mirror, in the order they are tried."""
        return [
            hub.HubFile(repository=repository, file=config.file, revision=self.revision, token=self.token)
            for repository in self.mirror.repositories
        ]

    def _derivation(self, config: Config) -> Plan | None:
        """How a step could make the file now, or the file where one made it earlier."""
        for step in self.mirror.steps_for(config.family.name):
            inputs = tuple(self.plan(need) for need in self.mirror.needs(step, config))
            if any(plan.action == "missing" for plan in inputs) or (step.model and not self.regenerate):
                continue
            fingerprint = _digest(
                step.name, json.dumps(self._parameters, sort_keys=True, default=str), *(p.fingerprint for p in inputs)
            )
            folder = self.output or self._settings.derived / self.mirror.name / fingerprint
            path = folder / config.file
            if not self.output and path.is_file():
                return Plan(
                    config=config, action="use", source="derived earlier", path=path, fingerprint=fingerprint, step=step
                )
            return Plan(
                config=config,
                action="derive",
                source=f"step '{step.name}'",
                path=path,
                step=step,
                inputs=inputs,
                fingerprint=fingerprint,
            )
        return None

    def _why_not(self, config: Config) -> list[str]:
        reasons = []
        for step in self.mirror.steps_for(config.family.name):
            if step.model and not self.regenerate:
                reasons.append(f"step '{step.name}': runs a model, which happens on demand only")
            else:
                plans = map(self.plan, self.mirror.needs(step, config))
                absent = [plan.config.file for plan in plans if plan.action == "missing"]
                reasons.append(f"step '{step.name}': lacks {', '.join(absent)}")
        return reasons

    def local_folders(self) -> list[tuple[str, Path]]:
        """Folders that are looked at before anything else, each with what names it.

        Raises:
            SourceError: `data_root` is not a folder.
        """
        if self.output:
            return [("output folder", self.output)]
        folders = []
        if self.data_root is not None:
            root = _absolute(self.data_root)
            if not root.is_dir():
                problem = "data_root is not a folder"
                raise SourceError(problem, file=root, remedy="Name a folder in the published layout.")
            folders.append(("data_root", root))
            if _holds_regenerated(root):
                return folders
        if self._settings.root is not None:
            folders.append(("$CIRCUIT_ARTIFACTS_ROOT", _absolute(self._settings.root / self.mirror.name)))
        named = [(name, os.environ.get(name)) for name in self.mirror.environment]
        return folders + [(f"${name}", _absolute(Path(folder))) for name, folder in named if folder]

    def _regenerated_folder(self) -> Path | None:
        return next((folder for _, folder in self.local_folders() if _holds_regenerated(folder)), None)

    def _use(self, config: Config, path: Path, source: str, repository: str | None = None) -> Plan:
        content = path.resolve()
        status = content.stat()
        # A file of the Hub cache is named by its hash there, so that the same content is the same everywhere.
        known = content.name if repository and content.parent.name == "blobs" else str(content)
        fingerprint = _digest(known, str(status.st_size), "" if known == content.name else str(status.st_mtime_ns))
        return Plan(
            config=config, action="use", source=source, path=path, repository=repository, fingerprint=fingerprint
        )

    # Fetching

    def _execute(self, plans: list[Plan]) -> dict[str, Path]:
        """Carry out plans together, so that one run of a step makes all that is wanted of it: path by file name."""
        paths: dict[str, Path] = {}
        pending: dict[str, list[Plan]] = {}
        for plan in plans:
            if plan.action == "missing":
                raise self._missing(plan)
            assert plan.path is not None
            paths[plan.config.file] = plan.path
            if plan.action == "derive" and plan.step is not None:
                pending.setdefault(plan.step.name, []).append(plan)
        inputs = [plan for wanted in pending.values() for w in wanted for plan in w.inputs]
        try:
            input_paths = self._execute(list({plan.config.file: plan for plan in inputs}.values())) if inputs else {}
        except MissingArtifactError as error:  # what was asked for is missing, for want of the input
            product = next(iter(pending.values()))[0]
            attempts = (*product.attempts, f"{product.source}: {error.problem}")
            raise self._missing(replace(product, attempts=attempts)) from error
        for wanted in pending.values():
            self._run(wanted, input_paths)
        return paths

    def _run(self, wanted: list[Plan], input_paths: Mapping[str, Path]) -> None:
        step = wanted[0].step
        missing = {
            p.config.name: p.path
            for p in wanted
            # What this call made already, as an input of another step, is not made twice; --force makes it once.
            if p.path is not None and p.path not in self._made and (self.output or not p.path.is_file())
        }
        if step is None or not missing:
            return
        first, *others = sorted({plan.config.file for plan in wanted})
        more = f" and {len(others)} more" if others else ""
        logger.info("deriving %s%s by step '%s'", first, more, step.name)
        for path in missing.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        import_string(step.function)(
            Job(
                mirror=self.mirror,
                step=step,
                inputs={p.config.name: input_paths[p.config.file] for w in wanted for p in w.inputs},
                outputs=missing,
                parameters=self._parameters,
            )
        )
        self._made.update(missing.values())
        for plan in wanted:
            self._plans.pop(plan.config.file, None)

    def _download_all(self, configs: Iterable[Config]) -> None:
        """Have all that these configs need from the Hub in its cache, checked, and plan anew without what it lacks.

        Derived files are named by what they are made from, so derivation is planned when the inputs are there.
        """
        done: set[str] = set()
        while wanted := {
            plan.config.file: plan
            for config in configs
            for plan in self.plan(config).from_hub
            if plan.config.file not in done
        }:
            if len(wanted) > 1:
                self._prefetch([plan.config for plan in wanted.values() if plan.action == "download"])
            for plan in wanted.values():
                self._download(plan)
            done.update(wanted)
            self._plans.clear()

    def _prefetch(self, configs: Iterable[Config]) -> None:
        """Download files together, from each repository those that the ones before it lack."""
        places = [self._hub_files(config) for config in configs]
        for number in range(len(self.mirror.repositories)):
            places = [files for files in places if not any(map(hub.cached, files))]
            if places:
                hub.prefetch([files[number] for files in places])

    def _download(self, plan: Plan) -> None:
        """Have one file in the Hub cache, or note why it is not to be had."""
        files = [file for file in self._hub_files(plan.config) if plan.repository in {None, file.repository}]
        reasons = []
        for file in sorted(files, key=lambda file: hub.cached(file) is None):  # what was prefetched first
            try:
                hub.download(file)
            except SourceError as error:
                reasons.append(f"the Hub: {error}")
            else:
                return
        self._refused[plan.config.file] = reasons
        if plan.repository:  # in the cache, but damaged, and not to be had again
            raise self._missing(replace(plan, attempts=(*plan.attempts, *reasons)))

    def _missing(self, plan: Plan) -> MissingArtifactError:
        problem = f"{plan.config.file} of {self.mirror.name} could not be had. Tried: " + "; ".join(plan.attempts)
        advice = ["Put the file into a folder and pass data_root="]
        if self.mirror.repositories:
            advice.append(f"download it with 'circuit-artifacts fetch {self.mirror.name} {plan.config.name}'")
        if self.mirror.steps_for(plan.config.family.name):
            command = f"circuit-artifacts regenerate {self.mirror.name} {plan.config.family.name} --root DIR"
            advice.append(f"make it with '{command}', or pass regenerate=True")
        return MissingArtifactError(problem, remedy=", or ".join(advice) + ".")


def _absolute(folder: Path) -> Path:
    """The same folder wherever a worker runs; ``~`` is the home folder."""
    return folder.expanduser().absolute()


def _refuse_escape(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of a local folder; a snapshot of the Hub cache may lead to its own blobs."""
    target, root = path.resolve(), folder.resolve()
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(home) for home in homes):
        problem = "a link leads out of its folder"
        remedy = "Put the file itself there, or name the folder that holds it."
        raise UnsafeContentError(problem, file=path, found=target, expected=f"a file in {root}", remedy=remedy)


def _holds_regenerated(folder: Path) -> bool:
    return any(folder.glob(f"*{provenance.SUFFIX}"))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_KEY_LENGTH]
