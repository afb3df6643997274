"""The folder of one run: made once, taken up again after a kill, and told from a finished one."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circuit_artifacts.atomic import atomic_path

__all__ = ["run_folder"]

_SETTINGS = ".unfinished.json"
_TIMESTAMP = "%Y%m%d_%H%M%S"


@contextmanager
def run_folder(
    parent: Path, settings: Mapping[str, Any], *, timestamp: str | None = None, variant: str = ""
) -> Iterator[Path]:
    """The folder ``<timestamp>[_<variant>]`` of a run for the time of the block, which is the time of the work.

    A run of the same settings that was interrupted is taken up; its folder holds a hidden file until it is finished.

    Args:
        parent: folder of the strand's runs.
        settings: everything that the run's content depends on.
        timestamp: ``YYYYMMDD_HHMMSS``; None is now. A folder that exists is never used: the next free second is.
        variant: of the run.
    """
    text = json.dumps(settings, sort_keys=True, indent=2, default=str)
    folder = next((path.parent for path in sorted(parent.glob(f"*/{_SETTINGS}")) if path.read_text() == text), None)
    if folder is None:
        folder = _free_folder(parent, timestamp, variant)
        with atomic_path(folder / _SETTINGS) as temporary:
            temporary.write_text(text)
    yield folder
    (folder / _SETTINGS).unlink()


def timestamp_of(folder: Path) -> str:
    """The timestamp in a run folder's name."""
    found = re.match(r"\d{8}_\d{6}", folder.name)
    assert found is not None
    return found[0]


def _free_folder(parent: Path, timestamp: str | None, variant: str) -> Path:
    moment = datetime.datetime.strptime(timestamp, _TIMESTAMP) if timestamp else datetime.datetime.now()
    while True:
        folder = parent / "_".join(part for part in (moment.strftime(_TIMESTAMP), variant) if part)
        if not folder.exists():
            folder.mkdir(parents=True)
            return folder
        moment += datetime.timedelta(seconds=1)
