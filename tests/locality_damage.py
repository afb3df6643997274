"""Ways to damage one file of an SAE-locality folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from locality_fixture import loaded

from circuit_artifacts.formats.npz import read_npz

__all__ = [
    "Damage",
    "arrays",
    "cell",
    "change_torch",
    "feature",
    "json_file",
    "rename_feature",
    "table",
    "truncate",
    "window",
]

Damage = Callable[[Path], None]


def change_torch(edit: Callable[[Any], Any]) -> Damage:
    def damage(path: Path) -> None:
        content = loaded(path)
        edit(content)
        torch.save(content, path)

    return damage


def window(number: int, **values: Any) -> Damage:
    return change_torch(lambda content: content["batch_results"][number].update(values))


def feature(edit: Callable[[dict[str, Any], int], object]) -> Damage:
    """Change the first feature of the first window of a depth file."""

    def change(content: Any) -> None:
        entry = content["batch_results"][0]
        edit(entry, min(entry["feature_entropies"]))

    return change_torch(change)


def rename_feature(entry: dict[str, Any], fid: int) -> None:
    for name in ("feature_entropies", "feature_influences", "feature_activations"):
        entry[name][1024] = entry[name].pop(fid)


def table(edit: Callable[[pd.DataFrame], object]) -> Damage:
    def damage(path: Path) -> None:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        changed = edit(frame)
        (changed if isinstance(changed, pd.DataFrame) else frame).to_csv(path, index=False)

    return damage


def cell(row: int, column: str, value: str) -> Damage:
    return table(lambda frame: frame.__setitem__(column, frame[column].where(frame.index != row, value)))


def arrays(edit: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    def damage(path: Path) -> None:
        content = read_npz(path)
        edit(content)
        np.savez(path, **content)

    return damage


def json_file(edit: Callable[[Any], object]) -> Damage:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
