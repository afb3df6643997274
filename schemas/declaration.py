"""What a mirror declares: its families of files, what rows they give, and how each can be made.

Listing, building, validating, converting, regenerating and documenting all read these declarations. Functions are
named by import strings ("module:function"), so that declaring imports nothing heavy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from circuit_artifacts.schemas.common import ArtifactModel

__all__ = ["Config", "Family", "Mirror", "Split", "Step", "import_string"]

Setting = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a family.

    Attributes:
        name: split name in `datasets`.
        row: the row model; its fields are the columns.
        leaves: for HDF5, value column -> path pattern, for example
            ``{"active": "pair_masks/layer_{layer}/{ast_node}__{builtin_obj}"}``. The braces of the last part capture
            columns from the key, split at its first ``__``.
        key: column that holds the whole key, if there is one.
        headers: for CSV, column -> header in the file, where they differ.
    """

    name: str
    row: type[ArtifactModel]
    leaves: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of artifact file.

    Attributes:
        name: also the config name, without the setting.
        summary: one line for listings and cards.
        file: file name, with the setting's fields in braces; of several files, a pattern for people to read.
        select: "module:function" that picks the files of a config from the paths of all files of a place, where they
            cannot be named in advance; called with the config, the paths and the mirror's options.
        is_inventory: the rows are about all files of a place; `select` names those that are read for it.
        reader: "module:function" that gives a `circuit_artifacts.formats.reader.Reader` for a split.
        splits: what rows the file holds.
        settings: the grid of settings the family exists for; empty for a single one.
        suffix: how a setting's axis and value are written in a config's name.
        by_name: regenerated only when it is named, because its content is that of other families.
        optional: the publisher may not have released it; a validator does not ask for it.
        loadable: False for files that are only an input of a step.
        telling: pattern of the files by which a folder is known to be in the mirror's layout; None if others have files
            of such names too.
        attributes: for HDF5, axis of the setting -> the names its attribute on ``/metadata`` may have.
    """

    name: str
    summary: str
    file: str
    reader: str
    splits: tuple[Split, ...]
    settings: tuple[Setting, ...] = ()
    suffix: str = "_{axis}{value}"
    select: str | None = None
    is_inventory: bool = False
    by_name: bool = False
    optional: bool = False
    loadable: bool = True
    telling: str | None = ".*"
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """One config per setting, in grid order."""
        return tuple(Config(family=self, setting=setting) for setting in self.settings or ({},))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A family at one setting: what `load_dataset(mirror, config)` names."""

    family: Family
    setting: Setting

    @property
    def name(self) -> str:
        """For example ``masks_eps0.5_cons0.8``: Python's default float text, as in the published file names."""
        suffixes = (self.family.suffix.format(axis=axis, value=value) for axis, value in self.setting.items())
        return "".join((self.family.name, *suffixes))

    @property
    def file(self) -> str:
        """The file name in the published layout."""
        return self.family.file.format(**self.setting)

    def select(self, names: Sequence[str], options: Mapping[str, Any]) -> tuple[str, ...]:
        """Of the paths of all files of a place, those of this config, sorted.

        Raises:
            UnknownNameError: an option names what is not there, such as a run.
        """
        assert self.family.select is not None
        return tuple(sorted(import_string(self.family.select)(self, names, **options)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """How families are made from others.

    Attributes:
        name: shown in plans and provenance.
        makes: names of families.
        needs: names of families (the same setting, or all settings if the product has none) or of single configs.
        uses: likewise, what is taken as far as it is on this machine; a step that needs nothing needs one of them.
        function: "module:function", called with a `circuit_artifacts.jobs.Job`.
        model: whether it runs a language model, so that it happens on demand only.
    """

    name: str
    makes: tuple[str, ...]
    needs: tuple[str, ...]
    uses: tuple[str, ...] = ()
    function: str
    model: bool = False


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A published repository, or its counterpart regenerated from the bundled model.

    Attributes:
        name: the name in `load_dataset`.
        title: one line.
        repositories: Hub dataset repositories, in the order they are tried; empty for mini mirrors.
        environment: environment variables that may hold a local copy, beside ``$CIRCUIT_ARTIFACTS_ROOT/<name>``.
        bundled: folder under `circuit_artifacts/data` that ships files of this mirror.
        n_layers: layers of the published model.
        width: width of the published vectors.
        parameters: defaults for steps, such as the model id.
        options: what a loader can choose of files that are picked from a list, such as the run, and the defaults.
        validator: "module:function" that checks a folder as a whole.
        claims: "module:function" that gives what is published about the files, as `circuit_artifacts.claims.Claim`s.
    """

    name: str
    title: str
    families: tuple[Family, ...]
    steps: tuple[Step, ...] = ()
    repositories: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    bundled: str | None = None
    n_layers: int
    width: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    default_config: str
    validator: str | None = None
    claims: str | None = None
    homepage: str = ""
    license: str = ""
    citation: str = ""

    @cached_property
    def family_by_name(self) -> dict[str, Family]:
        """Families by name."""
        return {family.name: family for family in self.families}

    @cached_property
    def configs(self) -> dict[str, Config]:
        """Every loadable config by name, in declaration order."""
        return {c.name: c for family in self.families if family.loadable for c in family.configs}

    @cached_property
    def config_by_file(self) -> dict[str, Config]:
        """The config that stands for each file: the first that is declared with it."""
        found: dict[str, Config] = {}
        for family in self.families:
            for config in family.configs:
                found.setdefault(config.file, config)
        return found

    def steps_for(self, family: str) -> tuple[Step, ...]:
        """The steps that can make a family, in the order they should be tried."""
        return tuple(step for step in self.steps if family in step.makes)

    def needs(self, step: Step, config: Config) -> tuple[Config, ...]:
        """What a step needs to make one config: the same setting of a family, or all of them, or a named config."""
        return self._inputs(step.needs, config)

    def uses(self, step: Step, config: Config) -> tuple[Config, ...]:
        """What a step takes too, as far as it is there."""
        return self._inputs(step.uses, config)

    def _inputs(self, names: Sequence[str], config: Config) -> tuple[Config, ...]:
        configs: list[Config] = []
        for name in names:
            family = self.family_by_name.get(name)
            if family is None:
                configs.append(self.configs[name])
            elif family.settings and config.setting:
                configs.extend(c for c in family.configs if c.setting == config.setting)
            else:
                configs.extend(family.configs)
        return tuple(configs)


def import_string(target: str) -> Callable[..., Any]:
    """The object that "module:name" names."""
    module, _, name = target.partition(":")
    resolved: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return resolved
