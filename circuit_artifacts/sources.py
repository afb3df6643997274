"""Where a file, or a set of files, comes from: plan first, without touching anything, then fetch.

The order is: an explicit folder, a folder from the environment, files derived earlier, files bundled with the package,
the Hub cache, the Hub, and derivation from other files. A folder that holds regenerated files is completed by
derivation only, so that numbers of different runs cannot mix. Steps that run a model happen on demand only.

A config of several files takes all of them from one place: the first that has any.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from circuit_artifacts import provenance
from circuit_artifacts.errors import MissingArtifactError, SourceError, UnknownNameError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.filesets import FileSet, Local, fingerprint, list_files, pick, refuse_escape
from circuit_artifacts.jobs import Job
from circuit_artifacts.plans import Plan
from circuit_artifacts.remote import RemoteFile, remote_file
from circuit_artifacts.repositories import Repositories
from circuit_artifacts.schemas.declaration import Config, Mirror, Step, import_string
from circuit_artifacts.settings import Settings

__all__ = ["Plan", "Sources"]

logger = logging.getLogger(__name__)


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
        options: overrides of the mirror's options, such as the run.

    Raises:
        UnknownNameError: the mirror has no such option.
    """

    mirror: Mirror
    data_root: Path | None = None
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    regenerate: bool | None = None
    output: Path | None = None
    force: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    _plans: dict[str, Plan] = field(default_factory=dict, repr=False)
    _made: set[str] = field(default_factory=set, repr=False)  # files, as configs name them
    _names: dict[Path, tuple[str, ...]] = field(default_factory=dict, repr=False)  # of the files in a folder

    def __post_init__(self) -> None:
        self._settings = Settings()
        if self.regenerate is None:
            self.regenerate = self._settings.regenerate
        self._parameters = {**self.mirror.parameters, **self.parameters}
        if unknown := sorted(self.options.keys() - self.mirror.options.keys()):
            problem = f"{self.mirror.name} has no option {' or '.join(unknown)}"
            raise UnknownNameError(problem, expected=", ".join(self.mirror.options) or "none")
        self._options = {**self.mirror.options, **self.options}
        self._hub = Repositories(mirror=self.mirror, revision=self.revision, token=self.token, options=self._options)

    def plan(self, config: Config) -> Plan:
        """How to have the file of a config; looks at folders and caches, writes and downloads nothing.

        Raises:
            SourceError: `data_root` is not a folder.
        """
        if config.file not in self._plans:
            self._plans[config.file] = self._plan(self.mirror.config_by_file[config.file])
        return self._plans[config.file]

    def fetch(self, *configs: Config) -> dict[str, Local]:
        """Have the files of these configs: where they are, by config name.

        Raises:
            MissingArtifactError: a file is nowhere and may not be derived; the message names every place.
        """
        self._download_all(configs)
        found = self._execute([self.plan(config) for config in configs])
        return {config.name: found[config.file] for config in configs}

    def fetch_available(self) -> dict[str, Local]:
        """Have the files of all configs that can be had, and log which cannot; by config name, as declared.

        What one step derives is derived together.
        """
        configs = list(self.mirror.configs.values())
        self._download_all(configs)
        together: dict[str, list[Config]] = {}
        for config in configs:
            plan = self.plan(config)
            origin = f"step {plan.step.name}" if plan.action == "derive" and plan.step is not None else config.name
            together.setdefault(origin, []).append(config)
        found: dict[str, Local] = {}
        left_out: dict[str, list[tuple[list[Config], str]]] = {}
        for group in together.values():
            try:
                found.update(self.fetch(*group))
            except MissingArtifactError as error:
                left_out.setdefault(group[0].family.name, []).append((group, error.problem))
        for failures in left_out.values():  # a grid may lack many for one reason
            names = [config.name for group, _ in failures for config in group]
            logger.warning("left out: %s. %s", ", ".join(names), failures[0][1])
        if not found:
            problem = f"no file of {self.mirror.name} could be had"
            raise MissingArtifactError(problem, remedy=f"'circuit-artifacts ls {self.mirror.name}' says why.")
        return {name: found[name] for name in self.mirror.configs if name in found}

    def locate(self, config: Config) -> Local | RemoteFile:
        """The file or files of a config, to be read in place: as `fetch`, but what is on the Hub is not downloaded.

        Raises:
            MissingArtifactError: as in `fetch`.
        """
        while (plan := self.plan(config)).action == "download":
            if isinstance(plan.location, FileSet):
                return plan.location
            if config.family.select:
                self._hub.obtain_listing(config)
                self._plans.clear()
                continue
            for file in self._hub.files(config):
                try:
                    return remote_file(file)
                except SourceError as error:
                    self._hub.refused.setdefault(config.file, []).append(f"the Hub: {error}")
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
            yield from self._in_folder(config, folder, place, f"{place} {folder}")
        derivation = self._derivation(config)
        if derivation is not None and derivation.action == "use":
            yield derivation
        if regenerated := self._regenerated_folder():
            other = "the package" if self.mirror.bundled else "the Hub"
            yield f"{other}: not asked, because {regenerated} holds regenerated files"
        elif not self.output:
            yield from self._bundled(config)
            yield from self._hub.answers(config)
        if derivation is not None:
            yield derivation

    def _in_folder(self, config: Config, folder: Path, source: str, place: str) -> Iterator[Plan | str]:
        try:
            found = self._found(config, folder)
        except UnknownNameError as error:
            yield f"{place}: {error.problem}{error.contrast}"
            return
        if found is not None and not (self.output and config.family.name in self.force):
            yield Plan.use(config, found, source)
        unfinished = [step.name for step in self._unfinished(config, folder)]
        yield f"{place}: " + (f"step '{unfinished[0]}' did not finish" if unfinished else "not there")

    def _found(self, config: Config, folder: Path) -> Local | None:
        """The file or files of a config in a folder, if a step that makes them was not interrupted there."""
        if config.family.select is None:
            path = folder / config.file
            if not path.is_file():
                return None
            refuse_escape(path, folder)
            return path
        if self._unfinished(config, folder):
            return None
        return pick(config, folder, self._listing(folder), self._options)

    def _unfinished(self, config: Config, folder: Path) -> list[Step]:
        return [step for step in self.mirror.steps_for(config.family.name) if _mark(step, folder).exists()]

    def _bundled(self, config: Config) -> Iterator[Plan | str]:
        if self.mirror.bundled:
            folder = Path(str(resources.files("circuit_artifacts.data") / self.mirror.bundled))
            yield from self._in_folder(config, folder, "bundled with the package", "the package")

    def _derivation(self, config: Config) -> Plan | None:
        """How a step could make the file now, or the file where one made it earlier."""
        for step in self.mirror.steps_for(config.family.name):
            inputs = self._inputs(step, config)
            if inputs is None or (step.model and not self.regenerate):
                continue
            key = fingerprint(
                step.name, json.dumps(self._parameters, sort_keys=True, default=str), *(p.fingerprint for p in inputs)
            )
            folder = self.output or self._settings.derived / self.mirror.name / key
            found = None if self.output else self._found(config, folder)
            if found is not None:
                return Plan(
                    config=config, action="use", source="derived earlier", location=found, fingerprint=key, step=step
                )
            return Plan(
                config=config,
                action="derive",
                source=f"step '{step.name}'",
                location=folder if config.family.select else folder / config.file,
                step=step,
                inputs=inputs,
                fingerprint=key,
            )
        return None

    def _inputs(self, step: Step, config: Config) -> tuple[Plan, ...] | None:
        """How to have what a step needs, and what it uses as far as it is here; None if that does not suffice."""
        needed = [self.plan(need) for need in self.mirror.needs(step, config)]
        used = [plan for use in self.mirror.uses(step, config) if (plan := self.plan(use)).action == "use"]
        if any(plan.action == "missing" for plan in needed) or (step.uses and not needed and not used):
            return None
        return (*needed, *used)

    def _why_not(self, config: Config) -> list[str]:
        reasons = []
        for step in self.mirror.steps_for(config.family.name):
            if step.model and not self.regenerate:
                reasons.append(f"step '{step.name}': runs a model, which happens on demand only")
            else:
                plans = map(self.plan, self.mirror.needs(step, config))
                absent = [plan.config.file for plan in plans if plan.action == "missing"]
                absent = absent or [f"any of {', '.join(step.uses)}"]
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
            if self._holds_regenerated(root):
                return folders
        if self._settings.root is not None:
            folders.append(("$CIRCUIT_ARTIFACTS_ROOT", _absolute(self._settings.root / self.mirror.name)))
        named = [(name, os.environ.get(name)) for name in self.mirror.environment]
        return folders + [(f"${name}", _absolute(Path(folder))) for name, folder in named if folder]

    def _regenerated_folder(self) -> Path | None:
        return next((folder for _, folder in self.local_folders() if self._holds_regenerated(folder)), None)

    def _holds_regenerated(self, folder: Path) -> bool:
        return any(name.endswith(provenance.SUFFIX) for name in self._listing(folder))

    def _listing(self, folder: Path) -> tuple[str, ...]:
        if folder not in self._names:
            self._names[folder] = list_files(folder)
        return self._names[folder]

    # Fetching

    def _execute(self, plans: list[Plan]) -> dict[str, Local]:
        """Carry out plans together, so that one run of a step makes all that is wanted of it; by file name."""
        found: dict[str, Local] = {}
        pending: dict[str, list[Plan]] = {}
        for plan in plans:
            if plan.action == "missing":
                raise self._missing(plan)
            assert plan.location is not None
            found[plan.config.file] = plan.location
            if plan.action == "derive" and plan.step is not None:
                pending.setdefault(plan.step.name, []).append(plan)
        inputs = [plan for wanted in pending.values() for w in wanted for plan in w.inputs]
        try:
            taken = self._execute(list({plan.config.file: plan for plan in inputs}.values())) if inputs else {}
        except MissingArtifactError as error:  # what was asked for is missing, for want of the input
            product = next(iter(pending.values()))[0]
            attempts = (*product.attempts, f"{product.source}: {error.problem}")
            raise self._missing(replace(product, attempts=attempts)) from error
        for wanted in pending.values():
            self._run(wanted, taken)
            for plan in wanted:
                if plan.config.family.select:
                    found[plan.config.file] = self._made_files(plan)
        return found

    def _made_beside(self, step: Step, config: Config) -> Iterator[Config]:
        """What else a step makes that writes a folder of files: the other families of it, wanted or not."""
        if config.family.select:
            for name in step.makes:
                family = self.mirror.family_by_name[name]
                yield from (other for other in family.configs if other.setting == config.setting)

    def _made_files(self, plan: Plan) -> FileSet:
        """What a step made of a config of several files."""
        assert isinstance(plan.location, Path)
        found = self._found(plan.config, plan.location)
        if not isinstance(found, FileSet):
            problem = f"{plan.source} made no file of {plan.config.name}"
            raise MissingArtifactError(problem, file=plan.location, expected=plan.config.file)
        return found

    def _run(self, wanted: list[Plan], taken: Mapping[str, Local]) -> None:
        step = wanted[0].step
        missing = {
            p.config.name: p.location
            for p in wanted
            # What this call made already, as an input of another step, is not made twice; --force makes it once.
            if isinstance(p.location, Path)
            and p.config.file not in self._made
            and (self.output or not p.location.is_file())
        }
        if step is None or not missing:
            return
        first, *others = sorted({plan.config.file for plan in wanted})
        more = f" and {len(others)} more" if others else ""
        logger.info("deriving %s%s by step '%s'", first, more, step.name)
        folders = {p.location for p in wanted if p.config.family.select and isinstance(p.location, Path)}
        for folder in folders | {path.parent for path in missing.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in folders:  # of a single file, its name tells that it is finished
            _mark(step, folder).touch()
        job = Job(
            mirror=self.mirror,
            step=step,
            inputs={p.config.name: taken[p.config.file] for w in wanted for p in w.inputs},
            outputs=missing,
            parameters=self._parameters,
        )
        with extras_named():
            import_string(step.function)(job)
        for folder in folders:
            _mark(step, folder).unlink()
        self._names.clear()
        for plan in wanted:
            for config in (plan.config, *self._made_beside(step, plan.config)):
                self._made.add(config.file)
                self._plans.pop(config.file, None)

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
            unlisted = [plan.config for plan in wanted.values() if plan.config.family.select and plan.location is None]
            for config in unlisted:
                self._hub.obtain_listing(config)
            if not unlisted:
                if len(wanted) > 1:
                    self._hub.prefetch(plan.config for plan in wanted.values() if plan.action == "download")
                for plan in wanted.values():
                    if not self._hub.download(plan):
                        raise self._missing(
                            replace(plan, attempts=(*plan.attempts, *self._hub.refused[plan.config.file]))
                        )
                done.update(wanted)
            self._plans.clear()

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


def _mark(step: Step, folder: Path) -> Path:
    """Stands in a folder while a step writes several files there."""
    return folder / f".{step.name.replace(' ', '-')}.unfinished"
