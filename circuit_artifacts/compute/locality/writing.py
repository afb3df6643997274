"""Files of a run, each with its provenance beside it; equal content gives equal bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.provenance import Provenance, derived_file
from circuit_artifacts.sae_locality.json_files import json_text

__all__ = ["write_arrays", "write_json", "write_table", "write_tensor"]


def write_table(path: Path, table: pd.DataFrame, record: Provenance) -> None:
    r"""Write a CSV file as pandas does, with ``\n`` at line ends; NaN and None become empty cells.

    All texts are quoted if one holds a carriage return, which readers would take for the end of a line.
    """
    texts = table.select_dtypes(exclude="number")
    has_returns = any(texts[name].astype(str).str.contains("\r", regex=False).any() for name in texts)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
    with derived_file(path, record) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)


def write_json(path: Path, content: Mapping[str, Any], record: Provenance) -> None:
    """Write a JSON file, indented; NaN becomes null, and nothing that names the machine gets in."""
    plain = json.loads(json_text(content))
    with derived_file(path, record) as temporary:
        temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def write_tensor(path: Path, array: npt.NDArray[Any], record: Provenance) -> None:
    """Write an array as one torch tensor of the same dtype."""
    import torch

    content = io.BytesIO()  # written to a path, the file would hold its name
    torch.save(torch.tensor(array), content)
    with derived_file(path, record) as temporary:
        temporary.write_bytes(content.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], record: Provenance) -> None:
    """Write an ``.npz`` archive, not compressed."""
    content: dict[str, Any] = dict(arrays)
    with derived_file(path, record) as temporary, temporary.open("wb") as stream:  # given a name, numpy adds a suffix
        np.savez(stream, **content)
