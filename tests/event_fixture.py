"""A tiny model, random autoencoders and a corpus for tests of the events strand; in circuit-sparsity tokens."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import tiny_model
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.locality.events import FeatureEntropy, MeasuredEvent, entropy_by_feature
from circuit_artifacts.compute.models import TextTokenizer, load_model, load_tokenizer
from circuit_artifacts.compute.saes import Architecture, Gate, SparseAutoencoder, TrainingFacts
from circuit_artifacts.provenance import Provenance

__all__ = ["N_FEATURES", "RECORD", "SILENT", "autoencoder", "corpus", "entropies", "model", "tokenizer"]

N_FEATURES = 24
SILENT = 5
"""A feature that fires nowhere."""
RECORD = Provenance(mirror="sae-locality", step="test")
_WIDTH, _LAYERS = 16, 2


@functools.cache
def _built() -> tuple[nn.Module, TextTokenizer]:
    with tempfile.TemporaryDirectory() as folder:
        written = str(tiny_model.write_tiny_model(Path(folder) / "model", n_layer=_LAYERS, d_model=_WIDTH))
        return load_model(written), load_tokenizer(written)


def model() -> nn.Module:
    """The same one for all tests of a process."""
    return _built()[0]


def tokenizer() -> TextTokenizer:
    """Of the model."""
    return _built()[1]


def autoencoder(arch: Architecture = "relu", *, shift: float = 0.0) -> SparseAutoencoder:
    """Random weights; some thresholds are negative. In training, it says, inputs were layer-normalised, less b_dec."""
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    bias = weights(N_FEATURES) * 0.1 + shift
    bias[SILENT] = -1e6
    return SparseAutoencoder(
        arch,
        weights(_WIDTH, N_FEATURES),
        None if arch == "gated" else bias,
        weights(N_FEATURES, _WIDTH),
        weights(_WIDTH),
        threshold=weights(N_FEATURES) * 0.1 if arch == "jumprelu" else None,
        k=5 if arch == "topk" else None,
        gate=Gate(bias, weights(N_FEATURES) * 0.1, bias) if arch == "gated" else None,
        trained=TrainingFacts(apply_b_dec_to_input=True, normalization="layer_norm"),
    )


def corpus(n_tokens: int = 203) -> Tensor:
    """Random tokens."""
    return torch.randint(0, 319, (n_tokens,), generator=torch.Generator().manual_seed(2))


def entropies(events: list[MeasuredEvent]) -> list[FeatureEntropy]:
    """Of each feature, over its events."""
    return entropy_by_feature([event.feature_id for event in events], [event.H_pos_bits for event in events])
