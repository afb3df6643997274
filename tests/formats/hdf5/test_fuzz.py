"""Damaged files: rows or an error that names the file; no crash, no hang, no other error, nothing read from outside.

``CIRCUIT_ARTIFACTS_FUZZ=5000`` reads more files than a test run has time for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[2]
COUNT = int(os.environ.get("CIRCUIT_ARTIFACTS_FUZZ", "300"))


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    faults = []
    first = 0
    while first < COUNT:
        lines = read_in_a_child(tmp_path, first)
        for case, outcome in zip(lines[::2], lines[1::2], strict=False):
            outcomes.update(outcome)
            if not set(outcome) <= {"rows", "refused"}:
                faults.append((case, outcome))
        if len(lines) % 2:  # begun and not ended
            faults.append((lines[-1], ["a crash, or no end"]))
        assert lines, "the process could not begin"
        first += -(-len(lines) // 2)
    assert not faults
    assert outcomes.total() == 2 * COUNT
    assert min(outcomes["rows"], outcomes["refused"]) > COUNT / 5  # the damage is neither too little nor too much


def read_in_a_child(folder: Path, first: int) -> list[list[str]]:
    """What the process said, up to the end of all files or its own."""
    command = [sys.executable, "-m", "hdf5_zoo.damage", str(folder), str(first), str(COUNT)]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]
