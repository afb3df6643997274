"""Which files of the repository a config is read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from circuit_artifacts.sae_locality.paths import classify
from circuit_artifacts.sae_locality.runs import CONFIGURATIONS
from circuit_artifacts.sae_locality.tables import TABLE_OF_ROW, plan
from circuit_artifacts.schemas.declaration import Config

__all__ = ["select"]


def select(config: Config, names: Iterable[str], *, run: str = "latest", legacy: bool = False) -> set[str]:
    """The files that hold rows of a config, and those that must lie beside them.

    Args:
        config: of this mirror.
        names: paths of all files of the repository.
        run: see `runs.choose`. The inventory of runs is always of all.
        legacy: see `runs.choose`.

    Raises:
        UnknownNameError: there is no such run.
    """
    names = list(names)
    if config.family.is_inventory:
        return {name for name in names if classify(name).kind in CONFIGURATIONS}
    wanted: dict[str, Any] = {"run": run, "legacy": legacy, **config.setting}
    tables = (TABLE_OF_ROW[split.row] for split in config.family.splits)
    return {name for table in tables for file, beside in plan(table, names, **wanted) for name in (file, *beside)}
