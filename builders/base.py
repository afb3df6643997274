"""The builder behind every mirror: declarations in, splits of Arrow tables out.

Kept thin on purpose: `datasets` replaces `open`, `os` and `Path` inside any module that defines a builder, so files
are found, opened and read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import datasets
import pyarrow as pa

from circuit_artifacts import catalog
from circuit_artifacts.builders import locating
from circuit_artifacts.builders.errors import ShowsOwnErrors
from circuit_artifacts.builders.features import features_of
from circuit_artifacts.formats.reader import MaskFormat, Reader

__all__ = ["ArtifactBuilder", "ArtifactConfig", "artifact_configs"]


@dataclass
class ArtifactConfig(datasets.BuilderConfig):
    """Options of every mirror.

    Attributes:
        data_root: a folder in the published layout (`data_dir` means the same).
        mask_format: "indices" for sorted active dimensions, "dense" for boolean vectors.
        regenerate: whether steps that run a model may happen; None asks the environment.
        revision: Hub revision to pin.
    """

    data_root: str | None = None
    mask_format: MaskFormat = "indices"
    regenerate: bool | None = None
    revision: str | None = None


def artifact_configs(mirror: str, kind: type[ArtifactConfig] = ArtifactConfig) -> list[ArtifactConfig]:
    """One config per family and setting of a mirror, of the class that has its options."""
    return [
        kind(name=name, version=datasets.Version("1.0.0"), description=config.family.summary)
        for name, config in catalog.mirror(mirror).configs.items()
    ]


class ArtifactBuilder(ShowsOwnErrors, datasets.ArrowBasedBuilder):
    """Splits of one config of one mirror; a subclass names the mirror and its configs."""

    MIRROR: ClassVar[str]
    BUILDER_CONFIG_CLASS = ArtifactConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._given = args, kwargs
        self._set_up()

    def _set_up(self) -> None:
        args, kwargs = self._given
        # The source's fingerprint is part of the cache key: a changed file gives a new dataset, never stale rows.
        key = locating.cache_key(self.MIRROR, self.DEFAULT_CONFIG_NAME, kwargs)
        super().__init__(*args, **{**kwargs, "hash": key})
        self._splits_are_prepared = self.info.splits is not None
        if not self._splits_are_prepared:  # names are declared, so that asking for them needs no file
            self.info.splits = datasets.SplitDict.from_split_dict([{"name": name} for name in self._readers])

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """As in `datasets`; declared splits without sizes are no expectation to check against."""
        if locating.obtain(self.MIRROR, self.config, token=self.token):
            self._set_up()  # the key is that of the content, which is known now
        if not self._splits_are_prepared:
            self.info.splits, self._splits_are_prepared = None, True
        super().download_and_prepare(*args, **kwargs)

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        return locating.readers(self.MIRROR, self.config.name, self.config.mask_format)

    def _info(self) -> datasets.DatasetInfo:
        # Splits of one config may differ in columns; `datasets` has one place for features, which shows the first's.
        mirror = catalog.mirror(self.MIRROR)
        first = next(iter(self._readers.values()))
        return datasets.DatasetInfo(
            description=f"{mirror.title}: {self.config.description}",
            features=features_of(first.schema(None)),
            homepage=mirror.homepage,
            license=mirror.license,
            citation=mirror.citation,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        streaming = bool(getattr(dl_manager, "is_streaming", False))
        file: Any = locating.locate(self.MIRROR, self.config, self._readers, token=self.token, streaming=streaming)
        self._schemas = {name: reader.schema(file) for name, reader in self._readers.items()}
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"split": name, "file": file, "shards": reader.shards(file)})
            for name, reader in self._readers.items()
        ]

    def _generate_tables(self, split: str, file: Any, shards: list[int]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for shard in shards:
            for number, table in enumerate(locating.tables(self._readers[split], file, shard)):
                yield (shard, number), table

    # Each split under its own features.

    @contextmanager
    def _features(self, features: datasets.Features | None) -> Iterator[None]:
        declared, self.info.features = self.info.features, features
        try:
            yield
        finally:
            self.info.features = declared

    def _prepare_split(self, split_generator: datasets.SplitGenerator, *args: Any, **kwargs: Any) -> None:
        schema = self._schemas[split_generator.name]
        with self._features(features_of(schema)):
            super()._prepare_split(split_generator, *args, **kwargs)

    def _as_dataset(self, *args: Any, **kwargs: Any) -> datasets.Dataset:
        with self._features(None):  # the prepared file knows its own
            return super()._as_dataset(*args, **kwargs)

    def _build_single_dataset(self, split: Any, *args: Any, **kwargs: Any) -> datasets.Dataset:
        prepared = (self.info.splits or {}).get(str(split))
        if prepared is not None and prepared.num_examples == 0:  # of which `datasets` would say that it does not exist
            schema = self._readers[str(split)].schema(None)
            return datasets.Dataset(
                schema.empty_table(), info=datasets.DatasetInfo(features=features_of(schema)), split=split
            )
        return super()._build_single_dataset(split, *args, **kwargs)

    def _as_streaming_dataset_single(self, splits_generator: datasets.SplitGenerator) -> datasets.IterableDataset:
        schema = self._schemas[splits_generator.name]
        with self._features(features_of(schema)):
            return super()._as_streaming_dataset_single(splits_generator)
