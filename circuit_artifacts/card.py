"""The dataset card of a converted folder: the blocks that `datasets` and the Hub read, and what a reader must know.

Names of files and columns come from outside, so nothing reaches the text unescaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_artifacts import __version__, catalog
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.provenance import STATEMENT
from circuit_artifacts.schemas.declaration import Mirror

if TYPE_CHECKING:
    from datasets import DatasetInfo

    from circuit_artifacts.parquet import Converted

__all__ = ["write_card"]

Configs = Mapping[str, Sequence["Converted"]]

_SHOWN_COLUMNS = 30
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_FLOATS = "Integers of just two neighbouring values, which the viewer's statistics cannot count, are stored as float64"
_SEARCH = (
    "The viewer's search finds words of letters only: neither digits nor stop words such as `For`, `If` and `While`; "
    "use its filter for those."
)


def write_card(mirror: Mirror, converted: Iterable[Converted], out: Path, empty: Sequence[str] = ()) -> None:
    """Write ``<out>/README.md``.

    A card that already says the same is left alone. If any file was regenerated, the card says so first.

    Args:
        mirror: what was converted.
        converted: its files, those of one config together.
        out: the folder.
        empty: configs that were left out because they have no rows.
    """
    configs = {name: list(files) for name, files in groupby(converted, key=lambda file: file.config)}
    text = f"---\n{_front_matter(mirror, configs)}\n---\n\n{_body(mirror, configs, empty)}\n"
    path = out / "README.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _front_matter(mirror: Mirror, configs: Configs) -> str:
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    subject = ["interpretability", "mechanistic-interpretability"] if mirror.name in catalog.mirrors() else []
    data = DatasetCardData(
        language="en",
        license=mirror.license or None,
        pretty_name=mirror.title,
        size_categories=[_size_category(sum(file.rows for files in configs.values() for file in files))],
        tags=[*subject, "circuit-artifacts"],
        configs=[
            {
                "config_name": name,
                **({"default": True} if name == _default(mirror, configs) else {}),
                "data_files": [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in _by_split(files)],
            }
            for name, files in configs.items()
        ],
    )
    DatasetInfosDict({name: _info(name, files) for name, files in configs.items()}).to_dataset_card_data(data)
    return str(data.to_yaml())


def _info(name: str, files: Sequence[Converted]) -> DatasetInfo:
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    splits = [
        SplitInfo(
            split, num_bytes=sum(part.arrow_bytes for part in parts), num_examples=sum(part.rows for part in parts)
        )
        for split, parts in _by_split(files).items()
    ]
    return DatasetInfo(
        config_name=name,
        features=Features.from_arrow_schema(files[0].schema),
        splits=SplitDict((split.name, split) for split in splits),
        download_size=sum(file.path.stat().st_size for file in files),
        dataset_size=sum(split.num_bytes for split in splits),
    )


def _default(mirror: Mirror, configs: Configs) -> str:
    return mirror.default_config if mirror.default_config in configs else next(iter(configs))


def _by_split(files: Iterable[Converted]) -> dict[str, list[Converted]]:
    splits: dict[str, list[Converted]] = {}
    for file in files:
        splits.setdefault(file.split, []).append(file)
    return splits


def _size_category(rows: int) -> str:
    for exponent, size in enumerate(_SIZES, start=3):
        if rows < 10**exponent:
            return f"n<{size}" if exponent == 3 else f"{_SIZES[exponent - 4]}<n<{size}"
    return f"n>{_SIZES[-1]}"


def _body(mirror: Mirror, configs: Configs, empty: Sequence[str]) -> str:
    parts = [f"# {_plain(mirror.title)}", _origin(mirror, configs)]
    if mirror.homepage:
        parts.append(f"Homepage: {mirror.homepage}")
    parts += [
        _how_to_load(mirror, configs),
        "## Content",
        _contents(mirror, configs),
        *_remarks(mirror, configs, empty),
    ]
    parts += [_SEARCH, "## Source files", _sources(mirror, configs)]
    if mirror.citation:
        parts.append(f"## Citation\n\n```bibtex\n{mirror.citation}\n```")
    return "\n\n".join(parts)


def _origin(mirror: Mirror, configs: Configs) -> str:
    """What is published data, and what is not."""
    source = _plain(" / ".join(mirror.repositories) or mirror.name)
    published = f"Converted by circuit-artifacts {__version__} from {source}."
    regenerated = [name for name, files in configs.items() if any(file.regenerated for file in files)]
    if not regenerated:
        return published
    statement = f"{STATEMENT[0].upper()}{STATEMENT[1:]}"
    if len(regenerated) == len(configs):
        return f"**{statement}.** The layout is that of {source}."
    return f"**{statement}: {', '.join(map(_code, regenerated))}.** The rest: {published}"


def _how_to_load(mirror: Mirror, configs: Configs) -> str:
    name = _default(mirror, configs)
    call = f'load_dataset("user/repo", "{name}", split="{configs[name][0].split}")'
    return (
        f"```python\nfrom datasets import load_dataset\n\nrows = {call}\n```\n\n"
        "`user/repo` is this repository, or the path of a local copy. No other package is needed."
    )


def _contents(mirror: Mirror, configs: Configs) -> str:
    """A table with a row per family."""
    lines = ["| config | content | columns | rows |", "|---|---|---|---|"]
    for family in mirror.families:
        members = {config.name: configs[config.name] for config in family.configs if config.name in configs}
        if not members:
            continue
        pattern = family.name + "".join(f"_{axis}*" for axis in family.configs[0].setting)
        name = _code(pattern) + f" ({len(members)})" if len(members) > 1 else _code(next(iter(members)))
        files = [file for member in members.values() for file in member]
        rows = [f"{split}: {sum(file.rows for file in parts):,}" for split, parts in _by_split(files).items()]
        lines.append(f"| {name} | {_plain(family.summary)} | {_columns(files)} | {', '.join(rows)} |")
    return "\n".join(lines)


def _columns(files: Sequence[Converted]) -> str:
    """The columns, with a star at those that are not stored as the integers that they are."""
    floats = {name for file in files for name in file.floats}
    names = [_code(name) + r"\*" * (name in floats) for name in files[0].schema.names]
    more = [f"and {len(names) - _SHOWN_COLUMNS} more"] if len(names) > _SHOWN_COLUMNS else []
    return ", ".join(names[:_SHOWN_COLUMNS] + more)


def _remarks(mirror: Mirror, configs: Configs, empty: Sequence[str]) -> list[str]:
    """What differs from the source: types, and what is not there."""
    floats = [
        f"{_code(name)}: {', '.join(map(_code, files[0].floats))}" for name, files in configs.items() if files[0].floats
    ]
    absent = [_code(name) for name in empty] + [
        f"{_code(name)} {_code(split.name)}"
        for name, files in configs.items()
        for split in mirror.configs[name].family.splits
        if split.name not in _by_split(files)
    ]
    remarks = [rf"\* {_FLOATS}: {'; '.join(floats)}."] if floats else []
    return remarks + ([f"Left out, because there are no rows: {', '.join(absent)}."] if absent else [])


def _sources(mirror: Mirror, configs: Configs) -> str:
    digests = {mirror.configs[name].file: files[0].source for name, files in configs.items()}
    lines = [f"| {_code(file)} | {_code(digest)} |" for file, digest in digests.items()]
    return "\n".join(["| file | content |", "|---|---|", *lines])


def _code(text: str) -> str:
    """Text as code, in a table too."""
    if re.fullmatch(r"[\w .:/*+=-]+", text):
        return f"`{text}`"
    return f"<code>{_plain(text)}</code>"


def _plain(text: str) -> str:
    """Text in which nothing is markup or ends a line."""
    words = " ".join(text.split())
    return "".join(c if c.isalnum() or c in " .,:;/()'-" else f"&#{ord(c)};" for c in words)
