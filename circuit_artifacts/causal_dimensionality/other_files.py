"""Pictures and logs: shown and listed, not interpreted (causal-dimensionality spec 1.1)."""

from __future__ import annotations

import mmap
import re

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.errors import MissingArtifactError, SourceError
from circuit_artifacts.formats.pictures import read_picture
from circuit_artifacts.formats.row_tables import make_table
from circuit_artifacts.schemas.causal_dimensionality import Figure, Log

__all__ = ["figure", "log"]

_TIMESTAMP = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")


def figure(file: RepositoryFile) -> pa.Table:
    """One row of `Figure`.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not a PNG file, or larger than 64 MiB.
    """
    columns = {"experiment": file.place.experiment, "file": file.name, "image": [read_picture(file.path)]}
    return make_table(Figure, columns, 1, file=file)


def log(file: RepositoryFile) -> pa.Table:
    """One row of `Log`.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be opened.
    """
    first, last = _timestamps(file)
    columns = {
        "path": file.name,
        "bytes": file.path.stat().st_size,
        "sha256": provenance.file_digest(file.path).removeprefix("sha256:"),
        "first_timestamp": first,
        "last_timestamp": last,
    }
    return make_table(Log, columns, 1, file=file)


def _timestamps(file: RepositoryFile) -> tuple[str | None, str | None]:
    """The first and the last timestamp in a text of any length."""
    try:
        with file.path.open("rb") as stream:
            if not stream.seek(0, 2):  # nothing to map
                return None, None
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
                found = [match[0].decode() for match in _TIMESTAMP.finditer(text)]
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=file.path) from error
    except OSError as error:
        problem = "the file cannot be opened"
        raise SourceError(problem, file=file.path, found=error.strerror or error) from error
    return (found[0], found[-1]) if found else (None, None)
