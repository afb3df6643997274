"""Any folder as a mirror made on the spot: each file that can be read is a config."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from itertools import count as count_from
from pathlib import Path

from circuit_artifacts.errors import CircuitArtifactsError, SourceError, UnsafeContentError
from circuit_artifacts.formats.reader import make_readers
from circuit_artifacts.progress import track
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Family, Mirror, Split

__all__ = ["folder_mirror"]

logger = logging.getLogger(__name__)

_READERS = {
    suffix: f"circuit_artifacts.formats.{reader}"
    for reader, suffixes in {
        "hdf5.inferred:HDF5Table": (".h5", ".hdf5", ".hdf", ".he5"),
        "inferred:CsvTable": (".csv",),
        "inferred:JsonLines": (".jsonl", ".ndjson"),
        "inferred:ParquetTable": (".parquet",),
    }.items()
    for suffix in suffixes
}
_TAKEN = {"raw", "readme.md"}  # names in the folder that a conversion writes
_LONGEST = 80


def folder_mirror(folder: Path) -> Mirror:
    """A mirror with one config per HDF5, CSV, parquet or JSON-lines file of a folder and the folders in it.

    A config has the file's name without its suffix, with ``_`` for what a config's name cannot hold; files that would
    share a name have that of their folders and their suffix too. Files that cannot be read are named in one warning.
    Hidden files are not looked at.

    Raises:
        SourceError: not a folder, or no file of it can be read.
        UnsafeContentError: a link leads out of the folder.
    """
    if not folder.is_dir():
        problem = "there is no such folder"
        raise SourceError(problem, file=folder)
    paths = _visible_files(folder)
    families = [_family(folder, path, name) for path, name in _names(folder, paths).items()]
    readable, reasons = [], [path.relative_to(folder).as_posix() for path in paths if not _has_reader(path)]
    for family in track(families, "looking at files", total=len(families)):
        try:
            _require_schema(folder, family)
        except CircuitArtifactsError as error:
            reasons.append(str(error))
        else:
            readable.append(family)
    if reasons:
        logger.warning("left out, because they cannot be read: %s", "; ".join(reasons))
    if not readable:
        problem = "there is no file that can be converted"
        raise SourceError(problem, file=folder, expected=", ".join(sorted(_READERS)))
    return _mirror(folder, readable)


def _mirror(folder: Path, families: Iterable[Family]) -> Mirror:
    chosen = tuple(families)
    return Mirror(
        name="local files",  # what is written must not depend on where the folder is
        title=folder.resolve().name,
        families=chosen,
        n_layers=1,
        width=1,
        default_config=chosen[0].name,
    )


def _visible_files(folder: Path) -> list[Path]:
    """All files but hidden ones, in the order of their paths; each is a file of the folder itself."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.is_symlink() or not path.is_dir())
    ]
    for path in paths:
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            problem = "a link leads out of the folder"
            remedy = "Put the file itself there, or remove the link."
            raise UnsafeContentError(problem, file=path, found=path.resolve(), remedy=remedy)
    return [path for path in paths if not path.is_dir()]


def _has_reader(path: Path) -> bool:
    return path.suffix.lower() in _READERS and path.is_file()


def _names(folder: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """A config name for each file that has a reader, unique where case does not count either."""
    files = {path: path.relative_to(folder) for path in paths if _has_reader(path)}
    forms = [
        {path: _valid(form(short)) for path, short in files.items()}
        for form in (lambda p: p.stem, lambda p: str(p.with_suffix("")), lambda p: str(p).replace(".", "_"))
    ]
    counts = [Counter(name.casefold() for name in form.values()) for form in forms]
    names: dict[Path, str] = {}
    taken = set(_TAKEN)
    for path in files:
        own = [form[path] for form in forms]
        unique = [name for name, count in zip(own, counts, strict=True) if count[name.casefold()] == 1]
        wanted = (unique or own[-1:])[0]
        candidates = (f"{wanted}_{number}" if number > 1 else wanted for number in count_from(1))
        names[path] = next(name for name in candidates if name.casefold() not in taken)
        taken.add(names[path].casefold())
    return names


def _valid(text: str) -> str:
    """What a config and its folder can be called, and no pattern of files or table of a card takes for more."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:_LONGEST].rstrip(".") or "data"


def _family(folder: Path, path: Path, name: str) -> Family:
    file = path.relative_to(folder).as_posix()
    return Family(
        name=name,
        summary=f"rows of {file}",
        file=file.replace("{", "{{").replace("}", "}}"),  # a family's file is a pattern
        reader=_READERS[path.suffix.lower()],
        splits=(Split(name="train", row=ArtifactModel),),
    )


def _require_schema(folder: Path, family: Family) -> None:
    (config,) = family.configs
    for reader in make_readers(_mirror(folder, [family]), config).values():
        reader.schema(folder / config.file)
