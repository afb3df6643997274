"""Pictures and pages that a step draws: what from, what they are called, and what must be said of the numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.formats.reader import make_readers
from circuit_artifacts.jobs import Job

__all__ = ["Inputs", "Picture", "draw_missing"]

_LOGGER = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture or page.

    Attributes:
        name: relative to the root.
        families: what it is drawn from.
        draw: called with the path.
    """

    name: str
    families: tuple[str, ...]
    draw: Callable[[Path], None]


@dataclass(frozen=True)
class Inputs:
    """The families that are on this machine."""

    job: Job
    _records: dict[str, provenance.Provenance] = field(default_factory=dict)

    def has(self, *families: str) -> bool:
        """Whether all of these are."""
        return all(family in self.job.inputs for family in families)

    def rows(self, family: str, split: str = "train", *, without: Sequence[str] = ()) -> pa.Table:
        """All rows of a family."""
        (config,) = self.job.mirror.family_by_name[family].configs
        reader, found = make_readers(self.job.mirror, config)[split], self.job.input_files(family)
        tables = [
            table.drop_columns([name for name in without if name in table.column_names])
            for shard in reader.shards(found)
            for table in reader.tables(found, shard)
        ]
        return pa.concat_tables(tables) if tables else reader.schema(found).empty_table()

    def record(self, families: tuple[str, ...]) -> provenance.Provenance:
        """How a picture of these families is made."""
        for family in families:
            if family not in self._records:  # a family is hashed once, whatever is drawn from it
                self._records[family] = self.job.record([self.job.input_files(family)])
        first, *others = (self._records[family] for family in families)
        inputs = {name: digest for record in (first, *others) for name, digest in record.inputs.items()}
        earlier = self._earlier(families)
        model = earlier.model if earlier is not None else None
        return first.model_copy(update={"inputs": dict(sorted(inputs.items())), "model": model})

    def note(self, *families: str) -> str:
        """What must be said of the numbers: whose they are."""
        earlier = self._earlier(families)
        if earlier is None:
            return "drawn by circuit-artifacts from the published data"
        return f"regenerated with {(earlier.model or {}).get('id', 'another model')}; not the published data"

    def _earlier(self, families: Iterable[str]) -> provenance.Provenance | None:
        records = (provenance.read(self.job.input_files(family)) for family in families)
        return next((record for record in records if record is not None), None)


def draw_missing(inputs: Inputs, pictures: Iterable[Picture]) -> None:
    """Draw the pictures that are not there yet, below the folder that the published layout begins in.

    One that was drawn here from other files is drawn anew; a published one is left alone. One that cannot be drawn,
    since what it would show is not in its input, is passed over with a warning.
    """
    root = next(iter(inputs.job.outputs.values()))
    for picture in pictures:
        path, record = root / picture.name, inputs.record(picture.families)
        if path.exists():
            earlier = provenance.read(path)
            if earlier is None or (earlier.inputs, earlier.versions) == (record.inputs, record.versions):
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # First: without it, the picture would pass for published.
        provenance.write_sidecar(path, record)
        unfinished = path.with_name(f".{path.name}")  # its suffix is its format
        try:
            picture.draw(unfinished)
        except SchemaError as error:
            _LOGGER.warning("%s is not drawn: %s", picture.name, error)
            provenance.sidecar(path).unlink()
        else:
            unfinished.replace(path)
