"""Making a mirror's families in a folder, in the published layout: the plan, and carrying it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_artifacts import catalog
from circuit_artifacts.plans import Plan
from circuit_artifacts.schemas.declaration import Config
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
        families: names of families; all that can be made, if none is named.
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
    makeable = [f for f in mirror.families if f.loadable and mirror.steps_for(f.name)]
    chosen = [catalog.family(mirror_name, name) for name in families] or makeable
    sources = Sources(
        mirror=mirror,
        output=root,
        regenerate=True,
        force=frozenset(family.name for family in chosen) if force else frozenset(),
        parameters=parameters or {},
    )
    configs: list[Config] = [config for family in chosen for config in family.configs]
    steps = planned_steps([sources.plan(config) for config in configs])
    if not plan_only:
        root.mkdir(parents=True, exist_ok=True)
        sources.fetch(*configs)
    return steps
