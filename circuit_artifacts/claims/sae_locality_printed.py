"""SAE locality: published numbers held against each other and against the rules that they follow."""

from __future__ import annotations

import hashlib
import random

from circuit_artifacts.claims.arithmetic import arithmetic
from circuit_artifacts.claims.model import Outcome
from circuit_artifacts.compute.locality.feature_lists import feature_set
from circuit_artifacts.compute.locality.presets import CONTEXT_LEN, N_WINDOWS, PRESETS, SEED

__all__ = ["PRINTED", "PYTHIA_STARTS"]

_PYTHIA_TOKENS = 2_408_076
"""Tokens of the corpus, as a configuration of the authors states it."""
PYTHIA_STARTS = sorted(
    random.Random(SEED).sample(range(0, _PYTHIA_TOKENS - CONTEXT_LEN + 1, CONTEXT_LEN), N_WINDOWS)  # noqa: S311
)
"""Where the windows of pythia-70m begin, by the rule of the code (sae_locality spec 5.3)."""
_FEATURES_HASH = "01c051e17fe3ec0489edefe97fc04d4e8bd3970b08a19db7f65a253c8ffebfbb"
"""sha256 of the published list of 298 features: numbers in ascending order, joined by commas."""
_FULL_SET = sorted(label.feature_id for label in feature_set("full298").features)
_PAPER_MEANS = (0.898, 1.859, 2.484, 3.163, 3.705, 4.054)
_REDRAWN_MEANS = (1.82, 2.71, 3.32, 3.58, 3.76, 4.01)


def _lengths(preset: str) -> list[int]:
    settings = PRESETS[preset]
    return list(range(8, settings.sweep_max_context_len + 1, settings.sweep_step))[:3]


_WRONG_HINTS = [name for name, settings in PRESETS.items() if settings.sae_arch_declared != settings.sae_arch]
_OTHER_LENGTHS = [name for name in PRESETS if _lengths(name) != [8, 136, 264]]
_GAP = max(abs(one - other) for one, other in zip(_PAPER_MEANS, _REDRAWN_MEANS, strict=True))

PRINTED = (
    arithmetic(
        "seed_rule",
        "the third window of pythia-70m begins at token 169,792: 50 windows drawn by seed 0 from multiples of 64",
        "log of the authors' cluster",
        Outcome(
            f"of {_PYTHIA_TOKENS:,} tokens the rule draws {PYTHIA_STARTS[2]:,} as the third",
            holds=PYTHIA_STARTS[2] == 169_792,
            measured=PYTHIA_STARTS[2],
        ),
        "169,792",
    ),
    arithmetic(
        "sampled_features",
        "the full set of 298 features is a random sample of the 16,384, by seed 0",
        "scripts and configuration of the authors",
        Outcome(
            "300 drawn by seed 0, less 1033 and 6810, have the hash of the published list",
            len(_FULL_SET),
            holds=hashlib.sha256(",".join(map(str, _FULL_SET)).encode()).hexdigest() == _FEATURES_HASH,
        ),
        "298",
    ),
    arithmetic(
        "sampled_pairs",
        "298 features form 44,253 pairs",
        "configuration of the authors",
        Outcome("298 x 297 / 2 = 44,253", holds=298 * 297 // 2 == 44_253, measured=298 * 297 // 2),
        "44,253",
    ),
    arithmetic(
        "architecture_of_presets",
        "the six presets name the architecture of their autoencoders",
        "presets in the authors' code, as in run_config.json; the other side by the titles of their pictures",
        Outcome(
            f"{len(_WRONG_HINTS)} of {len(PRESETS)} do not: {', '.join(_WRONG_HINTS)}",
            holds=not _WRONG_HINTS,
            measured=len(_WRONG_HINTS),
        ),
    ),
    arithmetic(
        "sweep_lengths_of_presets",
        "the context lengths of the sweep are 8, 136, 264, ... for every model",
        "dataset card; the other side by the authors' cluster script for the sweep on WikiText",
        Outcome(
            f"not for {', '.join(_OTHER_LENGTHS)}, whose step of 64 gives {_lengths('gpt2-small')}",
            holds=not _OTHER_LENGTHS,
            measured=len(_OTHER_LENGTHS),
        ),
    ),
    arithmetic(
        "llama_expansion",
        "131,072 features are 32 times the width of llama-3-8b",
        "notes on pretrained autoencoders in the authors' code",
        Outcome("32 x 4,096 = 131,072", holds=32 * PRESETS["llama-3-8b"].d_model == 131_072, measured=32 * 4_096),
        "131,072",
    ),
    arithmetic(
        "paper_entropy_rises",
        "mean feature entropies of pythia-70m rise from layer to layer",
        "paper, mean entropies by layer",
        Outcome(f"{' < '.join(map(str, _PAPER_MEANS))} bits", holds=list(_PAPER_MEANS) == sorted(set(_PAPER_MEANS))),
    ),
    arithmetic(
        "paper_redrawn",
        "the figures that were redrawn from a later run show the paper's mean entropies",
        "paper, and titles of its figures as redrawn",
        Outcome(
            f"they are up to {_GAP:.2f} bits apart (0.898 and 1.82 at layer 0): features were chosen otherwise",
            holds=_GAP < 0.005,
            measured=_GAP,
        ),
    ),
)
