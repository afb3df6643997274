"""Context-length sweeps (spec 8, "Sweep")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited
from circuit_artifacts.sae_locality.checks.profiles import Profile, check_profiles
from circuit_artifacts.sae_locality.files import first_of
from circuit_artifacts.sae_locality.sweep import LENGTHS_NAMES, Length, SweepFile, read_sweep
from circuit_artifacts.sae_locality.torch_files import Floats
from circuit_artifacts.validation import Finding

__all__ = ["check_sweep"]

_MOST_NAMES = ("max_context_len", "max_batch_size")


def check_sweep(contents: Contents) -> Iterator[Finding]:
    """Every layer of every sweep."""
    for file in contents.of_kind("sweep"):
        findings: list[Finding] = []
        sweep = attempt(read_sweep, file, findings=findings)
        yield from findings
        if sweep is None:
            continue
        lengths, faults = _lengths(sweep)
        yield from limited(faults)
        yield from check_profiles(file, [profile for length in lengths for profile in _profiles(length)])
        yield from limited(_active_counts(sweep, lengths))
        yield from _check_summary(sweep)


def _lengths(sweep: SweepFile) -> tuple[list[Length], list[Finding]]:
    lengths, faults = [], []
    for context_len in sweep.entries:
        try:
            lengths.append(sweep.length(context_len))
        except SchemaError as fault:
            faults.append(Finding.of(fault, "length", sweep.file.name))
    return lengths, faults


def _profiles(length: Length) -> Iterator[Profile]:
    features, where = length.features, f"results_by_context_len[{length.context_len}]"
    yield Profile(f"{where}.token_vector_entropy", length.token_entropy, None, length.context_len)
    influences: Sequence[Floats | None] = features.influences or [None] * len(features.ids)
    for feature, bits, influence in zip(features.ids, features.entropies, influences, strict=True):
        yield Profile(f"{where}, feature {feature}", float(bits), influence, length.context_len)


def _active_counts(sweep: SweepFile, lengths: Sequence[Length]) -> Iterator[Finding]:
    for length in lengths:
        if length.n_active != len(length.features.ids):
            message = f"num_active_features is {length.n_active}, but {len(length.features.ids)} features are listed"
            yield error("active-count", sweep.file, f"results_by_context_len[{length.context_len}]", message)


def _check_summary(sweep: SweepFile) -> Iterator[Finding]:
    place, summary = sweep.file.place, sweep.summary
    wanted = first_of(summary, LENGTHS_NAMES)
    for length in sweep.entries if isinstance(wanted, list) else ():
        if length not in wanted:
            message = f"length {length} is not one of the {len(wanted)} that the sweep set out for"
            yield error("sweep-lengths", sweep.file, f"results_by_context_len[{length}]", message)
    longest = first_of(summary, _MOST_NAMES)
    for name in ("prompt_token_ids", "prompt_token_strs"):
        tokens = sweep.tokens(name)
        if tokens is not None and isinstance(longest, int) and len(tokens) != longest:
            message = f"{len(tokens)} tokens, expected those of the longest window, {longest}"
            yield error("prompt-length", sweep.file, f"summary.{name}", message)
    for name, value in {"layer": place.layer, "preset": place.preset, "timestamp": place.started}.items():
        found = summary.get(name)
        if found is not None and found != value:
            yield error("path", sweep.file, f"summary.{name}", f"{found!r}, but the path says {value!r}")
