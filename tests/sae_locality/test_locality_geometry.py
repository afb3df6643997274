"""Geometry tables and tensors as rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from locality_fixture import GEOMETRY, Read, loaded

from circuit_artifacts.errors import SchemaError

FEATURES = f"{GEOMETRY}/per_feature.csv"
VECTORS = f"{GEOMETRY}/decoder_vectors.pt"


def test_features(read: Read) -> None:
    rows = read("geometry_features", FEATURES).to_pylist()
    assert [(row["row_idx"], row["feature_id"], row["n_events"]) for row in rows] == [
        (0, 3, 4),
        (1, 17, 1),
        (2, 40, 4),
        (3, 71, 4),
        (4, 90, 4),
    ]
    assert [row["H_pos_std"] for row in rows] == [0.5, None, 0.25, 0.5, 0.75]


def test_pairs_and_neighbours_keep_their_published_names(published: Path, read: Read) -> None:
    pairs = read("geometry_pairs", f"{GEOMETRY}/pairwise.csv")
    published_pairs = pd.read_csv(published / GEOMETRY / "pairwise.csv")
    assert pairs.column_names == ["run", *published_pairs.columns, "extra"]
    for name in ("fid_a", "fid_b", "cosine", "H_a", "H_b", "dH", "abs_cosine"):
        assert pairs[name].to_pylist() == published_pairs[name].tolist()
    neighbours = read("geometry_neighbours", f"{GEOMETRY}/feature_neighbour_summary.csv").to_pylist()
    assert [(row["feature_id"], row["nbr10_H_mean"]) for row in neighbours][:2] == [(3, 3.5), (17, 3.5)]


def test_a_cross_check_without_overlap_is_an_empty_table(read: Read) -> None:
    rows = read("neuronpedia_xcheck", f"{GEOMETRY}/neuronpedia_xcheck.csv")
    assert len(rows) == 0
    assert "cosine_neuronpedia" in rows.column_names


def test_a_cross_check_with_overlap(tmp_path: Path, read: Read) -> None:
    file = f"{GEOMETRY}/neuronpedia_xcheck.csv"
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("fid,neighbour_fid,cosine_local,cosine_neuronpedia,abs_diff\n3,17,0.5,0.25,0.25\n")
    row = read("neuronpedia_xcheck", file, folder=tmp_path).to_pylist()[0]
    assert (row["fid"], row["neighbour_fid"], row["abs_diff"]) == (3, 17, 0.25)


def test_decoder_vectors_belong_to_features(published: Path, read: Read) -> None:
    rows = read("decoder_vectors", VECTORS)
    assert rows["feature_id"].to_pylist() == [3, 17, 40, 71, 90]
    assert rows.schema.field("vector").type.list_size == 8
    assert rows["vector"].to_pylist() == loaded(published / VECTORS).tolist()


@pytest.fixture
def with_vectors(published: Path, tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        (tmp_path / GEOMETRY).mkdir(parents=True)
        (tmp_path / FEATURES).write_bytes((published / FEATURES).read_bytes())
        torch.save(content, tmp_path / VECTORS)
        return tmp_path

    return write


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(with_vectors: Callable[[object], Path], read: Read, dtype: torch.dtype) -> None:
    vectors = torch.arange(15).reshape(5, 3).to(dtype)
    rows = read("decoder_vectors", VECTORS, folder=with_vectors(vectors))
    assert rows["vector"].to_pylist() == vectors.float().tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(4, 3), "the rows of the table are not those of the tensor"),
        (torch.zeros(5), "does not hold such a tensor"),
        ({"vectors": torch.zeros(5, 3)}, "does not hold such a tensor"),
    ],
)
def test_other_tensors_are_refused(
    with_vectors: Callable[[object], Path], read: Read, content: object, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        read("decoder_vectors", VECTORS, folder=with_vectors(content))


def test_vectors_without_their_table_are_refused(with_vectors: Callable[[object], Path], read: Read) -> None:
    folder = with_vectors(torch.zeros(5, 3))
    (folder / FEATURES).unlink()
    with pytest.raises(SchemaError, match=r"Keep per_feature\.csv"):
        read("decoder_vectors", VECTORS, folder=folder)
