"""The files of a geometry run in the published layout (locality spec 4.3, 4.14 to 4.18)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.compute.locality import geometry as tables
from circuit_artifacts.compute.locality.geometry_statistics import (
    N_PERMUTATIONS,
    Correlation,
    NeighbourCorrelation,
    correlations,
    neighbour_correlation,
)
from circuit_artifacts.compute.locality.writing import write_json, write_table, write_tensor
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.provenance import Provenance

__all__ = ["Geometry", "GeometryRun", "geometry_manifest", "write_comparison", "write_vectors"]

_EXPERIMENT: Final = "feature_geometry_vs_entropy"
_PRIMARY: Final = "abs"
_QUANTILES: Final = (0.025, 0.25, 0.5, 0.75, 0.975)


@dataclass(frozen=True, kw_only=True)
class GeometryRun:
    """What a manifest says of a run beside its results.

    Attributes:
        timestamp: ``YYYYMMDD_HHMMSS``.
        preset: the model and its autoencoders.
        layer: of the autoencoder.
        sae_id: of the autoencoder.
        ctx_len: context length of the events, in tokens.
        source_experiment_dir: folder of the events, relative to the repository's root. Published ones are absolute.
    """

    timestamp: str
    preset: str
    layer: int
    sae_id: str
    ctx_len: int
    source_experiment_dir: str


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Everything that is measured in a run of N features.

    Attributes:
        features: as by `geometry.feature_means`.
        decoder: (N, d) float32, decoder rows, not normalised.
        cosines: (N, N) float32.
        pairs: as by `geometry.pairs`.
        neighbours: as by `geometry.neighbours`.
        correlations: by predictor.
        neighbour_correlation: of `neighbours`.
        neuronpedia: as by `geometry.neuronpedia_check`.
    """

    features: pd.DataFrame
    decoder: npt.NDArray[np.float32]
    cosines: npt.NDArray[np.float32]
    pairs: pd.DataFrame
    neighbours: pd.DataFrame
    correlations: Mapping[str, Correlation]
    neighbour_correlation: NeighbourCorrelation
    neuronpedia: pd.DataFrame

    @classmethod
    def measure(
        cls,
        features: pd.DataFrame,
        decoder: npt.NDArray[Any],
        answers: Mapping[int, Mapping[str, Any]] | None = None,
        *,
        n_permutations: int = N_PERMUTATIONS,
    ) -> Geometry:
        """Measure all of it, with the published settings.

        Args:
            features: as by `geometry.feature_means`.
            decoder: (N, d), the decoder row of each of these features.
            answers: Neuronpedia's answers by feature, as far as there are any.
            n_permutations: of the null.

        Raises:
            SchemaError: not one decoder row per feature; or as `geometry.neuronpedia_check`.
        """
        if decoder.ndim != 2 or len(decoder) != len(features):
            problem = "there is not one decoder row per feature"
            raise SchemaError(problem, found=decoder.shape, expected=f"({len(features)}, width of the model)")
        rows = np.ascontiguousarray(decoder, dtype=np.float32)
        matrix = tables.cosines(rows)
        neighbours = tables.neighbours(features, matrix)
        return cls(
            features=features,
            decoder=rows,
            cosines=matrix,
            pairs=tables.pairs(features, matrix),
            neighbours=neighbours,
            correlations=correlations(features["H_pos_mean"].to_numpy(), matrix, n_permutations=n_permutations),
            neighbour_correlation=neighbour_correlation(neighbours, tables.N_NEIGHBOURS),
            neuronpedia=tables.neuronpedia_check(answers or {}, features["feature_id"].tolist(), matrix),
        )


def geometry_manifest(geometry: Geometry, run: GeometryRun) -> dict[str, Any]:
    """The content of ``manifest.json``, under the names of the published code and under two of the card's.

    What exactly the card's two names stand for is not known. Ours, both for the primary predictor |cosine|:
    ``correlation_decoder_cos_vs_abs_dH_pos`` is its ``spearman_r``, and ``null_distribution_quantiles`` are quantiles
    of the rank correlations with permuted entropies.
    """
    by_predictor = {name: _numbers(correlation) for name, correlation in geometry.correlations.items()}
    primary = geometry.correlations[_PRIMARY]
    differences = geometry.neuronpedia["abs_diff"]
    quantiles = np.quantile(primary.null, _QUANTILES).tolist()
    return {
        "experiment": _EXPERIMENT,
        **dataclasses.asdict(run),
        "n_features": len(geometry.features),
        "n_pairs": len(geometry.pairs),
        "primary_predictor": "abs_cosine",
        **by_predictor[_PRIMARY],
        "stats_by_predictor": by_predictor,
        "per_feature_neighbour": dataclasses.asdict(geometry.neighbour_correlation),
        "neuronpedia_xcheck": {
            "n_overlap": len(differences),
            "mean_abs_diff": differences.mean(),
            "max_abs_diff": differences.max(),
        },
        "correlation_decoder_cos_vs_abs_dH_pos": primary.spearman_r,
        "null_distribution_quantiles": {str(share): value for share, value in zip(_QUANTILES, quantiles, strict=True)},
    }


def write_vectors(folder: Path, features: pd.DataFrame, decoder: npt.NDArray[np.float32], record: Provenance) -> None:
    """Write ``per_feature.csv`` and ``decoder_vectors.pt``, from which all the rest follows.

    Args:
        folder: the run's folder, ``feature_geometry_vs_entropy/<timestamp>``; created if need be.
        features: as by `geometry.feature_means`.
        decoder: (N, d), the decoder row of each of them, not normalised.
        record: provenance of both files.
    """
    write_table(folder / "per_feature.csv", features, record)
    write_tensor(folder / "decoder_vectors.pt", decoder, record)


def write_comparison(folder: Path, geometry: Geometry, run: GeometryRun, record: Provenance) -> None:
    """Write what the vectors and entropies say of each other: all files of a run but its vectors and figures.

    Where nothing overlaps with Neuronpedia, ``neuronpedia_xcheck.csv`` is a header without rows. The published file is
    then one empty line, which ordinary CSV readers refuse.

    Args:
        folder: the run's folder.
        geometry: what was measured.
        run: what else the manifest says.
        record: provenance of every file.
    """
    write_tensor(folder / "cosine_matrix.pt", geometry.cosines, record)
    write_table(folder / "pairwise.csv", geometry.pairs, record)
    write_table(folder / "feature_neighbour_summary.csv", geometry.neighbours, record)
    write_table(folder / "neuronpedia_xcheck.csv", geometry.neuronpedia, record)
    write_json(folder / "manifest.json", geometry_manifest(geometry, run), record)


def _numbers(correlation: Correlation) -> dict[str, Any]:
    """The nine numbers of one predictor."""
    fields = {field.name: getattr(correlation, field.name) for field in dataclasses.fields(correlation)}
    return {**{name: value for name, value in fields.items() if name != "null"}, "n_perm": len(correlation.null)}
