"""The dataset card of a converted folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import DatasetCard, DatasetCardData

from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.provenance import STATEMENT
from circuit_artifacts.schemas.declaration import Mirror

if TYPE_CHECKING:
    from circuit_artifacts.parquet import Converted

__all__ = ["write_card"]


def write_card(mirror: Mirror, converted: Sequence[Converted], out: Path, *, regenerated: bool) -> None:
    """Write ``<out>/README.md``: the `configs:` block that stock `datasets` and the viewer read, and a table.

    Args:
        mirror: what was converted.
        converted: its files.
        out: the folder.
        regenerated: whether any source was regenerated; the card then says so first.
    """
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
    origin = (
        f"**{STATEMENT[0].upper()}{STATEMENT[1:]}.**"
        if regenerated
        else f"Converted by circuit-artifacts from {' / '.join(mirror.repositories) or mirror.name}."
    )
    rows = [
        f"| `{name}` | {mirror.configs[name].family.summary} | {', '.join(f'{f.split}: {f.rows:,}' for f in files)} |"
        for name, files in configs.items()
    ]
    body = [f"# {mirror.title}", origin, "\n".join(["| config | content | rows |", "|---|---|---|", *rows])]
    if mirror.citation:
        body.append(f"```bibtex\n{mirror.citation}\n```")
    card = DatasetCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n")
    with atomic_path(out / "README.md") as temporary:
        temporary.write_text(str(card.content), encoding="utf-8")
