"""The dataset card of a converted folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.provenance import STATEMENT
from circuit_artifacts.schemas.declaration import Mirror

if TYPE_CHECKING:
    from datasets import DatasetInfo

    from circuit_artifacts.parquet import Converted

__all__ = ["write_card"]


def write_card(mirror: Mirror, converted: Sequence[Converted], out: Path) -> None:
    """Write ``<out>/README.md``: the `configs:` and `dataset_info:` blocks that stock `datasets` reads, and a table.

    A card that already says the same is left alone. If any file was regenerated, the card says so first.

    Args:
        mirror: what was converted.
        converted: its files.
        out: the folder.
    """
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    configs: dict[str, list[Converted]] = {}
    for file in converted:
        configs.setdefault(file.config, []).append(file)
    data = DatasetCardData(
        language="en",
        license=mirror.license,
        pretty_name=mirror.title,
        configs=[
            {
                "config_name": name,
                **({"default": True} if name == mirror.default_config else {}),
                "data_files": [{"split": file.split, "path": f"{name}/{file.split}-*.parquet"} for file in files],
            }
            for name, files in configs.items()
        ],
    )
    DatasetInfosDict({name: _info(name, files) for name, files in configs.items()}).to_dataset_card_data(data)
    text = f"---\n{data.to_yaml()}\n---\n\n{_body(mirror, configs)}\n"
    path = out / "README.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _info(name: str, files: Sequence[Converted]) -> DatasetInfo:
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    sizes = {file.split: file.path.stat().st_size for file in files}
    splits = [SplitInfo(file.split, num_bytes=sizes[file.split], num_examples=file.rows) for file in files]
    return DatasetInfo(
        config_name=name,
        features=Features.from_arrow_schema(files[0].schema),
        splits=SplitDict((split.name, split) for split in splits),
        download_size=sum(sizes.values()),
        dataset_size=sum(sizes.values()),
    )


def _body(mirror: Mirror, configs: dict[str, list[Converted]]) -> str:
    rows = [
        # A bar in a summary would end its cell.
        f"| `{name}` | {mirror.configs[name].family.summary.replace('|', '&#124;')} "
        f"| {', '.join(f'{file.split}: {file.rows:,}' for file in files)} |"
        for name, files in configs.items()
    ]
    parts = [f"# {mirror.title}", _origin(mirror, configs)]
    if mirror.homepage:
        parts.append(f"Homepage: {mirror.homepage}")
    parts.append("\n".join(["| config | content | rows |", "|---|---|---|", *rows]))
    if mirror.citation:
        parts.append(f"## Citation\n\n```bibtex\n{mirror.citation}\n```")
    return "\n\n".join(parts)


def _origin(mirror: Mirror, configs: dict[str, list[Converted]]) -> str:
    """What is published data, and what is not."""
    published = f"Converted by circuit-artifacts from {' / '.join(mirror.repositories) or mirror.name}."
    regenerated = [name for name, files in configs.items() if any(file.regenerated for file in files)]
    if not regenerated:
        return published
    statement = f"{STATEMENT[0].upper()}{STATEMENT[1:]}"
    if len(regenerated) == len(configs):
        return f"**{statement}.** The layout is that of {' / '.join(mirror.repositories) or mirror.name}."
    return f"**{statement}: {', '.join(f'`{name}`' for name in regenerated)}.** The rest: {published}"
