"""Rules on `dataset_info:`, which wins over what the files themselves say (hub_and_viewer spec 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from datasets import ClassLabel, DatasetInfo

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.viewer.front_matter import CARD_NAME
from circuit_artifacts.viewer.repository import Repository, Split
from circuit_artifacts.viewer.rule import Rule
from circuit_artifacts.viewer.types import is_text, storage_type, takes

__all__ = ["RULES", "SPLIT_RULES"]

_REMEDY = "Write `dataset_info:` from the files."


def _form(repository: Repository) -> Iterator[SchemaError]:
    for config, info in repository.infos.items():
        if isinstance(info, str):
            problem = f"`datasets` cannot read this entry: {info}"
            yield SchemaError(problem, file=CARD_NAME, where=f"dataset_info {config}", remedy=_REMEDY)


def _known_configs(repository: Repository) -> Iterator[SchemaError]:
    names = [config.config_name for config in repository.configs]
    for config in repository.infos:
        if config not in names:
            problem, remedy = "`configs:` has no such config", "Rename the entry, or remove it."
            yield SchemaError(problem, file=CARD_NAME, where=f"dataset_info {config}", remedy=remedy)


def _split_names(repository: Repository) -> Iterator[SchemaError]:
    for config, info in repository.infos.items():
        listed = list(dict.fromkeys(pattern.split for pattern in repository.patterns if pattern.config == config))
        declared = list(info.splits or ()) if isinstance(info, DatasetInfo) else []
        if declared and listed and set(declared) != set(listed):
            problem, where = "the declared splits are not those of `configs:`", f"dataset_info {config}"
            found, expected = ", ".join(declared), ", ".join(listed)
            yield SchemaError(problem, file=CARD_NAME, where=where, found=found, expected=expected, remedy=_REMEDY)


def _rows(split: Split) -> Iterator[SchemaError]:
    declared = (split.info.splits or {}).get(split.name) if split.info is not None else None
    if declared is not None and declared.num_examples is not None and declared.num_examples != split.rows:
        problem, found, expected = "the declared number of rows is wrong", declared.num_examples, split.rows
        yield SchemaError(
            problem,
            file=CARD_NAME,
            where=f"{split.config} {split.name}",
            found=found,
            expected=expected,
            remedy=_REMEDY,
        )


def _columns(split: Split) -> Iterator[SchemaError]:
    if split.info is None or not split.info.features:
        return
    for name, footer in split.footers.items():
        missing = [column for column in split.info.features if column not in footer.schema.names]
        undeclared = [column for column in footer.schema.names if column not in split.info.features]
        if missing or undeclared:
            problem = "the declared columns are not those of the file"
            expected = ", ".join(missing) if missing else "nothing more"
            found = ", ".join(undeclared) if undeclared else "nothing else"
            yield SchemaError(problem, file=name, found=found, expected=expected, remedy=_REMEDY)


def _types(split: Split) -> Iterator[SchemaError]:
    if split.info is None or not split.info.features:
        return
    declared = split.info.features.arrow_schema
    for name, footer in split.footers.items():
        for field in footer.schema:
            wanted = storage_type(declared.field(field.name).type) if field.name in declared.names else field.type
            is_label = isinstance(split.info.features.get(field.name), ClassLabel)
            if not takes(wanted, storage_type(field.type)) and not (is_label and is_text(field.type)):
                problem = "the declared type does not take the values of the file"
                yield SchemaError(
                    problem, file=name, where=field.name, found=field.type, expected=wanted, remedy=_REMEDY
                )


def _labels(split: Split) -> Iterator[SchemaError]:
    for name, feature in split.features.items():
        type_ = split.schema.field(name).type if name in split.schema.names else pa.null()
        if isinstance(feature, ClassLabel) and is_text(type_):
            problem = "labels are declared over a column of text"
            remedy = "Store the numbers of the labels, or declare `string`."
            yield SchemaError(problem, file=split.place, where=name, found=type_, expected="int64", remedy=remedy)


RULES: tuple[Rule[Repository], ...] = (
    Rule("error", "dataset_info", "it refuses the whole card", _form),
    Rule("note", "dataset_info of no config", "the viewer passes it over", _known_configs),
    Rule("error", "declared splits", "the viewer lists splits that it cannot fill", _split_names),
)
SPLIT_RULES: tuple[Rule[Split], ...] = (
    Rule("error", "declared rows", "`datasets` refuses to load the config", _rows),
    Rule("error", "declared columns", "preview and rows fail", _columns),
    Rule("error", "declared types", "preview and rows fail", _types),
    Rule("error", "labels over text", "the statistics of the split fail", _labels),
)
