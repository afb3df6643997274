"""A folder as the viewer sees it: the configs of its card, the files their patterns match, and what is in these."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
from datasets import Audio, ClassLabel, DatasetInfo, Features, Image
from datasets.data_files import get_data_patterns, resolve_pattern
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circuit_artifacts.errors import FormatError
from circuit_artifacts.viewer.front_matter import read_front_matter
from circuit_artifacts.viewer.preview import MAX_ROWS, row_sizes
from circuit_artifacts.viewer.scan import Footer, Summary, first_rows, integer_leaves, read_footer, summarise

__all__ = ["MALFORMED", "PARQUET", "Config", "Pattern", "Repository", "Split"]

PARQUET = ".parquet"
# What the parsers of `datasets` raise for blocks that are not as they expect.
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


class DataFiles(BaseModel):
    """The files of one split, as a card names them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    split: str
    path: str | Annotated[list[str], Field(min_length=1)]


class Config(BaseModel):
    """One entry of `configs:`; the keys of builders are passed over."""

    model_config = ConfigDict(strict=True)

    config_name: str
    data_files: (
        str | Annotated[list[str], Field(min_length=1)] | Annotated[list[DataFiles], Field(min_length=1)] | None
    ) = None
    data_dir: str = ""
    default: bool = False


class Pattern(NamedTuple):
    """One pattern of data files.

    Attributes:
        config: the config it belongs to.
        split: the split.
        text: the pattern, from the folder on.
    """

    config: str
    split: str
    text: str

    @property
    def inside(self) -> bool:
        """Whether it stays in the folder, as far as its text tells."""
        path = PurePosixPath(self.text)
        foreign = any(mark in self.text for mark in ("://", "::", "\\"))
        return not path.is_absolute() and ".." not in path.parts and not foreign


class Content(NamedTuple):
    """What is read of a split: extremes of its integer leaves, summaries of other columns, JSON sizes of first rows."""

    integers: dict[str, Summary]
    summaries: dict[str, Summary]
    row_sizes: list[int]


@dataclass(frozen=True)
class Split:
    """One split whose files are parquet.

    Attributes:
        config: its config.
        name: its name.
        place: its patterns, which stand for its files in findings.
        files: its files by their names in the folder.
        info: what the card declares about its config.
    """

    config: str
    name: str
    place: str
    files: Mapping[str, Path]
    info: DatasetInfo | None

    @cached_property
    def footers(self) -> dict[str, Footer]:
        """The footer of every file that has one."""
        return {name: footer for name, footer in self._opened.items() if isinstance(footer, Footer)}

    @cached_property
    def faults(self) -> list[FormatError]:
        """Files that cannot be read; with any of them, nothing else can be said about the split."""
        faults = [fault for fault in self._opened.values() if isinstance(fault, FormatError)]
        if faults:
            return faults
        try:
            _ = self.content
        except UnicodeDecodeError as error:
            problem = f"a text is not UTF-8: {error}"
            return [FormatError(problem, file=self.place, remedy="Store the column as binary.")]
        except FormatError as error:
            error.file = next(name for name, path in self.files.items() if str(path) == error.file)
            return [error]
        return []

    @cached_property
    def content(self) -> Content:
        """What the data say; each file is read once."""
        footers = list(self.footers.values())
        linked = [name for name, feature in self.features.items() if isinstance(feature, (Audio, Image))]
        sizes = row_sizes(first_rows(footers, MAX_ROWS), linked=linked)
        return Content(integer_leaves(footers), summarise(footers), sizes)

    @property
    def rows(self) -> int:
        """The number of rows of all files."""
        return sum(footer.metadata.num_rows for footer in self.footers.values())

    @property
    def schema(self) -> pa.Schema:
        """The columns of the first file."""
        return next(iter(self.footers.values())).schema

    @cached_property
    def features(self) -> Features:
        """The types the viewer shows: declared ones win over those of the file. Empty if it knows none."""
        if self.info is not None and self.info.features:
            return self.info.features
        try:
            return Features.from_arrow_schema(self.schema)
        except MALFORMED:
            return Features()

    @cached_property
    def counted(self) -> dict[str, Summary]:
        """The columns of which the viewer makes histograms; labels are counted another way."""
        labels = {name for name, feature in self.features.items() if isinstance(feature, ClassLabel)}
        summaries = self.content.integers | self.content.summaries
        return {name: summaries[name] for name in self.schema.names if name in summaries and name not in labels}

    @cached_property
    def _opened(self) -> dict[str, Footer | FormatError]:
        return {name: _open(name, path) for name, path in self.files.items()}


