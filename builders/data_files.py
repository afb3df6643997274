"""Which files `data_files=` and `data_dir=` name, and what they are now; apart from the modules `datasets` patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.data_files import DataFilesDict, get_data_patterns, sanitize_patterns

import circuit_artifacts
from circuit_artifacts import remote
from circuit_artifacts.errors import MissingArtifactError
from circuit_artifacts.formats.hdf5.layouts import Options, Plan, plan_files

__all__ = ["plan_splits", "resolved"]

_EXTENSIONS = [".h5", ".hdf5", ".hdf", ".he5", ".h5ad", ".nc", ".mat"]
_REMEDY = 'Give data_files="x.h5", a glob, a list, a dict of splits, or data_dir='


def resolved(arguments: Mapping[str, Any], *, has_own_files: bool) -> dict[str, Any]:
    """Arguments of a builder with its files resolved, and with what they are now as part of the cache key.

    Args:
        arguments: as `datasets` gives them.
        has_own_files: whether the files are named by the configs of a repository's card.

    Raises:
        MissingArtifactError: no file matches, or none was named.
    """
    out = dict(arguments)
    files = out.get("data_files")
    if not has_own_files and not isinstance(files, DataFilesDict):
        out["data_files"] = files = _find(files, out.get("data_dir"), out)
    # `datasets` itself looks at the time of local files only.
    stamps = [str(out.get("hash")), circuit_artifacts.__version__]
    stamps += [_stamp(file) for split in files.values() for file in split] if files else []
    out["hash"] = hashlib.sha256("\0".join(stamps).encode()).hexdigest()
    return out


def plan_splits(config: Any, *, token: str | bool | None) -> dict[str, list[Plan]]:
    """How every file of every split is read; one layout for all.

    Args:
        config: an `HDF5Config` with its files resolved.
        token: for the Hub.

    Raises:
        MissingArtifactError: no files were named, or one cannot be had.
        CircuitArtifactsError: as :func:`~circuit_artifacts.formats.hdf5.layouts.plan_files` says.
    """
    if not config.data_files:
        problem = "no files were named"
        raise MissingArtifactError(problem, remedy=_REMEDY)
    options = Options(layout=config.layout, select=config.select, attrs=config.attrs)
    files = {split: [remote.fetch(name, token=token) for name in names] for split, names in config.data_files.items()}
    plans = iter(plan_files([file for of_split in files.values() for file in of_split], options))
    return {split: [next(plans) for _ in of_split] for split, of_split in files.items()}


def _find(files: Any, folder: str | None, arguments: Mapping[str, Any]) -> DataFilesDict:
    if files is None and folder is None:
        problem = "neither data_files nor data_dir is given"
        raise MissingArtifactError(problem, remedy=_REMEDY)
    download = datasets.DownloadConfig(
        token=arguments.get("token"), storage_options=arguments.get("storage_options") or {}
    )
    base = arguments.get("base_path") or Path.cwd().as_posix()
    if folder is not None:
        base = folder if "://" in folder else Path(base, folder).expanduser().resolve().as_posix()
    try:
        patterns = sanitize_patterns(files) if files is not None else get_data_patterns(base, download_config=download)
        found = DataFilesDict.from_patterns(patterns, base_path=base, download_config=download)
    except FileNotFoundError as error:
        problem = "no such file" if files is not None else "no file in this folder"
        raise MissingArtifactError(problem, file=base, where=json.dumps(files) if files else None) from error
    if files is None:
        kept = found.filter(extensions=_EXTENSIONS)
        found = DataFilesDict({split: names for split, names in kept.items() if names})
        if not found:
            problem = "no HDF5 file in this folder"
            raise MissingArtifactError(problem, file=base, expected=f"names that end in {', '.join(_EXTENSIONS)}")
    return found


def _stamp(file: str) -> str:
    try:
        now = Path(file).stat()
    except OSError:  # remote: its version is in the address, or `datasets` asks for its ETag
        return file
    return f"{file}:{now.st_size}:{now.st_mtime_ns}"
