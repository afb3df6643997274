"""A random sparse autoencoder in every published file layout, under the parameter names of sae-locality spec 6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = [
    "LAYOUTS",
    "D",
    "S",
    "X",
    "linear",
    "parts",
    "write_config",
    "write_npz",
    "write_sae",
    "write_safetensors",
    "write_torch",
]

D, S = 6, 20


def parts() -> dict[str, Tensor]:
    """Weights in the shapes of SAELens; thresholds are not negative."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "W_enc": normal(D, S), "b_enc": normal(S), "W_dec": normal(S, D), "b_dec": normal(D),
        "threshold": normal(S).abs(), "b_gate": normal(S), "r_mag": normal(S), "b_mag": normal(S),
    }  # fmt: skip


X = torch.randn(4, D, generator=torch.Generator().manual_seed(1))


def write_torch(file: Path, tensors: dict[str, Any], **options: Any) -> Path:
    """Write a state dict as `torch.save` does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, file, **options)
    return file.parent


def write_safetensors(file: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a safetensors file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file.parent


def write_npz(file: Path, tensors: dict[str, Tensor]) -> Path:
    """Write an ``.npz`` file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **{name: tensor.numpy() for name, tensor in tensors.items()})
    return file.parent


def write_config(file: Path, **values: Any) -> None:
    """Write a JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values))


def linear(p: dict[str, Tensor]) -> dict[str, Tensor]:
    """The matrices and the encoder's bias as linear layers keep them: (out, in)."""
    return {"encoder.weight": p["W_enc"].T, "encoder.bias": p["b_enc"], "decoder.weight": p["W_dec"].T}


def _dictionary(root: Path) -> Path:
    p = parts()
    return write_torch(root / "resid_out_layer3" / f"10_{S}" / "ae.pt", linear(p) | {"bias": p["b_dec"]})


def _saelens(root: Path) -> Path:
    p = parts()
    folder = root / "blocks.7.hook_resid_post"
    write_config(
        folder / "cfg.json", d_in=D, d_sae=S, architecture="standard", activation_fn_str="topk",
        activation_fn_kwargs={"k": 3}, normalize_activations="layer_norm", apply_b_dec_to_input=True,
        hook_name="blocks.7.hook_resid_post", hook_layer=7, model_name="gpt2-small", dtype="torch.float32",
    )  # fmt: skip
    return write_safetensors(
        folder / "sae_weights.safetensors", {name: p[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    )


def _gemma_scope(root: Path) -> Path:
    p = parts()
    file = root / "layer_12" / "width_16k" / "average_l0_82" / "params.npz"
    return write_npz(file, {name: p[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")})


def _sparsify(root: Path) -> Path:
    p = parts()
    folder = root / "layers.5"
    write_config(folder / "cfg.json", d_in=D, expansion_factor=32, num_latents=S, k=3, normalize_decoder=True)
    names = {"encoder.weight": p["W_enc"].T, "encoder.bias": p["b_enc"], "W_dec": p["W_dec"], "b_dec": p["b_dec"]}
    return write_safetensors(folder / "sae.safetensors", names)


def _llama_scope(root: Path) -> Path:
    p = parts()
    folder = root / "Llama3_1-8B-Base-L15R-8x"
    write_config(
        folder / "hyperparams.json", d_model=D, d_sae=S, jump_relu_threshold=0.25, act_fn="jumprelu",
        dataset_average_activation_norm={"in": 11.5, "out": 11.5}, norm_activation="dataset-wise",
        hook_point_in="blocks.15.hook_resid_post", hook_point_out="blocks.15.hook_resid_post",
        apply_decoder_bias_to_pre_encoder=False, top_k=50,
    )  # fmt: skip
    write_safetensors(
        folder / "checkpoints" / "final.safetensors",
        {name: tensor.to(torch.bfloat16) for name, tensor in (linear(p) | {"decoder.bias": p["b_dec"]}).items()},
    )
    return folder


LAYOUTS = {
    "dictionary_learning": _dictionary,
    "saelens": _saelens,
    "gemma_scope": _gemma_scope,
    "sparsify": _sparsify,
    "llama_scope": _llama_scope,
}


def write_sae(layout: str, root: Path) -> Path:
    """Write the autoencoder of `parts` in a published layout; returns its folder."""
    return LAYOUTS[layout](root)
