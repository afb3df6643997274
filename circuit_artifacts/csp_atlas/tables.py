"""Tables of CSP-Atlas that are a view of a file rather than the file: cells as numbers, matrices as rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from circuit_artifacts.compute.csp.decomposition import parse_target_checker
from circuit_artifacts.errors import SchemaError, located
from circuit_artifacts.formats.hdf5 import child_names, open_dataset, open_group, open_hdf5, read_strings
from circuit_artifacts.formats.hdf5.leaves import check_setting
from circuit_artifacts.formats.reader import Shape
from circuit_artifacts.formats.tabular import WholeTableReader, read_csv
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, concept_key, split_pair

__all__ = ["ConceptReader", "MaskSimilarityReader", "TargetCheckerReader", "read_target_checker"]

SIMILARITY_LAYER = 4  # the only layer whose matrices are published (csp_atlas spec 1.4)


def read_target_checker(path: Path, n_layers: int | None = None) -> pd.DataFrame:
    """A decomposition table as published: `target`, then ``L0`` ... as text.

    Raises:
        SchemaError: other columns.
    """
    layers = n_layers if n_layers is not None else _layers_in_header(path)
    schema = pa.schema([(name, pa.string()) for name in ("target", *(f"L{layer}" for layer in range(layers)))])
    frame: pd.DataFrame = read_csv(path, schema).to_pandas()
    return frame


class TargetCheckerReader(WholeTableReader):
    """One row per concept and layer, the three counts as integers (csp_atlas spec 6)."""

    def read(self, path: Path) -> pa.Table:
        """Concepts in file order, layers in numeric order within each.

        Raises:
            SchemaError: other columns, or a cell that is not ``co / sh / to``.
        """
        wide = read_target_checker(path, Shape.of(path, self.request.mirror).n_layers)
        with located(path):
            targets, counts = parse_target_checker(wide)
        size = counts.concept_size
        n_targets, n_layers = size.shape
        columns = {
            "target": np.repeat(np.array(targets, dtype=object), n_layers),
            "layer": np.tile(np.arange(n_layers), n_targets),
            "concept_only": counts.concept_only.ravel(),
            "shared": counts.shared.ravel(),
            "token_only": counts.token_only.ravel(),
            "concept_fraction": np.divide(
                counts.concept_only, size, out=np.zeros(size.shape, np.float64), where=size > 0
            ).ravel(),
        }
        schema = self.schema(path)
        return pa.Table.from_arrays([pa.array(columns[f.name]).cast(f.type) for f in schema], schema=schema)


class MaskSimilarityReader(WholeTableReader):
    """The two Jaccard matrices under ``/metrics``, every cell a row."""

    def read(self, path: Path) -> pa.Table:
        """AST nodes, then builtins; within each, row by row.

        Raises:
            SchemaError: a matrix or its names are missing, or do not fit each other.
        """
        columns: dict[str, list[np.ndarray]] = {"kind": [], "concept_a": [], "concept_b": [], "jaccard": []}
        with open_hdf5(path) as file:
            check_setting(file, self.request.config)
            metadata, metrics = open_group(file, "metadata"), open_group(file, "metrics")
            for kind, names, matrix_name in (
                ("ast", "ast_nodes", "jaccard_ast_matrix"),
                ("builtin", "builtin_objs", "jaccard_builtin_matrix"),
            ):
                stored, cells = read_strings(open_dataset(metadata, names)), open_dataset(metrics, matrix_name)
                with located(path):
                    concepts = np.array([concept_key(kind, name) for name in stored], dtype=object)
                if cells.shape != (len(concepts), len(concepts)) or cells.dtype.kind != "f":
                    problem = "the matrix is not of numbers, or does not fit its list of names"
                    raise SchemaError(
                        problem,
                        file=path,
                        where=f"/metrics/{matrix_name}",
                        found=f"{cells.dtype} {cells.shape}",
                        expected=f"float64 {(len(concepts),) * 2}",
                    )
                matrix = np.asarray(cells[()], dtype=np.float64)
                columns["kind"].append(np.full(matrix.size, kind, dtype=object))
                columns["concept_a"].append(np.repeat(concepts, len(concepts)))
                columns["concept_b"].append(np.tile(concepts, len(concepts)))
                columns["jaccard"].append(matrix.ravel())
        merged = {name: np.concatenate(parts) for name, parts in columns.items()}
        merged["layer"] = np.full(len(merged["jaccard"]), SIMILARITY_LAYER)
        schema = self.schema(path)
        return pa.Table.from_arrays([pa.array(merged[f.name]).cast(f.type) for f in schema], schema=schema)


class ConceptReader(WholeTableReader):
    """The concepts of a mask file, with the number of pairs behind each."""

    def read(self, path: Path) -> pa.Table:
        """AST nodes, then builtins, in the file's order.

        Raises:
            SchemaError: the name lists or the pair masks are missing.
        """
        with open_hdf5(path) as file, located(path):
            metadata = open_group(file, "metadata")
            listed = {
                kind: read_strings(open_dataset(metadata, names))
                for kind, names in (("ast", "ast_nodes"), ("builtin", "builtin_objs"))
            }
            concepts = [(concept_key(kind, name), kind, name) for kind, names in listed.items() for name in names]
            pairs = [split_pair(key) for key in child_names(open_group(file, "pair_masks/layer_0"))]
        counts = {
            "ast": pd.Series([node for node, _ in pairs]).value_counts(),
            "builtin": pd.Series([builtin for _, builtin in pairs]).value_counts(),
        }
        rows = [
            {
                "concept": concept,
                "kind": kind,
                "name": name,
                "keyword": KEYWORDS[concept].keyword if concept in KEYWORDS else None,
                "testable": concept in KEYWORDS,
                "n_pairs": int(counts[kind].get(name, 0)),
            }
            for concept, kind, name in concepts
        ]
        return pa.Table.from_pylist(rows, schema=self.schema(path))


def _layers_in_header(path: Path) -> int:
    try:
        with path.open(encoding="utf-8") as stream:
            return max(stream.readline().count(",L"), 1)
    except FileNotFoundError:
        return 1
