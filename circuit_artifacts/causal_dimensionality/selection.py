"""Which files of the repository a config is read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from circuit_artifacts.causal_dimensionality.paths import Place, classify
from circuit_artifacts.schemas import causal_dimensionality as rows
from circuit_artifacts.schemas.causal_agreement import AgreementItem
from circuit_artifacts.schemas.causal_dimensionality_mirror import HOOKS
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Config

__all__ = ["files_of", "select"]

_KINDS: Mapping[type[ArtifactModel], str] = MappingProxyType(
    {
        rows.SaeInventory: "dictionary",
        rows.SaeFeature: "dictionary",
        rows.Result: "result",
        rows.Figure: "figure",
        rows.Log: "log",
        AgreementItem: "agreement",
    }
)


def select(config: Config, names: Iterable[str]) -> set[str]:
    """The files that hold rows of a config.

    Args:
        config: of this mirror.
        names: paths of all files of the repository.
    """
    return {name for split in config.family.splits for name in files_of(split.row, names, **config.setting)}


def files_of(row: type[ArtifactModel], names: Iterable[str], **wanted: Any) -> list[str]:
    """The files that hold some kind of rows: dictionaries in the order of a forward pass, others by path.

    Args:
        row: the row model.
        names: paths of all files of the repository.
        wanted: what their paths must say: attributes of `paths.Place`.

    Returns:
        Of dictionaries, one file per site: where there are several, ``ae.pt`` before its twin in safetensors.
    """
    places = [
        place
        for place in map(classify, sorted(set(names)))
        if place.kind == _KINDS[row] and all(getattr(place, name) == value for name, value in wanted.items())
    ]
    if _KINDS[row] == "dictionary":
        of_site: dict[str | None, Place] = {}
        for place in sorted(places, key=lambda place: (not place.path.endswith(".pt"), place.path)):
            of_site.setdefault(place.site, place)
        places = sorted(of_site.values(), key=_depth)
    return [place.path for place in places]


def _depth(place: Place) -> tuple[int, int]:
    """How late in a forward pass a site comes."""
    order = ("embed", *HOOKS)
    return -1 if place.layer is None else place.layer, order.index(place.hook or "embed")
