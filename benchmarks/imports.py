"""What importing the package costs (row 4 of the table)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Side, at_most, best_times

__all__ = ["run"]


def run(work: Path) -> Iterator[Row]:
    """Import times in fresh interpreters.

    Args:
        work: where the interpreters run.
    """
    sides = [_import(name, work) for name in ("circuit_artifacts", "numpy")]
    ours, numpy = best_times(*sides, rounds=9)
    yield Row(
        "import in a fresh interpreter",
        f"`import circuit_artifacts`: {ours:.3f} s",
        f"`import numpy`: {numpy:.3f} s",
        ours - numpy,
        "s more",
        at_most(0.15, "s more"),
    )


def _import(name: str, folder: Path) -> Side:
    command = [sys.executable, "-c", f"import {name}"]
    return Side(f"import {name}", lambda: subprocess.run(command, check=True, cwd=folder))