@dataclass(frozen=True)
class Repository:
    """A folder as it would be uploaded.

    Attributes:
        folder: the folder.
    """

    folder: Path

    @cached_property
    def data(self) -> dict[str, Any]:
        """The front matter of the card.

        Raises:
            SourceError: there is no card.
            FormatError: it has no front matter that can be read.
        """
        return read_front_matter(self.folder)

    @cached_property
    def entries(self) -> list[Config | ValidationError]:
        """Every entry of `configs:`, or what is wrong with its form."""
        found = self.data.get("configs")
        return [_parsed(entry) for entry in found] if isinstance(found, list) else []

    @cached_property
    def configs(self) -> list[Config]:
        """The configs whose form is right."""
        return [entry for entry in self.entries if isinstance(entry, Config)]

    @cached_property
    def patterns(self) -> list[Pattern]:
        """All patterns in the order of the card, each once."""
        return list(dict.fromkeys(pattern for config in self.configs for pattern in self._patterns_of(config)))

    @cached_property
    def matches(self) -> dict[Pattern, dict[str, Path]]:
        """The files of every pattern that stays inside, by their names in the folder."""
        return {pattern: self._resolved(pattern) for pattern in self.patterns if pattern.inside}

    @cached_property
    def infos(self) -> dict[str, DatasetInfo | str]:
        """The entries of `dataset_info:` by config, or what is wrong with one."""
        found = self.data.get("dataset_info") or []
        entries = found if isinstance(found, list) else [found]
        return dict(map(_info, entries))

    @cached_property
    def splits(self) -> dict[str, list[Split]]:
        """The splits of each config that have parquet files inside the folder."""
        patterns: dict[tuple[str, str], list[Pattern]] = {}
        for pattern in self.matches:
            patterns.setdefault((pattern.config, pattern.split), []).append(pattern)
        splits: dict[str, list[Split]] = {}
        for (config, name), own in patterns.items():
            matched = {file: path for pattern in own for file, path in self.matches[pattern].items()}
            files = {file: path for file, path in matched.items() if path.suffix == PARQUET and self.holds(path)}
            if files:
                info = self.infos.get(config)
                place = ", ".join(pattern.text for pattern in own)
                split = Split(config, name, place, files, info if isinstance(info, DatasetInfo) else None)
                splits.setdefault(config, []).append(split)
        return splits

    def holds(self, path: Path) -> bool:
        """Whether a path is in the folder, and not a link out of it."""
        return path.resolve().is_relative_to(self.folder.resolve())

    def _patterns_of(self, config: Config) -> Iterator[Pattern]:
        base = PurePosixPath(config.data_dir)
        for split, texts in self._texts_of(config):
            for text in [texts] if isinstance(texts, str) else texts:
                yield Pattern(config.config_name, split, text if "://" in text else str(base / text))

    def _texts_of(self, config: Config) -> Iterator[tuple[str, str | list[str]]]:
        if config.data_files is None:  # `datasets` then goes by the names of the files
            if Pattern(config.config_name, "", config.data_dir).inside:
                with suppress(OSError, ValueError):
                    yield from get_data_patterns(glob.escape(str(self.folder.resolve() / config.data_dir))).items()
        elif isinstance(config.data_files, str):
            yield "train", config.data_files
        else:
            for item in config.data_files:
                yield ("train", item) if isinstance(item, str) else (item.split, item.path)

    def _resolved(self, pattern: Pattern) -> dict[str, Path]:
        try:
            found = resolve_pattern(pattern.text, base_path=glob.escape(str(self.folder.resolve())))
        except (OSError, ValueError):  # no such file, or no pattern, such as `a**`
            return {}
        root = self.folder.resolve()
        return {Path(name).relative_to(root).as_posix(): Path(name) for name in found}


def _parsed(entry: object) -> Config | ValidationError:
    try:
        return Config.model_validate(entry)
    except ValidationError as error:
        return error


def _info(entry: Any) -> tuple[str, DatasetInfo | str]:
    try:
        ((name, info),) = DatasetInfosDict.from_dataset_card_data(DatasetCardData(dataset_info=[entry])).items()
    except MALFORMED as error:
        name = entry.get("config_name", "default") if isinstance(entry, dict) else entry
        return str(name), f"{type(error).__name__}: {error}"
    return name, info


def _open(name: str, path: Path) -> Footer | FormatError:
    try:
        return read_footer(path)
    except FormatError as error:
        error.file = name
        return error
