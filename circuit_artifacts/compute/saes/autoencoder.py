"""One module for sparse autoencoders of every format: ReLU, JumpReLU, top-k and gated.

With x of width d_in, and ``pre = x @ W_enc + b_enc``, the features are

============  ==========================================================================
``relu``      relu(pre)
``jumprelu``  pre where pre > threshold, else 0; in faithful mode never below 0
``topk``      relu of the k largest pre, else 0
``gated``     relu(x @ W_enc * exp(r_mag) + b_mag) where x @ W_enc + b_gate > 0, else 0
============  ==========================================================================

Mode ``compat`` does just that, as the published code of sae-locality does whatever the format asks for. Mode
``faithful`` prepares x first as in training: normalisation, then subtraction of b_dec (sae-locality spec 6).
"""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.saes.description import (
    ARCHITECTURES,
    Architecture,
    EncodeMode,
    SaeDescription,
    SaeOrigin,
    TrainingFacts,
)
from circuit_artifacts.compute.saes.normalization import NEEDS_INPUT, normalizer
from circuit_artifacts.compute.saes.shapes import check_shapes
from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = ["Gate", "SparseAutoencoder"]

_AXES: Final = {
    "W_enc": "ds", "b_enc": "s", "W_dec": "sd", "b_dec": "d",
    "threshold": "s", "b_gate": "s", "r_mag": "s", "b_mag": "s",
}  # fmt: skip
_PARTS: Final = {
    "relu": {"b_enc"},
    "jumprelu": {"b_enc", "threshold"},
    "topk": {"b_enc", "k"},
    "gated": {"gate"},
}


class Gate(NamedTuple):
    """The vectors (d_sae,) that a gated autoencoder has in place of ``b_enc``."""

    b_gate: Tensor
    r_mag: Tensor
    b_mag: Tensor


