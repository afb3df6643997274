"""Published pictures, with what their paths say (sae_locality spec 1.1, 4.6, 4.12)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.sae_locality.files import RepositoryFile, make_table
from circuit_artifacts.schemas.sae_locality import Figure

__all__ = ["figures"]

_LARGEST = 64 << 20  # bytes of one picture
_PNG = b"\x89PNG\r\n\x1a\n"


def figures(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """One row of `Figure`. The picture is passed on as it is, not decoded.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not a PNG file, or larger than 64 MiB.
    """
    with open_bounded(file.path, largest=_LARGEST) as stream:
        data = stream.read()
    if not data.startswith(_PNG):
        problem = "not a PNG picture"
        raise FormatError(problem, file=file.path, found=data[:8], remedy="Get the file again.")
    place = file.place
    columns = {
        "run": place.run,
        "strand": place.strand,
        "preset": place.preset,
        "dataset": place.dataset,
        "layer": place.layer,
        "ctx": place.ctx,
        "batch_idx": place.batch_idx,
        "file": file.name,
        "image": [{"bytes": data, "path": file.path.name}],
    }
    return make_table(Figure, columns, 1, file=file)
