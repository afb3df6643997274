"""What the card and the abstract say that no number settles, and what is to be said about it (spec 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from circuit_artifacts.causal_dimensionality.consistency import Severity

__all__ = ["STATEMENTS", "Statement"]


@dataclass(frozen=True)
class Statement:
    """One remark; ``severity`` as in `consistency.Check`."""

    severity: Severity
    sentence: str


STATEMENTS: Mapping[str, Statement] = MappingProxyType(
    {
        "jumprelu_style": Statement(
            "flag",
            "the card calls the dictionaries JumpReLU-style; they have no thresholds: they are plain ReLU autoencoders "
            "with one bias, subtracted before encoding and added after decoding",
        ),
        "canonical_source": Statement(
            "warn",
            "the card names a code repository as the source of the weights, whose instructions fetch a zip archive "
            "from the Hub's model repository saprmarks/pythia-70m-deduped-saes",
        ),
        "config_missing": Statement(
            "info", "where the dictionaries come from there is a config.json beside each; the card lists none"
        ),
        "forced_invariance": Statement(
            "flag",
            "328 causal features in 2B and 9B follow from a threshold that makes 2 % of the width causal, as the "
            "abstract says; that kappa is constant over depths and inert shares are alike may follow from it too, so "
            "none of them is a measurement of its own until a rule that leaves the count free was run",
        ),
        "estimand_gap": Statement(
            "flag",
            "kappa is defined as an effective rank and estimated as the asymptote of a count of features; no bound "
            "links the two",
        ),
        "wedge_label": Statement("info", "the row of the wedge ratio holds two factors of growth, and not their ratio"),
        "width_confound": Statement(
            "warn",
            "Gemma Scope's autoencoders of different widths differ in training tokens too (4 to 16 billion), and their "
            "defaults in the number of active features (72 to 121)",
        ),
        "orthonormal_impossible": Statement(
            "warn",
            "16,384 directions in 2,304 dimensions cannot all be orthogonal, so what the random orthonormal encoder is "
            "remains open",
        ),
        "synthetic_ceiling": Statement(
            "info",
            "that no planted direction is recovered says something only beside how many of them the dictionary has",
        ),
    }
)
"""By name."""