class SparseAutoencoder(nn.Module):
    """A sparse autoencoder. Tensors are used as they are, without a copy; gradients are off until asked for.

    Args:
        arch: one of ``ARCHITECTURES``.
        W_enc: (d_in, d_sae).
        b_enc: (d_sae,); None for ``gated`` only.
        W_dec: (d_sae, d_in).
        b_dec: (d_in,).
        threshold: (d_sae,), for ``jumprelu`` only.
        k: number of features kept, for ``topk`` only.
        gate: for ``gated`` only.
        trained: what faithful mode follows. If None it is assumed, and noted as such, that inputs were not normalised,
            and that b_dec was subtracted unless the architecture is ``jumprelu``, as in the formats of that name.
        origin: where the weights came from.

    Raises:
        UnknownNameError: no such architecture.
        ModelError: tensors that do not fit each other or are no floating-point numbers, or a threshold, k or gate
            that the architecture lacks or has no use for.
    """

    W_enc: Tensor
    b_enc: Tensor | None
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None

    def __init__(
        self,
        arch: Architecture,
        W_enc: Tensor,
        b_enc: Tensor | None,
        W_dec: Tensor,
        b_dec: Tensor,
        threshold: Tensor | None = None,
        k: int | None = None,
        *,
        gate: Gate | None = None,
        trained: TrainingFacts | None = None,
        origin: SaeOrigin | None = None,
    ) -> None:
        super().__init__()
        if arch not in ARCHITECTURES:
            problem = "there is no such architecture of autoencoders"
            raise UnknownNameError(problem, found=repr(arch), expected=", ".join(ARCHITECTURES))
        given = {"b_enc": b_enc, "threshold": threshold, "k": k, "gate": gate}
        for name, value in given.items():
            if (value is None) is (name in _PARTS[arch]):
                problem = f"{arch} autoencoders {'need a' if name in _PARTS[arch] else 'have no'} {name}"
                raise ModelError(problem, where=name)
        optional = {"b_enc": b_enc, "threshold": threshold} | (gate._asdict() if gate else {})
        tensors = {"W_enc": W_enc, "W_dec": W_dec, "b_dec": b_dec}
        tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
        self.arch: Architecture = arch
        self.d_in, self.d_sae = check_shapes(tensors, {name: _AXES[name] for name in tensors})
        self.k = k
        if k is not None and not 1 <= k <= self.d_sae:
            problem = "k is not between 1 and the number of features"
            raise ModelError(problem, where="k", found=k, expected=f"1 to {self.d_sae}")
        for name, tensor in tensors.items():
            if not tensor.dtype.is_floating_point:
                problem = "the tensor holds no floating-point numbers"
                raise ModelError(problem, where=name, found=tensor.dtype)
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        for name in {"b_enc", "threshold"} - tensors.keys():
            self.register_parameter(name, None)
        assumption = TrainingFacts(
            apply_b_dec_to_input=arch != "jumprelu",
            normalization="none",
            assumed=("apply_b_dec_to_input", "normalization"),
        )
        self.trained = trained or assumption
        self.origin = origin

    @property
    def description(self) -> SaeDescription:
        """Everything but the weights."""
        return SaeDescription(
            architecture=self.arch, d_in=self.d_in, d_sae=self.d_sae, k=self.k, trained=self.trained, origin=self.origin
        )

    @property
    def compat_differences(self) -> tuple[str, ...]:
        """In what compat mode departs from how this autoencoder was trained, in words; empty if in nothing."""
        negative = 0 if self.threshold is None else int((self.threshold < 0).sum())
        departures = {
            "it has no b_enc, so compat mode cannot encode": self.arch == "gated",
            f"inputs are fed raw, not normalised by {self.trained.normalization}, so that the set of active features "
            "is questionable": self.trained.normalization != "none",
            "b_dec is not subtracted from inputs": self.trained.apply_b_dec_to_input and bool(self.b_dec.any()),
            "the top k are chosen without the norms of decoder rows": self.trained.decoder_norm_rescaling,
            f"{negative} negative thresholds let negative values through": bool(negative),
        }
        return tuple(text for text, applies in departures.items() if applies)

    def encoder_input(self, x: Tensor, mode: EncodeMode = "compat") -> Tensor:
        """What the encoder's matrix is multiplied with: x itself in compat mode, x prepared as in training else.

        Args:
            x: (..., d_in); cast to the dtype of the weights.
            mode: see the module.

        Raises:
            UnknownNameError: no such mode.
            ModelError: x has another width, or the factor of its normalisation is unknown.
        """
        _check_mode(mode)
        if x.shape[-1:] != (self.d_in,):
            problem = "the input has another width than the autoencoder"
            raise ModelError(problem, where="x", found=tuple(x.shape), expected=f"(..., {self.d_in})")
        x = x.to(self.W_enc.dtype)
        if mode == "compat":
            return x
        normal = normalizer(self.trained, x)
        x = x if normal is None else normal.apply(x)
        return x - self.b_dec if self.trained.apply_b_dec_to_input else x

    def encode(self, x: Tensor, mode: EncodeMode = "compat") -> Tensor:
        """Feature activations, differentiable in x.

        Args:
            x: (..., d_in); cast to the dtype of the weights.
            mode: see the module.

        Returns:
            (..., d_sae) in the dtype of the weights.

        Raises:
            UnknownNameError, ModelError: as `encoder_input`; ModelError also for a gated autoencoder in compat mode.
        """
        product = self.encoder_input(x, mode) @ self.W_enc
        if self.b_enc is None:
            return self._gated(product, mode)
        pre = product + self.b_enc
        if self.arch == "relu":
            return torch.relu(pre)
        if self.threshold is not None:
            values = pre if mode == "compat" else torch.relu(pre)
            return values * (pre > self.threshold)
        return self._largest(pre, mode)

    def decode(self, f: Tensor, mode: EncodeMode = "compat", *, x: Tensor | None = None) -> Tensor:
        """Reconstruct inputs from features.

        Args:
            f: (..., d_sae).
            mode: ``faithful`` brings the reconstruction back to the scale of inputs that are normalised in training.
            x: the inputs (..., d_in) that were encoded; needed only if each was normalised by itself.

        Returns:
            (..., d_in) in the dtype of the weights.

        Raises:
            UnknownNameError: no such mode.
            ModelError: f has another width, or what the normalisation needs is missing.
        """
        _check_mode(mode)
        if f.shape[-1:] != (self.d_sae,):
            problem = "there are not as many features as the autoencoder has"
            raise ModelError(problem, where="f", found=tuple(f.shape), expected=f"(..., {self.d_sae})")
        f = f.to(self.W_dec.dtype)
        if mode == "compat":
            return f @ self.W_dec + self.b_dec
        if self.trained.decoder_norm_rescaling:
            f = f / self.W_dec.norm(dim=-1)
        reconstruction = f @ self.W_dec + self.b_dec
        x = x.to(self.W_dec.dtype) if x is not None and self.trained.normalization in NEEDS_INPUT else None
        normal = normalizer(self.trained, x)
        return reconstruction if normal is None else normal.undo(reconstruction)

    def forward(self, x: Tensor, mode: EncodeMode = "compat") -> Tensor:
        """Encode and decode: the reconstruction (..., d_in) of inputs (..., d_in).

        Raises:
            UnknownNameError, ModelError: as `encode`.
        """
        return self.decode(self.encode(x, mode), mode, x=x)

    def restricted(self, features: slice | Tensor) -> SparseAutoencoder:
        """The autoencoder with some features only, for inference; of a slice, on views of the same tensors.

        Args:
            features: a slice, or int64 (n,).

        Raises:
            ModelError: it is top-k, where other features decide which are on.
        """
        if self.arch == "topk":
            problem = "which features of a top-k autoencoder are on depends on all of them"
            raise ModelError(problem, where="arch", found=self.arch, remedy="Encode with all, and choose then")
        parts = {name: tensor.detach() for name, tensor in self.named_parameters()}
        for name in parts.keys() - {"b_dec"}:
            parts[name] = parts[name][:, features] if name == "W_enc" else parts[name][features]
        gate = Gate(*(parts.pop(name) for name in Gate._fields)) if self.arch == "gated" else None
        return SparseAutoencoder(
            self.arch,
            parts["W_enc"],
            parts.get("b_enc"),
            parts["W_dec"],
            parts["b_dec"],
            threshold=parts.get("threshold"),
            gate=gate,
            trained=self.trained,
            origin=self.origin,
        )

    def _gated(self, product: Tensor, mode: EncodeMode) -> Tensor:
        if mode == "compat":
            problem = "the published code reads b_enc, which gated autoencoders lack"
            raise ModelError(problem, where="mode", found=mode, remedy="Encode with mode='faithful'")
        gate = Gate(self.get_parameter("b_gate"), self.get_parameter("r_mag"), self.get_parameter("b_mag"))
        magnitude = torch.relu(product * gate.r_mag.exp() + gate.b_mag)
        return magnitude * (product + gate.b_gate > 0)

    def _largest(self, pre: Tensor, mode: EncodeMode) -> Tensor:
        if mode == "faithful" and self.trained.decoder_norm_rescaling:
            pre = pre * self.W_dec.norm(dim=-1)
        values, places = torch.topk(pre, self.k or 0, dim=-1)
        return torch.zeros_like(pre).scatter(-1, places, torch.relu(values))


def _check_mode(mode: str) -> None:
    if mode not in get_args(EncodeMode):
        problem = "there is no such mode of encoding"
        raise UnknownNameError(problem, where="mode", found=repr(mode), expected=", ".join(get_args(EncodeMode)))
