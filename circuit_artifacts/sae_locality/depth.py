"""The depth run: influence and entropy of every active feature in windows of one length (sae_locality spec 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.files import (
    RepositoryFile,
    extra_of_parts,
    extra_text,
    first_of,
    joined,
    make_table,
)
from circuit_artifacts.sae_locality.influences import FEATURE_KEYS, ActiveFeatures, float_lists, read_active_features
from circuit_artifacts.sae_locality.privacy import stripped_text
from circuit_artifacts.sae_locality.torch_files import Floats, load_dictionary, optional_number, vector
from circuit_artifacts.schemas.sae_locality import DepthFeature, DepthWindow

__all__ = ["CONTEXT_LENGTH_NAMES", "DepthFile", "Window", "depth_features", "depth_windows", "read_depth"]

CONTEXT_LENGTH_NAMES = ("context_len", "ctx_len", "batch_size")
"""What the length of a window has been called, newest first; ``batch_size`` is no number of windows."""

_WINDOW_KEYS = FEATURE_KEYS | {
    "batch_idx",
    "start_idx",
    "token_vector_entropy",
    "token_vector_influence",
    "num_active_features",
}
_SUMMARY_KEYS = frozenset(
    {
        "site",
        "preset",
        "dataset",
        "timestamp",
        "unique_id",
        "layer",
        "num_batches",
        "mean_feature_entropy",
        "mean_token_vector_entropy",
        "entropy_difference",
        "std_feature_entropy",
        "std_token_vector_entropy",
    }
)
_CONFIG_KEYS = frozenset(
    {
        "preset",
        "threshold",
        *CONTEXT_LENGTH_NAMES,
        "total_features",
        "random_batches",
        "random_seed",
        "sae_source",
        "sae_arch",
        "sae_encode",
    }
)
_FILE_KEYS = frozenset({"batch_results", "summary", "config", "plots_dir", "batch_start_indices", provenance.KEY})


@dataclass(frozen=True)
class Window:
    """One window of the corpus.

    Attributes:
        number: position in the file.
        start: offset of its first token.
        n_active: active features, as the file counts them.
        token_entropy: bits; None if the file has none.
        token_influence: R, float32 (context length,).
        extra: unknown keys of its entry, as JSON.
    """

    number: int
    batch: int
    start: int
    n_active: int
    features: ActiveFeatures
    token_entropy: float | None
    token_influence: Floats
    extra: str | None


@dataclass(frozen=True)
class DepthFile:
    """What surrounds the windows of one file, and their entries, not parsed yet.

    Attributes:
        file: where it is from.
        entries: one per window.
        summary: of the run, with numbers that can be recomputed.
        config: parameters of the run.
        starts: offsets of the windows, as listed apart from them; None if they are not.
    """

    file: RepositoryFile
    entries: Sequence[Any]
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    starts: Sequence[Any] | None
    extra: str | None

    @property
    def context_len(self) -> int | None:
        """Tokens per window."""
        value = first_of(self.config, CONTEXT_LENGTH_NAMES)
        return value if isinstance(value, int) else None

    def window(self, index: int) -> Window:
        """One window, parsed.

        Raises:
            SchemaError: its entry is not what the format promises.
        """
        entry, file, where = self.entries[index], self.file, f"batch_results[{index}]"
        if not isinstance(entry, dict):
            problem = "not the entry of a window"
            raise SchemaError(problem, file=file.path, where=where, found=type(entry).__name__, expected="dict")
        features = read_active_features(entry, file=file, where=where)
        if features.influences is None:
            problem = "the window has no feature_influences"
            raise SchemaError(problem, file=file.path, where=where, found=", ".join(map(str, entry)))
        try:
            batch, start = int(entry["batch_idx"]), int(entry["start_idx"])
            n_active = int(entry.get("num_active_features", len(features.ids)))
        except (KeyError, TypeError, ValueError) as error:
            problem = "the window has no whole batch_idx, start_idx and num_active_features"
            raise SchemaError(problem, file=file.path, where=where, found=error) from error
        return Window(
            number=index,
            batch=batch,
            start=start,
            n_active=n_active,
            features=features,
            token_entropy=optional_number(
                entry.get("token_vector_entropy"), file=file, where=f"{where}.token_vector_entropy"
            ),
            token_influence=vector(
                entry.get("token_vector_influence", ()), file=file, where=f"{where}.token_vector_influence"
            ),
            extra=extra_text("depth", entry, _WINDOW_KEYS),
        )


def read_depth(file: RepositoryFile) -> DepthFile:
    """Load one layer of a depth run, of any generation.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it names anything but numpy arrays and plain containers.
        FormatError: truncated, or no torch file.
        SchemaError: not the content of such a file.
    """
    content = load_dictionary(file)
    parts = {"batch_results": list, "summary": dict, "config": dict}
    for name, kind in parts.items():
        if not isinstance(content.get(name), kind):
            problem = "the file is not that of a depth run"
            found = type(content[name]).__name__ if name in content else "nothing"
            raise SchemaError(problem, file=file.path, where=name, found=found, expected=kind.__name__)
    return DepthFile(
        file=file,
        entries=content["batch_results"],
        summary=content["summary"],
        config=content["config"],
        starts=content.get("batch_start_indices"),
        extra=extra_of_parts("depth", content, _FILE_KEYS, {"summary": _SUMMARY_KEYS, "config": _CONFIG_KEYS}),
    )


def depth_features(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `DepthFeature`: by window, then by feature id.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError, SchemaError: as :func:`read_depth`.
    """
    depth = read_depth(file)
    tables = [_window_features(depth, depth.window(index)) for index in range(len(depth.entries))]
    return pa.concat_tables(tables) if tables else make_table(DepthFeature, {}, 0)


