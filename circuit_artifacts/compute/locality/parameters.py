"""What the SAE-locality steps can be told; what is not said is that of the preset, or the published experiment's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from circuit_artifacts.compute.locality.presets import (
    CONTEXT_LEN,
    N_WINDOWS,
    SEED,
    SWEEP_MIN_CONTEXT_LEN,
    SWEEP_SEED,
)
from circuit_artifacts.compute.step_parameters import StepParameters

__all__ = ["LocalityParameters"]


class LocalityParameters(StepParameters):
    """Parameters of all strands.

    Attributes:
        preset: model and autoencoders (`presets`); another name, with `model` and `sae`, for others.
        model: "mini", a folder, or a Hub id; None takes the preset's.
        sae: reference of the autoencoders, as `load_sae` takes it, with ``{layer}`` in it; None takes the preset's.
        sae_encode: "compat" as the published code, "faithful" as the autoencoders were trained.
        site: what file names call the place that they read.
        layers: of depth runs and sweeps.
        threshold: a feature is active above it.
        dataset: name of the corpus, in paths and as `corpora.load_corpus` knows it.
        corpus: a text file or a folder, in place of the corpus of that name.
        device: where the model runs.
        pass_tokens: tokens in one backward pass; None chooses by device.
        timestamp: of new runs, ``YYYYMMDD_HHMMSS``; None is now.
        context_len: tokens per window of a depth run.
        n_windows: windows of a depth run.
        windows: how they are chosen.
        seed: for random windows, and for sampling features.
        prompt: a text file whose end is the prompt of sweeps; None cuts one out of the corpus.
        sweep_min_context_len: shortest context of a sweep.
        sweep_max_context_len: longest; None takes the preset's.
        sweep_step: between them; None takes the preset's.
        sweep_seed: for the prompt.
        layer: of events, geometry and autocorrelation.
        features: of the same: a published list (`feature_lists`), ids, or how many to sample of those that are active
            on 1e-5 to 0.1 of the corpus's tokens.
        contexts: where events come from: a scan of the corpus, or Neuronpedia.
        neuronpedia: model and autoencoder there, ``model/sae``.
        top_k: events per feature.
        scan_window: tokens of the windows that are scanned.
        scan_windows: windows scanned at most.
        event_context_lens: tokens before and with each peak, once for every length.
        n_permutations: of the geometry's null.
        n_documents: of the corpus, at most, that activations are followed through; longer ones are cut.
        document_tokens: tokens of a document, at most; never more than the model takes.
        lookback: tokens of the windows whose entropy is measured.
        n_examples: activation traces per feature.
        n_positions: active positions per feature whose entropy is measured.
        max_lag: tokens between activations that are correlated.
    """

    preset: str = "gemma-2-2b"
    model: str | None = None
    sae: str | None = None
    sae_encode: Literal["compat", "faithful"] = "compat"
    site: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    layers: tuple[int, ...] | None = None
    threshold: float | None = Field(default=None, ge=0)
    dataset: str = Field(default="wikitext", pattern=r"^[\w.-]+$")
    corpus: str | None = None
    device: str = "cpu"
    pass_tokens: int | None = Field(default=None, ge=1)
    engine: Literal["local"] = "local"
    timestamp: str | None = Field(default=None, pattern=r"^\d{8}_\d{6}$")

    context_len: int = Field(default=CONTEXT_LEN, ge=1)
    n_windows: int = Field(default=N_WINDOWS, ge=1)
    windows: Literal["random", "sequential"] = "random"
    seed: int = SEED

    prompt: str | None = None
    sweep_min_context_len: int = Field(default=SWEEP_MIN_CONTEXT_LEN, ge=1)
    sweep_max_context_len: int | None = Field(default=None, ge=1)
    sweep_step: int | None = Field(default=None, ge=1)
    sweep_seed: int = SWEEP_SEED

    layer: int = Field(default=12, ge=0)
    features: int | tuple[int, ...] | str = "full298"
    contexts: Literal["neuronpedia", "scan"] = "neuronpedia"
    neuronpedia: str = "gemma-2-2b/12-gemmascope-res-16k"
    top_k: int = Field(default=32, ge=1)
    scan_window: int = Field(default=256, ge=1)
    scan_windows: int = Field(default=4000, ge=1)
    event_context_lens: tuple[int, ...] = (128,)

    n_permutations: int = Field(default=200, ge=1)

    n_documents: int = Field(default=2000, ge=1)
    document_tokens: int = Field(default=1024, ge=1)
    lookback: int = Field(default=256, ge=1)
    n_examples: int = Field(default=16, ge=1)
    n_positions: int = Field(default=32, ge=1)
    max_lag: int = Field(default=64, ge=1)
