"""What the causal-dimensionality experiments can be told; the defaults are the published model, as far as known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from circuit_artifacts.compute.step_parameters import StepParameters

__all__ = ["CausalityParameters"]

Experiment = Literal[
    "width_sweep", "atp_versus_exact", "curve_fit", "cells", "recall", "planted", "layers", "kappa"
]  # fmt: skip


class CausalityParameters(StepParameters):
    """Parameters of all experiments.

    Attributes:
        model: "mini", a folder, or a Hub id.
        site: what the autoencoders read (`hooks.SITES`).
        layer: of the width sweep and what follows from it.
        saes: the autoencoders of that layer, of different widths, as `load_sae` takes them; "mini/..." are the bundled.
        layer_sae: autoencoders of one width with ``{layer}`` in it, for experiments over layers and circuits.
        layers: of those experiments.
        sae_encode: as in `SparseAutoencoder.encode`.
        dataset: name of the corpus; its windows are evenly spaced.
        corpus: a text file or folder in its place.
        n_sequences: windows.
        seq_len: tokens in each.
        metric: of the model's output.
        reduction: of effects over tokens to a score.
        atp_variant: plain attribution patching is the published one.
        quantile: the calibration of rule P, 0.98 makes 2 % of all features causal at the narrowest width.
        n_exact: features ablated exactly, per autoencoder.
        n_exact_sequences: on so many of the sequences.
        n_boot: resamples of sequences.
        output: of the model, for kappa.
        n_probes: probes per sequence, for kappa.
        policies: how random encoders fire.
        structures: of sentences; the first makes the circuit, the others are held out.
        lexicon: words of the generated sentences.
        agreement: folder of published agreement files, in place of generated sentences.
        n_examples: sentences.
        circuit_size: features of the circuit.
        seed: of everything random.
        device: where the model runs.
        experiments: which to do.
    """

    model: str = "google/gemma-2-2b"
    site: Literal["resid_post", "attn_out", "mlp_out"] = "resid_post"
    layer: int = Field(default=12, ge=0)
    saes: tuple[str, ...] = tuple(
        f"hf://google/gemma-scope-2b-pt-res/layer_12/width_{width}/average_l0_{active}"
        for width, active in (
            ("16k", 82), ("32k", 76), ("65k", 72), ("131k", 67), ("262k", 67), ("524k", 65), ("1m", 73)
        )
    )  # fmt: skip
    layer_sae: str | None = None
    layers: tuple[int, ...] = (1, 4, 8, 10, 12, 16, 20, 23)
    sae_encode: Literal["compat", "faithful"] = "faithful"
    dataset: str = Field(default="wikitext", pattern=r"^[\w.-]+$")
    corpus: str | None = None
    n_sequences: int = Field(default=64, ge=2)
    seq_len: int = Field(default=512, ge=2)
    metric: Literal["ce_sum", "ce_mean", "logit_top1"] = "ce_sum"
    reduction: Literal["mean_abs", "max_abs", "abs_mean", "mean_abs_active"] = "mean_abs"
    atp_variant: Literal["plain", "graddrop"] = "plain"
    quantile: float = Field(default=0.98, gt=0, lt=1)
    n_exact: int = Field(default=500, ge=10)
    n_exact_sequences: int = Field(default=16, ge=1)
    n_boot: int = Field(default=1000, ge=10)
    output: Literal["logits", "centred_logits", "logprobs", "ce", "fisher", "resid_final"] = "centred_logits"
    n_probes: int = Field(default=4, ge=1)
    policies: tuple[Literal["keep", "zero", "match_rate", "topk"], ...] = ("keep", "match_rate")
    structures: tuple[Literal["simple", "nounpp", "within_rc", "rc"], ...] = ("rc", "simple")
    lexicon: Literal["english", "code"] = "english"
    agreement: str | None = None
    n_examples: int = Field(default=100, ge=2)
    circuit_size: int = Field(default=56, ge=1)
    seed: int = 0
    device: str = "cpu"
    engine: Literal["local"] = "local"
    experiments: tuple[Experiment, ...] = (
        "width_sweep", "atp_versus_exact", "curve_fit", "cells", "recall", "planted", "layers", "kappa",
    )  # fmt: skip