def depth_windows(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `DepthWindow`, in the order of the file.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError, SchemaError: as :func:`read_depth`.
    """
    depth = read_depth(file)
    windows = [depth.window(index) for index in range(len(depth.entries))]
    columns = _location(depth) | {
        "batch_idx": [window.batch for window in windows],
        "start_idx": [window.start for window in windows],
        "context_len": depth.context_len,
        "num_active_features": [window.n_active for window in windows],
        "token_entropy_bits": [window.token_entropy for window in windows],
        "token_influence": float_lists([window.token_influence for window in windows]),
        **sae_columns(depth.config),
        "extra": [joined(depth.extra, window.extra) for window in windows],
    }
    return make_table(DepthWindow, columns, len(windows), file=file)


def sae_columns(config: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that say which autoencoder was used; a path on the machine that ran is cut to its file name."""
    source = config.get("sae_source")
    return {
        "threshold": config.get("threshold"),
        "total_features": config.get("total_features"),
        "sae_arch": config.get("sae_arch"),
        "sae_source": stripped_text(source) if isinstance(source, str) else None,
        "sae_encode": config.get("sae_encode"),
    }


def _window_features(depth: DepthFile, window: Window) -> pa.Table:
    features = window.features
    influences = features.influences or ()
    columns = _location(depth) | {
        "batch_idx": window.batch,
        "start_idx": window.start,
        "feature_id": features.ids,
        "entropy_bits": features.entropies,
        "activation": features.activations,
        "activation_trace": None if features.traces is None else float_lists(features.traces),
        "J_sum": np.array([influence.sum(dtype=np.float64) for influence in influences], np.float32),
        "influence": float_lists(influences),
    }
    return make_table(DepthFeature, columns, len(features.ids), file=depth.file)


def _location(depth: DepthFile) -> dict[str, Any]:
    place = depth.file.place
    preset = place.preset or depth.summary.get("preset")
    return {"run": place.run, "preset": preset, "dataset": place.dataset, "layer": place.layer}
