"""Decoder geometry against entropy: features, pairs, neighbours and vectors (sae_locality spec 4.14 to 4.17)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.csv_files import typed_table
from circuit_artifacts.sae_locality.files import RepositoryFile, companion, make_table
from circuit_artifacts.sae_locality.torch_files import load_tensor
from circuit_artifacts.schemas.sae_locality import (
    DecoderVector,
    GeometryFeature,
    GeometryNeighbour,
    GeometryPair,
    NeuronpediaCheck,
)

__all__ = ["decoder_vectors", "geometry_features", "geometry_neighbours", "geometry_pairs", "neuronpedia_xcheck"]


def geometry_features(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `GeometryFeature`, from ``per_feature.csv``.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    return typed_table(file, GeometryFeature, {"run": file.place.run})


def geometry_pairs(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `GeometryPair`, from ``pairwise.csv``.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    return typed_table(file, GeometryPair, {"run": file.place.run})


def geometry_neighbours(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `GeometryNeighbour`, from ``feature_neighbour_summary.csv``.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    return typed_table(file, GeometryNeighbour, {"run": file.place.run})


def neuronpedia_xcheck(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `NeuronpediaCheck`, from ``neuronpedia_xcheck.csv``; none if nothing overlapped and it is one empty line.

    Raises:
        MissingArtifactError, FormatError, SchemaError: as `csv_files.typed_table`.
    """
    return typed_table(file, NeuronpediaCheck, {"run": file.place.run})


def decoder_vectors(file: RepositoryFile, beside: Sequence[RepositoryFile]) -> pa.Table:
    """Rows of `DecoderVector`, from ``decoder_vectors.pt``.

    Args:
        file: the tensor, (features, width of the model).
        beside: ``per_feature.csv``, which says which feature each row is of.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError: as `torch_files.load_tensor`.
        SchemaError: no table beside it, or one with another number of rows.
    """
    vectors = load_tensor(file, n_dims=2).astype(np.float32, copy=False)
    n_features, width = vectors.shape
    table = companion(file, beside, "geometry_features")
    if table is None:
        problem = "nothing says which features the rows are of"
        remedy = "Keep per_feature.csv of the same run beside it."
        raise SchemaError(problem, file=file.path, remedy=remedy)
    rows = geometry_features(table).sort_by("row_idx")
    if rows["row_idx"].to_pylist() != list(range(n_features)):
        problem = "the rows of the table are not those of the tensor"
        found, expected = f"row_idx of {len(rows)} rows in {table.path}", f"0 to {n_features - 1}"
        raise SchemaError(problem, file=file.path, found=found, expected=expected)
    columns = {
        "run": file.place.run,
        "row_idx": rows["row_idx"],
        "feature_id": rows["feature_id"],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
    }
    return make_table(DecoderVector, columns, n_features, file=file, width=width)
