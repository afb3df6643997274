"""Rules on the dataset card: its configs, their splits, and the files they name (hub_and_viewer spec 4.1)."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from datasets.naming import INVALID_WINDOWS_CHARACTERS_IN_PATH
from datasets.utils.metadata import MetadataConfigs
from pydantic import ValidationError

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.viewer.front_matter import CARD_NAME
from circuit_artifacts.viewer.repository import PARQUET, Config, Pattern, Repository
from circuit_artifacts.viewer.rule import Rule

__all__ = ["READABLE", "RULES"]

_MAX_SPLITS = 30
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_RESERVED_SPLIT = "all"
_NOT_FOR_ALL = {"not-for-all-audiences", "nsfw", "porn", "hentai", "inappropriate"}
_ORIGINALS = "raw"
# `datasets` has no reader for these; for HDF5 it has one, which cuts tables short and was switched off before.
_UNREADABLE_FORMATS = {".h5", ".hdf5", ".npy", ".npz", ".pkl", ".pt", ".pth", ".safetensors"}
_DATA_SUFFIXES = _UNREADABLE_FORMATS | {PARQUET, ".arrow", ".csv", ".jsonl", ".tsv"}


def _readable(repository: Repository) -> Iterable[SchemaError]:
    _ = repository.data  # raises what is wrong with it
    return ()


def _switched_off(repository: Repository) -> Iterator[SchemaError]:
    if repository.data.get("viewer") is False:
        problem = "the card switches the viewer off"
        yield SchemaError(problem, file=CARD_NAME, where="viewer", found="false", remedy="Remove the line.")


def _audience(repository: Repository) -> Iterator[SchemaError]:
    tags = repository.data.get("tags")
    for tag in tags if isinstance(tags, list) else [tags]:
        if isinstance(tag, str) and tag in _NOT_FOR_ALL:
            problem = "a tag says that this is not for all audiences"
            yield SchemaError(problem, file=CARD_NAME, where="tags", found=tag, remedy="Remove it if it is not true.")


def _configs(repository: Repository) -> Iterator[SchemaError]:
    found = repository.data.get("configs")
    if not isinstance(found, list) or not found:
        problem, remedy = "there is no list of configs", "Write one entry per config: `config_name` and `data_files`."
        yield SchemaError(
            problem, file=CARD_NAME, where="configs", found=type(found).__name__, expected="a list", remedy=remedy
        )
    for index, entry in enumerate(repository.entries):
        if isinstance(entry, ValidationError):
            first = entry.errors(include_url=False)[0]
            problem = f"this is not the form of a config: {first['msg']}"
            where = ".".join(map(str, ("configs", index, *first["loc"])))
            remedy = (
                "Write `config_name`, and `data_files` as a pattern, a list of them, or a list of `split` and `path`."
            )
            yield SchemaError(problem, file=CARD_NAME, where=where, remedy=remedy)


def _default(repository: Repository) -> Iterator[SchemaError]:
    configs = MetadataConfigs({config.config_name: {"default": config.default} for config in repository.configs})
    try:
        configs.get_default_config_name()
    except ValueError as error:
        yield SchemaError(str(error).rstrip("."), file=CARD_NAME, where="configs", remedy="Keep one `default: true`.")


def _config_names(repository: Repository) -> Iterator[SchemaError]:
    for name, count in Counter(config.config_name for config in repository.configs).items():
        if bad := sorted(set(name) & set(INVALID_WINDOWS_CHARACTERS_IN_PATH)):
            problem, expected = "this is no name for a config", f"none of {INVALID_WINDOWS_CHARACTERS_IN_PATH}"
            yield SchemaError(
                problem, file=CARD_NAME, where=name, found=" ".join(bad), expected=expected, remedy="Rename it."
            )
        if not name:
            problem = "a config has no name"
            yield SchemaError(problem, file=CARD_NAME, where="configs", found="''", remedy="Name it.")
        if count > 1:
            problem = "two configs have one name"
            yield SchemaError(problem, file=CARD_NAME, where=name, found=count, expected=1, remedy="Rename one.")


def _config_count(repository: Repository, most: int, remedy: str) -> Iterator[SchemaError]:
    if (count := len(repository.configs)) > most:
        problem, found, expected = "there are many configs", f"{count:,}", f"<= {most:,}"
        yield SchemaError(problem, file=CARD_NAME, where="configs", found=found, expected=expected, remedy=remedy)


def _splits(config: Config) -> list[str]:
    """The split names of a config, as often as they are written."""
    listed = config.data_files if isinstance(config.data_files, list) else []
    return [item.split for item in listed if not isinstance(item, str)]


def _split_names(repository: Repository) -> Iterator[SchemaError]:
    for config in repository.configs:
        for split, count in Counter(_splits(config)).items():
            where = f"{config.config_name} {split}"
            if not _SPLIT_NAME.fullmatch(split) or split == _RESERVED_SPLIT:
                problem = "this is no name for a split"
                expected = f"letters, digits, underscores and dots between them, and not {_RESERVED_SPLIT!r}"
                yield SchemaError(
                    problem, file=CARD_NAME, where=where, found=repr(split), expected=expected, remedy="Rename it."
                )
            if count > 1:
                problem, remedy = "a split is there twice", "List all its patterns under one `path`."
                yield SchemaError(problem, file=CARD_NAME, where=where, found=count, expected=1, remedy=remedy)


def _split_count(repository: Repository) -> Iterator[SchemaError]:
    for config in repository.configs:
        if (count := len(set(_splits(config)))) > _MAX_SPLITS:
            problem, remedy = "a config has too many splits", "Make configs of some of them."
            expected = f"<= {_MAX_SPLITS}"
            yield SchemaError(
                problem, file=CARD_NAME, where=config.config_name, found=count, expected=expected, remedy=remedy
            )


def _inside(repository: Repository) -> Iterator[SchemaError]:
    remedy = "Put the files into the folder, and name them from there."
    for pattern in repository.patterns:
        if not pattern.inside:
            problem = "this pattern leaves the folder"
            yield SchemaError(problem, file=CARD_NAME, where=_place(pattern), found=pattern.text, remedy=remedy)
    for pattern, files in repository.matches.items():
        for name, path in files.items():
            if not repository.holds(path):
                problem = "this file is a link out of the folder"
                yield SchemaError(problem, file=name, where=_place(pattern), found=path.resolve(), remedy=remedy)


def _patterns(repository: Repository) -> Iterator[SchemaError]:
    # Where a config lists no files, `datasets` tries several patterns; not all of them need to match.
    listed = {config.config_name for config in repository.configs if config.data_files is not None}
    for pattern, files in repository.matches.items():
        if not files and pattern.config in listed:
            problem, remedy = "this pattern matches no file", "Correct the pattern, or write the files."
            where, found, expected = _place(pattern), pattern.text, "at least one"
            yield SchemaError(problem, file=CARD_NAME, where=where, found=found, expected=expected, remedy=remedy)
    with_files = {pattern.config for pattern in repository.patterns}
    for name in dict.fromkeys(config.config_name for config in repository.configs):
        if name not in with_files:
            problem = "this config has no files"
            yield SchemaError(problem, file=CARD_NAME, where=name, remedy="Name its `data_files`.")


def _one_format(repository: Repository) -> Iterator[SchemaError]:
    names = dict.fromkeys(name for files in repository.matches.values() for name in files)
    formats = Counter(Path(name).suffix for name in names)
    if len(formats) > 1:
        problem = "the configs have files of several formats"
        found = ", ".join(f"{suffix or 'no suffix'}: {count}" for suffix, count in formats.most_common())
        remedy = "Convert all to parquet, or leave the others out of `configs:`, under raw/."
        yield SchemaError(problem, file=CARD_NAME, where="configs", found=found, expected="one", remedy=remedy)


def _formats(repository: Repository, *, readable: bool) -> Iterator[SchemaError]:
    for pattern, files in repository.matches.items():
        for suffix in sorted({Path(name).suffix for name in files} - {PARQUET}):
            if (suffix not in _UNREADABLE_FORMATS) == readable:
                problem, remedy = "these files are not parquet", "Convert them: `circuit-artifacts convert`."
                yield SchemaError(
                    problem, file=pattern.text, where=_place(pattern), found=suffix, expected=PARQUET, remedy=remedy
                )


def _strays(repository: Repository) -> Iterator[SchemaError]:
    named = {name for files in repository.matches.values() for name in files}
    for directory, folders, files in os.walk(repository.folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(directory, file).relative_to(repository.folder)
            is_data = path.suffix in _DATA_SUFFIXES and not file.startswith(".") and path.parts[0] != _ORIGINALS
            if is_data and path.as_posix() not in named:
                problem = "no config names this file"
                remedy = f"Add it to a config, or move it under {_ORIGINALS}/."
                yield SchemaError(problem, file=path.as_posix(), remedy=remedy)


def _language(repository: Repository) -> Iterator[SchemaError]:
    found = repository.data.get("language")
    languages = found if isinstance(found, list) else [found]
    if len(languages) != 1 or not languages[0]:
        problem, remedy = "the card does not declare one language", "Write `language: en`."
        yield SchemaError(problem, file=CARD_NAME, where="language", found=found, expected="one", remedy=remedy)


def _place(pattern: Pattern) -> str:
    return f"{pattern.config} {pattern.split}"


READABLE: Rule[Repository] = Rule("error", "card", "the viewer finds nothing without it", _readable)
RULES: tuple[Rule[Repository], ...] = (
    Rule("error", "viewer switched off", "the viewer then shows nothing", _switched_off),
    Rule("error", "audience", "the viewer shows no such dataset", _audience),
    Rule("error", "configs", "the viewer finds splits and files by this list", _configs),
    Rule("error", "default config", "`datasets` refuses the card", _default),
    Rule("error", "config name", "one bad name takes the whole page away", _config_names),
    Rule(
        "error",
        "config count",
        "the viewer gives up on the dataset",
        partial(_config_count, most=4_000, remedy="Merge configs."),
    ),
    Rule(
        "note",
        "more than ten configs",
        "the viewer leaves out a step that fills the page sooner",
        partial(_config_count, most=10, remedy="Nothing needs to be done."),
    ),
    Rule(
        "note",
        "more than a hundred configs",
        "the viewer's loading code and Croissant file stop there",
        partial(_config_count, most=100, remedy="Put the important ones first."),
    ),
    Rule("error", "split name", "one bad name takes the whole page away", _split_names),
    Rule("error", "split count", "the viewer gives up on the config", _split_count),
    Rule("error", "files inside", "the viewer refuses files from elsewhere", _inside),
    Rule("error", "patterns", "the config fails, and with it the loading code of the whole dataset", _patterns),
    Rule("error", "one format", "the viewer reads every config as it reads the first", _one_format),
    Rule("error", "format", "the viewer cannot be relied on to read them", partial(_formats, readable=False)),
    Rule(
        "note",
        "converted format",
        "the viewer converts their first 5 GB, and only parquet is checked here",
        partial(_formats, readable=True),
    ),
    Rule("note", "stray file", "the viewer passes it over", _strays),
    Rule("note", "language", "only then does the search find other forms of a word", _language),
)
