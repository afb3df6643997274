"""What the checks of a folder share: its files, what could be read of them, and how findings are made and limited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts import provenance
from circuit_artifacts.compute.csp.decomposition import Decomposition
from circuit_artifacts.compute.csp.layout import setting_in
from circuit_artifacts.compute.csp.parameters import StageParameters
from circuit_artifacts.errors import CircuitArtifactsError, SchemaError
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.schemas.csp_vocabulary import attempted_pairs, concept_key, pair_key
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.validation import Finding, limited

__all__ = ["Contents", "MaskFile", "PackedMasks", "Vocabulary", "error", "guarded", "limited", "note"]


@dataclass(frozen=True)
class Vocabulary:
    """The keys that a file may hold."""

    pairs: frozenset[str]
    concepts: frozenset[str]


@dataclass(frozen=True)
class PackedMasks:
    """The masks of one HDF5 group, eight dimensions per byte, so that nine files fit in memory.

    Attributes:
        keys: in ASCII order.
        bits: uint8 (key, layer, ceil(width / 8)).
        width: number of dimensions.
    """

    keys: list[str]
    bits: npt.NDArray[np.uint8]
    width: int

    @classmethod
    def of(cls, keys: list[str], masks: npt.NDArray[np.bool_]) -> PackedMasks:
        """Pack masks, bool (key, layer, width)."""
        return cls(keys, np.packbits(masks, axis=-1), masks.shape[-1])

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Unpacked, bool (key, layer, width)."""
        return np.unpackbits(self.bits, axis=-1, count=self.width).view(np.bool_)

    def common(self, other: PackedMasks) -> tuple[list[str], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The keys that both hold, and the bits of both in that order; nothing if their shapes differ."""
        if self.bits.shape[1:] != other.bits.shape[1:] or self.width != other.width:
            return [], self.bits[:0], self.bits[:0]
        keys = sorted(set(self.keys) & set(other.keys))
        return keys, self.bits[self._rows(keys)], other.bits[other._rows(keys)]

    def _rows(self, keys: Sequence[str]) -> npt.NDArray[np.intp]:
        index = {key: row for row, key in enumerate(self.keys)}
        return np.array([index[key] for key in keys], dtype=np.intp)


@dataclass(frozen=True)
class MaskFile:
    """What could be read of a mask file.

    Attributes:
        config: its config.
        attributes: of ``/metadata``.
        groups: sound groups by name; a group with a fault is absent.
        metrics: names of the datasets in ``/metrics``.
    """

    config: Config
    attributes: Mapping[str, Any]
    groups: Mapping[str, PackedMasks]
    metrics: tuple[str, ...] = ()

    @property
    def setting(self) -> tuple[float, float] | None:
        """Epsilon and consistency, by the file's name or else by its attributes."""
        if self.config.setting:
            return self.config.setting["eps"], self.config.setting["cons"]
        return setting_in(self.attributes)


@dataclass
class Contents:
    """A folder, and what the checks have read of it so far.

    Attributes:
        tables: readable CSV and parquet files, by config name.
        decompositions: targets and counts of readable ``14_target_checker_*.csv`` files, by config name.
        masks: readable mask files, by config name.
        prompts_per_group: number of prompts behind each key, by the family of the prompts.
    """

    folder: Path
    mirror: Mirror
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    decompositions: dict[str, tuple[list[str], Decomposition]] = field(default_factory=dict)
    masks: dict[str, MaskFile] = field(default_factory=dict)
    prompts_per_group: dict[str, dict[str, int]] = field(default_factory=dict)
    _records: dict[Path, provenance.Provenance | None] = field(default_factory=dict)

    @cached_property
    def configs(self) -> list[Config]:
        """One config per file that is here, in declaration order."""
        return [c for c in self.mirror.config_by_file.values() if self.path(c).exists()]

    @cached_property
    def published(self) -> bool:
        """Whether no file here was made by this package."""
        return not any(self.record(config) for config in self.configs)

    def configs_of(self, *families: str) -> list[Config]:
        """The configs of these families whose files are here."""
        return [config for config in self.configs if config.family.name in families]

    def path(self, config: Config) -> Path:
        """Where the file of a config would be."""
        return self.folder / config.file

    def record(self, config: Config) -> provenance.Provenance | None:
        """Provenance of a file; None also if it cannot be understood, which `check_inventory` reports."""
        path = self.path(config)
        if path not in self._records:
            try:
                self._records[path] = provenance.read(path)
            except SchemaError:
                self._records[path] = None
        return self._records[path]

    def shape(self, config: Config) -> Shape:
        """Layers and width by provenance, else those of the published data."""
        return Shape.recorded(self.record(config), self.mirror)

    def parameters(self, config: Config) -> StageParameters | None:
        """Parameters that a file was made with, the published ones if it has no provenance; None if not understood."""
        record = self.record(config)
        try:
            return StageParameters.of({**self.mirror.parameters, **(record.parameters if record else {})})
        except SchemaError:
            return None

    def vocabulary(self, config: Config) -> Vocabulary:
        """The keys that a file may hold."""
        parameters = self.parameters(config)
        pairs = attempted_pairs(parameters.mode if parameters else "full")
        return Vocabulary(
            frozenset(pair_key(*pair) for pair in pairs),
            frozenset(concept_key("ast", node) for node, _ in pairs)
            | frozenset(concept_key("builtin", builtin) for _, builtin in pairs),
        )


def error(rule: str, file: str, where: str, message: str) -> Finding:
    """A violated rule."""
    return Finding(level="error", rule=rule, file=file, where=where, message=message)


def note(rule: str, file: str, where: str, message: str) -> Finding:
    """Something remarkable."""
    return Finding(level="note", rule=rule, file=file, where=where, message=message)


def guarded(rule: str, file: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings of a check; an error that the check raises becomes its last one."""
    try:
        yield from findings
    except CircuitArtifactsError as fault:
        yield Finding.of(fault, rule, file)
