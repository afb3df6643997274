"""The rules for influence profiles, which every strand has: raw J per token, and its entropy (spec 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_artifacts.compute.locality.entropy import influence_entropy
from circuit_artifacts.sae_locality.checks.contents import error, limited
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.torch_files import Floats
from circuit_artifacts.validation import Finding

__all__ = ["ENTROPY_TOLERANCE", "Profile", "check_profiles"]

ENTROPY_TOLERANCE = 1e-4
"""Bits between an entropy that was computed in float32 and one in float64."""
_RANGE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Profile:
    """One influence profile as a file holds it.

    Attributes:
        where: place in the file.
        entropy: bits, as stored; None if the file has none for it.
        influence: raw J; None if the file has none.
        n_tokens: length of its window; None if the file does not say.
    """

    where: str
    entropy: float | None
    influence: Floats | None
    n_tokens: int | None


def check_profiles(file: RepositoryFile, profiles: Sequence[Profile]) -> Iterator[Finding]:
    """Length, values, range of the entropy, and the entropy recomputed."""
    found: dict[str, list[Finding]] = {"influence-length": [], "influence-values": [], "entropy-range": []}
    recomputed = []
    for profile in profiles:
        influence, n_tokens = profile.influence, profile.n_tokens
        is_sound = influence is not None and len(influence) > 0
        if influence is not None and n_tokens is not None and len(influence) != n_tokens:
            message = f"{len(influence)} values for a window of {n_tokens} tokens"
            found["influence-length"].append(error("influence-length", file, profile.where, message))
            is_sound = False
        if influence is not None and not (np.isfinite(influence).all() and (influence >= 0).all()):
            token = int(np.argmin(np.isfinite(influence) & (influence >= 0)))
            message = f"{influence[token]} at token {token}, expected finite values of at least 0"
            found["influence-values"].append(error("influence-values", file, profile.where, message))
            is_sound = False
        n_tokens = n_tokens or (len(influence) if influence is not None else None)
        if profile.entropy is None or not n_tokens:
            continue
        most = float(np.log2(n_tokens))
        if not 0 <= profile.entropy <= most + _RANGE_TOLERANCE:
            message = f"{profile.entropy:.6g} bits, expected 0 to {most:.6g} for {n_tokens} tokens"
            found["entropy-range"].append(error("entropy-range", file, profile.where, message))
        elif influence is not None and is_sound:
            recomputed.append((profile, influence))
    for findings in found.values():
        yield from limited(findings)
    yield from limited(_check_entropies(file, recomputed))


def _check_entropies(file: RepositoryFile, profiles: Sequence[tuple[Profile, Floats]]) -> Iterator[Finding]:
    """Entropies against their profiles, all of one length at once."""
    lengths = np.array([len(influence) for _, influence in profiles])
    for length in np.unique(lengths):
        members = [profiles[index] for index in np.flatnonzero(lengths == length).tolist()]
        expected = influence_entropy(np.stack([influence for _, influence in members]))
        stored = np.array([profile.entropy for profile, _ in members], np.float64)
        for index in np.flatnonzero(np.abs(stored - expected) > ENTROPY_TOLERANCE):
            message = f"stored {stored[index]:.6g} bits, recomputed {expected[index]:.6g}"
            yield error("entropy-recomputed", file, members[index][0].where, message)
