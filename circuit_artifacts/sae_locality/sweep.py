"""The context-length sweep: one prompt, cut to ever longer windows with one last token (sae_locality spec 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.depth import sae_columns
from circuit_artifacts.sae_locality.files import (
    RepositoryFile,
    extra_of_parts,
    extra_text,
    first_of,
    joined,
    make_table,
)
from circuit_artifacts.sae_locality.influences import FEATURE_KEYS, ActiveFeatures, float_lists, read_active_features
from circuit_artifacts.sae_locality.torch_files import integer_keys, load_dictionary, number, optional_number
from circuit_artifacts.schemas.sae_locality import SweepFeature, SweepLength

__all__ = ["LENGTHS_NAMES", "Length", "SweepFile", "read_sweep", "sweep_features", "sweep_lengths"]

_RESULTS_NAMES = ("results_by_context_len", "results_by_batch_size")
LENGTHS_NAMES = ("sub_context_lens", "sub_batch_sizes")
_LENGTH_KEYS = FEATURE_KEYS | {"num_active_features", "token_vector_entropy"}
_SUMMARY_KEYS = frozenset(
    {
        "preset",
        "site",
        "layer",
        "timestamp",
        "max_context_len",
        "max_batch_size",
        "min_context_len",
        "min_batch_size",
        "step",
        *LENGTHS_NAMES,
        "start_idx",
        "char_start",
        "char_budget",
        "n_tokens_total",
        "prompt_token_ids",
        "prompt_token_strs",
    }
)
_CONFIG_KEYS = frozenset(
    {"preset", "threshold", "random_seed", "total_features", "sae_source", "sae_arch", "sae_encode"}
)
_FILE_KEYS = frozenset({*_RESULTS_NAMES, "summary", "config", "plots_dir", provenance.KEY})


@dataclass(frozen=True)
class Length:
    """What was found at one context length.

    Attributes:
        context_len: tokens.
        n_active: active features, as the file counts them.
        token_entropy: bits; None if the file has none, which is the rule for those of the code that is known.
        extra: unknown keys of its entry, as JSON.
    """

    context_len: int
    n_active: int
    features: ActiveFeatures
    token_entropy: float | None
    extra: str | None


@dataclass(frozen=True)
class SweepFile:
    """What surrounds the lengths of one file, and their entries by length, not parsed yet."""

    file: RepositoryFile
    entries: Mapping[int, Any]
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    extra: str | None

    def length(self, context_len: int) -> Length:
        """One length, parsed.

        Raises:
            SchemaError: its entry is not what the format promises.
        """
        entry, where = self.entries[context_len], f"results_by_context_len[{context_len}]"
        if not isinstance(entry, dict):
            problem = "not the entry of a context length"
            raise SchemaError(problem, file=self.file.path, where=where, found=type(entry).__name__, expected="dict")
        features = read_active_features(entry, file=self.file, where=where)
        n_active = entry.get("num_active_features", len(features.ids))
        return Length(
            context_len=context_len,
            n_active=int(number(n_active, file=self.file, where=f"{where}.num_active_features")),
            features=features,
            token_entropy=optional_number(
                entry.get("token_vector_entropy"), file=self.file, where=f"{where}.token_vector_entropy"
            ),
            extra=extra_text("sweep", entry, _LENGTH_KEYS),
        )

    def tokens(self, name: str) -> list[Any] | None:
        """Tokens of the longest window, by their name in the summary; None if it does not list them."""
        value = self.summary.get(name)
        return value if isinstance(value, list) else None


def read_sweep(file: RepositoryFile) -> SweepFile:
    """Load one layer of a sweep, of any generation.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it names anything but numpy arrays and plain containers.
        FormatError: truncated, or no torch file.
        SchemaError: not the content of such a file.
    """
    content = load_dictionary(file)
    results = first_of(content, _RESULTS_NAMES)
    summary, config = content.get("summary"), content.get("config")
    if not isinstance(summary, dict) or not isinstance(config, dict):
        problem = "the file is not that of a context-length sweep"
        raise SchemaError(problem, file=file.path, found=", ".join(map(str, content)), expected="summary and config")
    return SweepFile(
        file=file,
        entries=integer_keys(results, file=file, where=_RESULTS_NAMES[0]),
        summary=summary,
        config=config,
        extra=extra_of_parts("sweep", content, _FILE_KEYS, {"summary": _SUMMARY_KEYS, "config": _CONFIG_KEYS}),
    )


def sweep_features(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `SweepFeature`: by context length, then by feature id. Influences are as long as their window.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError, SchemaError: as :func:`read_sweep`.
    """
    sweep = read_sweep(file)
    tables = [_length_features(sweep, sweep.length(length)) for length in sweep.entries]
    return pa.concat_tables(tables) if tables else make_table(SweepFeature, {}, 0)


def sweep_lengths(file: RepositoryFile, beside: Sequence[RepositoryFile] = ()) -> pa.Table:
    """Rows of `SweepLength`, by context length.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError, SchemaError: as :func:`read_sweep`.
    """
    sweep = read_sweep(file)
    lengths = [sweep.length(length) for length in sweep.entries]
    columns = _location(sweep) | {
        "context_len": [length.context_len for length in lengths],
        "num_active_features": [length.n_active for length in lengths],
        "token_entropy_bits": [length.token_entropy for length in lengths],
        "prompt_token_ids": _windows(sweep.tokens("prompt_token_ids"), lengths),
        "prompt_tokens": _windows(sweep.tokens("prompt_token_strs"), lengths),
        **sae_columns(sweep.config),
        "extra": [joined(sweep.extra, length.extra) for length in lengths],
    }
    return make_table(SweepLength, columns, len(lengths), file=file)


def _windows(tokens: list[Any] | None, lengths: Sequence[Length]) -> list[list[Any]] | None:
    """The last n tokens for every length n."""
    return None if tokens is None else [tokens[-length.context_len :] for length in lengths]


def _length_features(sweep: SweepFile, length: Length) -> pa.Table:
    features = length.features
    columns = _location(sweep) | {
        "context_len": length.context_len,
        "feature_id": features.ids,
        "entropy_bits": features.entropies,
        "activation": features.activations,
        "activation_trace": None if features.traces is None else float_lists(features.traces),
        "influence": None if features.influences is None else float_lists(features.influences),
    }
    return make_table(SweepFeature, columns, len(features.ids), file=sweep.file)


def _location(sweep: SweepFile) -> dict[str, Any]:
    place = sweep.file.place
    return {"run": place.run, "preset": place.preset, "dataset": place.dataset, "layer": place.layer}
