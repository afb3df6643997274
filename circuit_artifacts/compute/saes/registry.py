"""Autoencoders by the names that the SAELens library gives them: ``sae_lens:RELEASE/ID``.

The library knows each as a folder of a Hub repository, from a table that it brings along. That table alone is read:
importing the library would take seconds and load half of what it can do.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BeforeValidator, ValidationError

from circuit_artifacts.compute.saes.description import Normalization, TrainingFacts
from circuit_artifacts.compute.saes.stored import SaeConfig
from circuit_artifacts.errors import FormatError, MissingExtraError, UnknownNameError

__all__ = ["SCHEME", "Registered", "look_up"]

SCHEME: Final = "sae_lens:"

_PACKAGE: Final = "sae_lens"
_TABLE: Final = "pretrained_saes.yaml"
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the table says of an autoencoder.

    Attributes:
        repository: on the Hub.
        path: the folder or file in it.
        normalization: where the table corrects what the autoencoder's own configuration says.
        activation_scale: the factor of inputs, where the table holds it.
    """

    repository: str
    path: str
    normalization: Normalization | None = None
    activation_scale: float | None = None

    def completed(self, trained: TrainingFacts) -> TrainingFacts:
        """What the files say of training, with what the table adds."""
        if self.normalization is not None:
            trained = replace(trained, normalization=self.normalization, activation_scale=None)
        if trained.normalization == "expected_average_only_in" and trained.activation_scale is None:
            trained = replace(trained, activation_scale=self.activation_scale)
        return trained


class _Entry(SaeConfig):
    id: str
    path: Annotated[str, BeforeValidator(str)]  # YAML takes some for numbers
    norm_scaling_factor: float | None = None


class _Overrides(SaeConfig):
    normalize_activations: Normalization | None = None


class _Release(SaeConfig):
    repo_id: str
    saes: list[_Entry]
    config_overrides: _Overrides | None = None


def look_up(name: str) -> Registered:
    """Find ``RELEASE/ID`` in the table of the installed library; a release has no slash in its name, an ID may.

    Raises:
        MissingExtraError: the library is not installed.
        UnknownNameError: it knows no such release, or none of that ID in it.
        FormatError: the table has another form than the versions known here.
    """
    release, _, sae_id = name.partition("/")
    file = _table_file()
    table = _read(file)
    hint = "A repository of the Hub that has no such name is hf://user/repository/folder."
    _require_known(release, table, kind="release", remedy=hint)
    try:
        found = _Release.model_validate(table[release])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = "the table of SAELens has another form than in the versions known here"
        where = ".".join(map(str, (release, *first["loc"])))
        raise FormatError(problem, file=file.name, where=where, expected=first["msg"]) from error
    entries = {entry.id: entry for entry in found.saes}
    _require_known(sae_id, entries, kind=f"autoencoder in {release}")
    return Registered(
        repository=found.repo_id,
        path=entries[sae_id].path,
        normalization=found.config_overrides.normalize_activations if found.config_overrides else None,
        activation_scale=entries[sae_id].norm_scaling_factor,
    )


def _table_file() -> Path:
    spec = find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (file := Path(folder, _TABLE)).is_file():
            return file
    problem = f"references that begin with {SCHEME} need the table of the SAELens library, which is not installed"
    raise MissingExtraError(problem, remedy="pip install 'circuit-artifacts[sae-lens]'")


@functools.cache
def _read(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times faster, where there is one
    try:
        table = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both are safe
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = "the table of SAELens cannot be read"
        raise FormatError(problem, file=file.name, found=error, remedy="Install sae-lens again.") from error
    if not isinstance(table, dict):
        problem = "the table of SAELens has another form than in the versions known here"
        raise FormatError(problem, file=file.name, found=type(table).__name__, expected="releases by name")
    return table


def _require_known(name: str, known: Collection[str], *, kind: str, remedy: str | None = None) -> None:
    if name in known:
        return
    names = [str(item) for item in known]
    similar = difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.3) or names[:_SHOWN]
    problem = f"SAELens knows no such {kind}"
    expected = f"{', '.join(similar)}, or one of {len(names)} in all"
    raise UnknownNameError(problem, found=repr(name), expected=expected, remedy=remedy)
