"""What the bundled model is and how it is trained: the constants that training and export share (model spec 5)."""

from __future__ import annotations

from circuit_artifacts.compute.models.config import SPARSIFIED_SITES, CircuitConfig

CONFIG = CircuitConfig(
    n_layer=8,
    d_model=64,
    n_head=8,
    d_head=8,
    d_mlp=256,
    block_size=256,
    d_pos_emb=16,
    vocab_size=2048,
    rms_norm=True,
    tied_unembed=False,
    sink=True,
    afrac=0.25,
    afrac_loctypes=",".join(SPARSIFIED_SITES),
)
SEED = 20251
STEPS = 3400
LIBRARY_ROWS, PROMPT_ROWS = 13, 3  # per step, of block_size tokens each
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 1.28e-2, 0.01, 0.1
ANNEAL_FROM, ANNEAL_TO = 0.01, 0.5  # of all steps
MATRIX_DENSITY, EMBEDDING_DENSITY, LEAST_PER_NEURON = 1 / 8, 1 / 4, 4


def target_density(name: str) -> float | None:
    """The share of entries of a weight that survives at the end; None where all do."""
    if name in {"transformer.wte.weight", "lm_head.weight"}:
        return EMBEDDING_DENSITY
    return MATRIX_DENSITY if name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")) else None
