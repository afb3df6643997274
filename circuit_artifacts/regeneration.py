"""Making a mirror's families in a folder, in the published layout: the plan, and carrying it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_artifacts import catalog
from circuit_artifacts.plans import Plan
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.sources import Sources

__all__ = ["PlannedStep", "planned_steps", "regenerate"]


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        name: the step.
        files: what it would write, in order.
        model: whether it runs a language model.
    """

    name: str
    files: tuple[str, ...]
    model: bool


def planned_steps(plans: Iterable[Plan]) -> list[PlannedStep]:
    """The steps behind some plans, inputs first; files that are already there need none."""
    files: dict[str, dict[str, None]] = {}
    models: dict[str, bool] = {}

    def visit(plan: Plan) -> None:
        for needed in plan.inputs:
            visit(needed)
        if plan.action == "derive" and plan.step is not None:
            files.setdefault(plan.step.name, {})[plan.config.file] = None
            models[plan.step.name] = plan.step.model

    for plan in plans:
        visit(plan)
    return [PlannedStep(name=name, files=tuple(made), model=models[name]) for name, made in files.items()]


def regenerate(
    mirror_name: str,
    families: Iterable[str] = (),
    *,
    root: Path,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    plan_only: bool = False,
) -> list[PlannedStep]:
    """Make families, and whatever input of theirs is missing, in a folder; existing files stay.

    Args:
        mirror_name: whose layout.
        families: names of families or configs; all families that can be made, if none is named.
        root: the folder.
        parameters: overrides of the mirror's step parameters, such as ``{"model": "mini"}``.
        force: make the named families anew although they exist.
        plan_only: say what would be done, and do nothing.

    Returns:
        The steps that were, or would be, carried out.

    Raises:
        UnknownNameError: no such mirror or family.
        MissingArtifactError: an input is missing and cannot be made.
    """
    mirror = catalog.mirror(mirror_name)
    makeable = [f.name for f in mirror.families if f.loadable and mirror.steps_for(f.name) and not f.by_name]
    chosen = [config for name in list(families) or makeable for config in _configs(mirror, name)]
    sources = Sources(
        mirror=mirror,
        output=root,
        regenerate=True,
        force=frozenset(config.family.name for config in chosen) if force else frozenset(),
        parameters=parameters or {},
    )
    steps: list[PlannedStep] = []
    for configs in _in_turn(mirror, chosen):
        plans = [sources.plan(config) for config in configs]
        steps += planned_steps(plans)
        if plan_only:
            steps += [_of_what_is_made(mirror, plan.config) for plan in plans if plan.action == "missing"]
        else:
            root.mkdir(parents=True, exist_ok=True)
            sources.fetch(*configs)
    return steps


def _configs(mirror: Mirror, name: str) -> tuple[Config, ...]:
    """The configs of a family, or the one config of that name."""
    return (mirror.configs[name],) if name in mirror.configs else catalog.family(mirror.name, name).configs


def _in_turn(mirror: Mirror, configs: Iterable[Config]) -> Iterator[list[Config]]:
    """Configs to make, and after them those that are made of whatever is there by then."""
    last = [config for config in configs if _takes_what_is_there(mirror, config)]
    first = [config for config in configs if config not in last]
    return (group for group in (first, last) if group)


def _takes_what_is_there(mirror: Mirror, config: Config) -> bool:
    return any(step.uses and not step.needs for step in mirror.steps_for(config.family.name))


def _of_what_is_made(mirror: Mirror, config: Config) -> PlannedStep:
    """The step that would take what the steps before it have made by then."""
    step = mirror.steps_for(config.family.name)[0]
    return PlannedStep(name=step.name, files=(config.file,), model=step.model)
