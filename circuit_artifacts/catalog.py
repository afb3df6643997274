"""What exists: mirror -> family -> config, assembled from the declarations in `schemas`; no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache

from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.schemas import causal_dimensionality_mirror, csp_atlas, sae_locality_mirror
from circuit_artifacts.schemas.declaration import Config, Family, Mirror

__all__ = ["config", "config_of", "family", "mirror", "mirrors"]

_SHOWN = 8  # names in an error message


@cache
def mirrors() -> dict[str, Mirror]:
    """Every mirror by its name in `load_dataset`."""
    return {
        m.name: m
        for m in (
            csp_atlas.MIRROR,
            csp_atlas.MINI_MIRROR,
            sae_locality_mirror.MIRROR,
            sae_locality_mirror.MINI_MIRROR,
            causal_dimensionality_mirror.MIRROR,
            causal_dimensionality_mirror.MINI_MIRROR,
        )
    }


def mirror(name: str) -> Mirror:
    """The mirror of this name.

    Raises:
        UnknownNameError: there is none.
    """
    return mirrors()[_known(name, mirrors(), "mirror")]


def config(mirror_name: str, config_name: str) -> Config:
    """One config of a mirror.

    Raises:
        UnknownNameError: no such mirror or config.
    """
    return config_of(mirror(mirror_name), config_name)


def config_of(owner: Mirror, config_name: str) -> Config:
    """One config of a mirror, which need not be in the catalogue.

    Raises:
        UnknownNameError: it has none of this name.
    """
    return owner.configs[_known(config_name, owner.configs, f"config of {owner.name}")]


def family(mirror_name: str, family_name: str) -> Family:
    """One family of a mirror.

    Raises:
        UnknownNameError: no such mirror or family.
    """
    families = mirror(mirror_name).family_by_name
    return families[_known(family_name, families, f"family of {mirror_name}")]


def _known(name: str, names: Collection[str], what: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    shown = list(names)[:_SHOWN]
    more = f" and {len(names) - len(shown)} more; 'circuit-artifacts ls' shows all" if len(names) > len(shown) else ""
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There is: {', '.join(shown)}{more}"
    problem = f"no {what} is called {name!r}"
    raise UnknownNameError(problem, remedy=hint)
