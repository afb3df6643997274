"""Published pictures, with what their paths say (sae_locality spec 1.1, 4.6, 4.12)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from circuit_artifacts.formats.pictures import read_picture
from circuit_artifacts.sae_locality.files import RepositoryFile, make_table
from circuit_artifacts.schemas.sae_locality import Figure

__all__ = ["figures"]


def figures(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """One row of `Figure`.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not a PNG file, or larger than 64 MiB.
    """
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
        "image": [read_picture(file.path)],
    }
    return make_table(Figure, columns, 1, file=file)
