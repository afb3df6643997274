"""`load_dataset("circuit-hdf5", data_files=...)`: any HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from circuit_artifacts.builders import data_files
from circuit_artifacts.builders.errors import ShowsOwnErrors
from circuit_artifacts.builders.features import features_of
from circuit_artifacts.formats.hdf5.layouts import Attrs, Layout, Plan, schema_of, shards_of

__all__ = ["HDF5", "HDF5Config"]


@dataclass
class HDF5Config(datasets.BuilderConfig):
    """Options; explained in docs/circuit-hdf5.md.

    Attributes:
        layout: "auto", "rows", "stack", "records" or "leaves".
        select: a pattern of paths, such as "pair_masks/layer_{layer:int}/{ast}__{builtin}".
        attrs: "none", "columns" or "json".
        features: what the columns are cast to; None takes what the files hold.
    """

    layout: Layout = "auto"
    select: str | None = None
    attrs: Attrs = "none"
    features: datasets.Features | None = None


class HDF5(ShowsOwnErrors, datasets.ArrowBasedBuilder):
    """Rows of HDF5 files, in the layout that fits them all."""

    BUILDER_CONFIG_CLASS = HDF5Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **data_files.resolved(kwargs, has_own_files=bool(self.BUILDER_CONFIGS)))

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self.config.features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        del dl_manager  # knows less about where files are than `remote` (hub_and_viewer spec 2.1)
        plans = data_files.plan_splits(self.config, token=self.token)
        if self.info.features is None:
            everything = [plan for of_split in plans.values() for plan in of_split]
            self.info.features = features_of(schema_of(everything))
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"plans": tuple(of_split), "shards": shards_of(of_split)})
            for split, of_split in plans.items()
        ]

    def _generate_tables(
        self, plans: tuple[Plan, ...], shards: list[tuple[int, int, int]]
    ) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for plan, start, stop in shards:
            tables = plans[plan].tables(start, stop, self.info.features.arrow_schema)
            for number, table in enumerate(tables):
                yield (plan, start + number), table

    def _as_dataset(self, split: Any = datasets.Split.TRAIN, **kwargs: Any) -> datasets.Dataset:
        known = self.info.splits.get(str(split))
        if known is None or known.num_examples:
            return super()._as_dataset(split, **kwargs)
        # Files may hold no rows, of which `datasets` says that they "correspond to no data".
        table = datasets.table.InMemoryTable(self.info.features.arrow_schema.empty_table())
        return datasets.Dataset(table, info=self.info, split=split, fingerprint=self._get_dataset_fingerprint(split))
