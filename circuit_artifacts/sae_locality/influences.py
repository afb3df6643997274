"""What the depth run and the context-length sweep have in common: the active features of one window, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.torch_files import Floats, integer_keys, number, number_or_vector, vector

__all__ = ["FEATURE_KEYS", "ActiveFeatures", "float_lists", "read_active_features"]

FEATURE_KEYS = frozenset({"feature_entropies", "feature_activations", "feature_influences"})


@dataclass(frozen=True)
class ActiveFeatures:
    """The features that are active at the last token of one window, in ascending order.

    Attributes:
        ids: int64 (n,).
        entropies: bits, float32 (n,).
        activations: at the last token, float32 (n,); None if the file has none.
        traces: activations at every token, where the file has them; else None.
        influences: raw J, float32 (window length,) each; None if the file has none.
    """

    ids: npt.NDArray[np.int64]
    entropies: Floats
    activations: Floats | None
    traces: Sequence[Floats] | None
    influences: Sequence[Floats] | None


def read_active_features(entry: Mapping[str, Any], *, file: RepositoryFile, where: str) -> ActiveFeatures:
    """Read the dictionaries by feature id that a window's entry holds (spec 4.1, 4.2).

    Entropies may be numbers of Python or numpy. Activations may be numbers, arrays without axes, or vectors, of which
    the last element is the activation. Influences may be lists or arrays.

    Raises:
        SchemaError: no entropies, values of another form, or dictionaries whose feature ids differ.
    """
    by_name = {
        name: integer_keys(entry[name], file=file, where=f"{where}.{name}")
        for name in sorted(FEATURE_KEYS & entry.keys())
    }
    if "feature_entropies" not in by_name:
        problem = "the window has no feature_entropies"
        raise SchemaError(problem, file=file.path, where=where, found=", ".join(map(str, entry)))
    entropies = by_name["feature_entropies"]
    for name, values in by_name.items():
        if differing := values.keys() ^ entropies.keys():
            problem = f"{name} and feature_entropies are not of the same features"
            few = ", ".join(map(str, sorted(differing)[:5]))
            raise SchemaError(
                problem, file=file.path, where=where, found=f"{few} in one only ({len(differing)} in all)"
            )

    def place(name: str, feature: int) -> str:
        return f"{where}.{name}[{feature}]"

    activations, traces = None, None
    if (stored := by_name.get("feature_activations")) is not None:
        arrays = [
            number_or_vector(value, file=file, where=place("feature_activations", feature))
            for feature, value in stored.items()
        ]
        activations = np.array([array.flat[-1] for array in arrays], np.float32)
        traces = [np.atleast_1d(array) for array in arrays] if any(array.ndim for array in arrays) else None
    influences = by_name.get("feature_influences")
    return ActiveFeatures(
        ids=np.array(list(entropies), np.int64),
        entropies=np.array(
            [number(v, file=file, where=place("feature_entropies", f)) for f, v in entropies.items()], np.float32
        ),
        activations=activations,
        traces=traces,
        influences=None
        if influences is None
        else [vector(v, file=file, where=place("feature_influences", f)) for f, v in influences.items()],
    )


def float_lists(vectors: Sequence[Floats]) -> pa.ListArray:
    """Vectors of any lengths as one column."""
    offsets = np.concatenate([[0], np.cumsum([len(values) for values in vectors], dtype=np.int64)])
    flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat, pa.float32()))
