"""A folder as it would be uploaded: without a fault until a test breaks it in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from circuit_artifacts.validation import Finding
from circuit_artifacts.viewer import check_viewer

__all__ = ["FILE", "PATTERN", "Upload", "config", "rows_with", "sound"]

FILE, PATTERN = "masks/train-00000-of-00001.parquet", "masks/train-*.parquet"


class Upload:
    """One config called masks with the split train, and its card."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card: dict[str, Any] = {"language": "en", "configs": [config("masks", train=PATTERN)]}
        self.write(sound())
        self.write_card()

    def write(self, table: pa.Table, name: str = FILE, **options: Any) -> Path:
        """Write a parquet file as the viewer wants it, but for some options."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"use_content_defined_chunking": "true", **(table.schema.metadata or {})}
        defaults = {"write_page_index": True, "use_content_defined_chunking": True}
        pq.write_table(table.replace_schema_metadata(metadata), path, **defaults | options)
        return path

    def write_card(self, **changes: Any) -> None:
        """Write the card with some of its blocks changed, for good."""
        self.card.update(changes)
        self.write_front_matter(DatasetCardData(**self.card).to_yaml())

    def write_front_matter(self, text: str) -> None:
        """Write a card with any text for a front matter."""
        (self.folder / "README.md").write_text(f"---\n{text}\n---\n\n# Masks\n", encoding="utf-8")

    def declare(self, features: Features | None, splits: dict[str, int], name: str = "masks") -> None:
        """Write a card with `dataset_info:`."""
        sizes = [SplitInfo(split, num_bytes=1, num_examples=rows) for split, rows in splits.items()]
        info = DatasetInfo(config_name=name, features=features, splits=SplitDict((size.name, size) for size in sizes))
        data = DatasetCardData()
        DatasetInfosDict({name: info}).to_dataset_card_data(data)
        self.write_card(dataset_info=data.dataset_info)

    def findings(self) -> list[Finding]:
        return list(check_viewer(self.folder))

    def finding(self) -> Finding:
        """The only one."""
        (finding,) = self.findings()
        return finding

    def places(self) -> list[tuple[str, str, str, str]]:
        """Level, rule, file and place of every finding."""
        return [(finding.level, finding.rule, finding.file, finding.where) for finding in self.findings()]


def config(name: str, /, **patterns: Any) -> dict[str, Any]:
    """An entry of `configs:` with patterns by split."""
    return {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in patterns.items()]}


def sound(rows: int = 20) -> pa.Table:
    """A table with which every part of the viewer can do something."""
    return pa.table(
        {
            "concept": [f"concept {index % 7}" for index in range(rows)],
            "layer": pa.array([index % 8 for index in range(rows)], pa.int32()),
            "score": [index / 3 for index in range(rows)],
            "kept": [index % 2 == 0 for index in range(rows)],
            "active": pa.array([list(range(index % 5)) for index in range(rows)], pa.list_(pa.uint16())),
        }
    )


def rows_with(x: Any, type_: pa.DataType | None = None) -> pa.Table:
    """The sound table with one more column, called x."""
    column = x if isinstance(x, (pa.Array, pa.ChunkedArray)) else pa.array(x, type_)
    return sound(len(column)).append_column("x", column)
