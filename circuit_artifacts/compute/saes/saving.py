"""Writing a sparse autoencoder in the layout of SAELens, so that other tools read it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.saelens import CONFIG, FACTS, WEIGHTS
from circuit_artifacts.provenance import KEY, Provenance, derived_file

__all__ = ["save_sae"]

_LAYOUT_VERSION: Final = "6.0.0"  # of SAELens: without it the library would read the configuration as an older one


def save_sae(sae: SparseAutoencoder, folder: Path, *, record: Provenance) -> Path:
    """Write ``cfg.json`` and ``sae_weights.safetensors``, each with its provenance; `load_sae` reads them.

    Equal autoencoders with equal records give equal bytes.

    Args:
        sae: any autoencoder.
        folder: created if need be; files of these names are replaced.
        record: how it was made.

    Returns:
        The folder.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sae.state_dict().items()}
    with derived_file(folder / WEIGHTS, record) as file:
        # One key only: the order of several would differ from run to run.
        save_file(tensors, file, metadata={KEY: record.embedded()})
    with derived_file(folder / CONFIG, record) as file:
        file.write_text(json.dumps(_config(sae), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _config(sae: SparseAutoencoder) -> dict[str, Any]:
    origin, trained = sae.origin, sae.trained
    config = {
        "architecture": "standard" if sae.arch == "relu" else sae.arch,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "k": sae.k,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": trained.apply_b_dec_to_input,
        "normalize_activations": trained.normalization,
        "rescale_acts_by_decoder_norm": trained.decoder_norm_rescaling,
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": _LAYOUT_VERSION,
            "model_name": origin and origin.model,
            "hook_name": origin and origin.hook_point,
            "hook_layer": origin and origin.layer,
            FACTS: {
                "activation_scale": trained.activation_scale,
                "assumed": trained.assumed,
                "folded_scale": origin and origin.folded_scale,
            },
        },
    }
    return {name: value for name, value in config.items() if value is not None}
