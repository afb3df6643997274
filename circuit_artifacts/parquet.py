"""Conversion of a mirror, or of any local folder, to parquet that stock `datasets` and the viewer read.

Tables are streamed, so memory does not grow with the input. A config appears when it is complete, and is never
rewritten: a conversion that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_artifacts import provenance
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.card import write_card
from circuit_artifacts.conversion.configs import Converted, Task, convert_config, find_converted
from circuit_artifacts.conversion.folders import remove_abandoned
from circuit_artifacts.conversion.processes import in_processes
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.filesets import FileSet, Local
from circuit_artifacts.progress import track
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.sources import Sources

__all__ = ["ORIGINALS", "Converted", "convert"]

ORIGINALS = "raw"
"""Folder of the source files, outside all configs."""

logger = logging.getLogger(__name__)


def convert(
    sources: Sources,
    out: Path,
    configs: Iterable[Config] | None = None,
    *,
    jobs: int = 1,
    originals: bool = False,
) -> list[Converted]:
    """Write ``<out>/<config>/<split>-00000-of-0000N.parquet`` for every split, and ``<out>/README.md``.

    Splits of one config get one schema, the union of their columns with nulls, because stock `datasets` has one set
    of features per config. So that the viewer can show, count and search them, integer columns with just two
    neighbouring values become float64, a config without text gets a column with its name, and splits without rows are
    left out. The card says which, and describes all that is in the folder, from earlier calls too.

    Args:
        sources: where the files come from.
        out: the folder to write.
        configs: which; None takes every config whose file can be had, and logs which cannot.
        jobs: how many configs are converted at a time, each in a process of its own.
        originals: copy the source files too, into ``<out>/raw``.

    Returns:
        The files of these configs.

    Raises:
        MissingArtifactError: the file of a config that was asked for could not be had.
        SchemaError: a file is not what its schema declares, or the folder holds the conversion of another file.
        FormatError: a file is damaged.
    """
    mirror = sources.mirror
    paths = sources.fetch_available() if configs is None else sources.fetch(*configs)
    tasks = [Task(mirror=mirror, config=mirror.configs[name], source=path, out=out) for name, path in paths.items()]
    files: dict[str, list[Converted]] = {name: [] for name in paths}  # in this order, whichever is done first
    try:
        for task, found in track(in_processes(_convert, tasks, jobs), "converting", total=len(tasks)):
            files[task.config.name] = found
            _say_what_differs(task.config, found)
    finally:
        for task in tasks:
            remove_abandoned(out / task.config.name)
    if originals:
        for name, source in paths.items():
            _copy_originals(source, mirror.configs[name], out / ORIGINALS)
    if any(files.values()):
        write_card(mirror, _all_converted(mirror, out), out, [name for name, found in files.items() if not found])
    return [file for found in files.values() for file in found]


def _convert(task: Task) -> tuple[Task, list[Converted]]:
    return task, convert_config(task)


def _say_what_differs(config: Config, files: Sequence[Converted]) -> None:
    if files and files[0].floats:
        logger.info("%s: stored as float64, for the viewer's statistics: %s", config.name, ", ".join(files[0].floats))
    if empty := [split.name for split in config.family.splits if split.name not in {file.split for file in files}]:
        logger.info("%s: left out, because there are no rows: %s", config.name, ", ".join(empty))


def _all_converted(mirror: Mirror, out: Path) -> list[Converted]:
    return [file for config in mirror.configs.values() for file in find_converted(config, out)]


def _copy_originals(found: Local, config: Config, folder: Path) -> None:
    if isinstance(found, FileSet):
        for name in found.names:
            _copy(found.path(name), folder / name)
    else:
        _copy(found, folder / config.file)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, and the record beside it that says that it is not published data."""
    record = provenance.sidecar(source)
    if record.exists():
        _copy(record, provenance.sidecar(target))
    if not target.exists():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    elif provenance.file_digest(target) != provenance.file_digest(source):
        problem = "this is a copy of another file"
        raise SchemaError(problem, file=target, expected=f"a copy of {source}", remedy="Remove it.")
