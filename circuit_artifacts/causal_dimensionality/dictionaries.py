"""The dictionaries of Marks et al.: plain ReLU autoencoders with one bias (causal-dimensionality spec 1.2 to 1.4).

With x of width d_in, the features are f = relu(W_e (x - b) + c), and the reconstruction is W_d f + b. There is no
threshold, so they are no JumpReLU autoencoders, whatever the card says. Files are mapped, not read: a part of one costs
that part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.formats.row_tables import make_table
from circuit_artifacts.schemas.causal_dimensionality import SaeFeature, SaeInventory

__all__ = [
    "PUBLISHED_CLASS",
    "Dictionary",
    "features",
    "inventory",
    "normalised",
    "open_dictionary",
    "sae_class",
    "summary",
]

Floats = npt.NDArray[np.float32]
Norms = npt.NDArray[np.float64]

_SHAPES: Mapping[str, str] = MappingProxyType(
    {"encoder.weight": "sd", "encoder.bias": "s", "decoder.weight": "ds", "bias": "d"}
)
"""The tensors of a dictionary, first the one that gives s, the number of features, and d, the width of the model."""
PUBLISHED_CLASS = "relu"
_CLASSES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "jumprelu": frozenset({"W_enc", "W_dec", "threshold"}),
        "gated": frozenset({"gate_bias", "r_mag"}),
        "topk": frozenset({"encoder.weight", "encoder.bias", "W_dec", "b_dec"}),
        "relu_april_update": frozenset({"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}),
    }
)
"""Other classes of autoencoders, and the tensors that tell them (spec 1.4)."""
_BATCH_ROWS = 2048


@dataclass(frozen=True)
class Dictionary:
    """An autoencoder's weights, mapped from its file.

    Attributes:
        file: where they are from.
        bias: b, float32 (d_in,).
        encoder: W_e, float32 (d_sae, d_in).
        encoder_bias: c, float32 (d_sae,).
        decoder: W_d, float32 (d_in, d_sae).
        dtype: of the tensors in the file.
        container: "torch" or "safetensors".
        payload: bytes of the numbers in the file.
    """

    file: RepositoryFile
    bias: Floats
    encoder: Floats
    encoder_bias: Floats
    decoder: Floats
    dtype: str
    container: str
    payload: int

    @property
    def d_in(self) -> int:
        """Width of the model."""
        return int(self.encoder.shape[1])

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return int(self.encoder.shape[0])

    @property
    def decoder_norms(self) -> Norms:
        """L2 norms of the decoder's columns, float64 (d_sae,)."""
        return _norms(self.decoder, "ij,ij->j")

    @property
    def encoder_norms(self) -> Norms:
        """L2 norms of the encoder's rows, float64 (d_sae,)."""
        return _norms(self.encoder, "ij,ij->i")


def sae_class(names: Collection[str]) -> str:
    """The class of an autoencoder, told by the names of its tensors (spec 1.4).

    Returns:
        "relu" for the published one, "jumprelu", "gated", "topk", "relu_april_update" (whose bias of the decoder is not
        subtracted from inputs), or "unknown".
    """
    if set(names) == set(_SHAPES):
        return PUBLISHED_CLASS
    return next((kind for kind, marks in _CLASSES.items() if marks <= set(names)), "unknown")


def open_dictionary(file: RepositoryFile) -> Dictionary:
    """Map a dictionary: ``ae.pt`` in torch's zip or legacy form, or its twin in safetensors. Nothing in it is run.

    Float16 and bfloat16 are widened. That its numbers are finite is checked when they are used.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it names anything but tensors and plain containers.
        FormatError: it is damaged, or of another format.
        SchemaError: it holds another class of autoencoder, tensors whose shapes do not fit each other or the folder's
            name, or no floating-point numbers.
    """
    container, tensors = _read(file)
    kind = sae_class(tensors)
    if kind != PUBLISHED_CLASS:
        problem = f"this is no dictionary of Marks et al., but an autoencoder of class {kind}"
        raise SchemaError(problem, file=file.path, found=", ".join(tensors), expected=", ".join(_SHAPES))
    _check_shapes(file, tensors)
    encoder, encoder_bias, decoder, bias = (_floats(tensors[name]) for name in _SHAPES)
    return Dictionary(
        file=file,
        bias=bias,
        encoder=encoder,
        encoder_bias=encoder_bias,
        decoder=decoder,
        dtype=", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})),
        container=container,
        payload=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
    )


def normalised(dictionary: Dictionary) -> Dictionary:
    """The same autoencoder with decoder columns of norm 1.

    With n the norms of W_d's columns: W_d / n, n W_e, n c. Reconstructions stay, features are multiplied by n (spec
    1.2). Columns of norm 0 are left alone.
    """
    exact = dictionary.decoder_norms
    norms: Floats = np.where(exact > 0, exact, 1).astype(np.float32)
    return replace(
        dictionary,
        encoder=dictionary.encoder * norms[:, None],
        encoder_bias=dictionary.encoder_bias * norms,
        decoder=dictionary.decoder / norms,
    )


def features(dictionary: Dictionary, start: int = 0, stop: int | None = None) -> Iterator[pa.Table]:
    """Rows of `SaeFeature` in order, in tables of at most 2,048.

    Args:
        dictionary: an open one.
        start: first feature.
        stop: the feature after the last; None for all.

    Raises:
        SchemaError: a number is not finite.
    """
    stop = dictionary.d_sae if stop is None else stop
    for first in range(start, stop, _BATCH_ROWS):
        rows = slice(first, min(first + _BATCH_ROWS, stop))
        encoder, decoder = dictionary.encoder[rows], np.ascontiguousarray(dictionary.decoder[:, rows].T)
        columns = {
            "index": np.arange(rows.start, rows.stop, dtype=np.int32),
            "encoder_bias": dictionary.encoder_bias[rows],
            "encoder": _vectors(encoder),
            "decoder": _vectors(decoder),
            "encoder_norm": _norms(encoder, "ij,ij->i"),
            "decoder_norm": _norms(decoder, "ij,ij->i"),
        }
        for name, part in (("encoder_norm", "encoder.weight"), ("decoder_norm", "decoder.weight")):
            _check_finite(dictionary.file, part, columns[name], first)
        _check_finite(dictionary.file, "encoder.bias", columns["encoder_bias"], first)
        n_rows = rows.stop - rows.start
        yield make_table(SaeFeature, columns, n_rows, file=dictionary.file, width=dictionary.d_in)


def inventory(file: RepositoryFile) -> pa.Table:
    """One row of `SaeInventory`.

    Raises:
        MissingArtifactError, UnsafeContentError, FormatError: as :func:`open_dictionary`.
        SchemaError: as there, or a number is not finite.
    """
    return summary(open_dictionary(file))


def summary(dictionary: Dictionary) -> pa.Table:
    """As :func:`inventory`, of an open dictionary.

    Raises:
        SchemaError: a number is not finite.
    """
    file, place = dictionary.file, dictionary.file.place
    spread: dict[str, npt.NDArray[Any]] = {
        "decoder_norm": dictionary.decoder_norms,
        "encoder_norm": dictionary.encoder_norms,
        "encoder_bias": dictionary.encoder_bias,
    }
    for name, part in zip(spread, ("decoder.weight", "encoder.weight", "encoder.bias"), strict=True):
        _check_finite(file, part, spread[name])
    _check_finite(file, "bias", dictionary.bias)
    columns = {
        "site": place.site,
        "hook": place.hook,
        "layer": place.layer,
        "path": file.name,
        "set_id": place.set_id,
        "d_in": dictionary.d_in,
        "d_sae": dictionary.d_sae,
        "encoder_shape": [list(dictionary.encoder.shape)],
        "decoder_shape": [list(dictionary.decoder.shape)],
        "dtype": dictionary.dtype,
        "container": dictionary.container,
        "bytes": file.path.stat().st_size,
        "sha256": provenance.file_digest(file.path).removeprefix("sha256:"),
        "bias_norm": float(np.linalg.norm(dictionary.bias.astype(np.float64))),
    }
    for name, values in spread.items():
        columns |= {
            f"{name}_min": float(values.min()),
            f"{name}_mean": float(values.mean(dtype=np.float64)),
            f"{name}_max": float(values.max()),
        }
    return make_table(SaeInventory, columns, 1, file=file)


def _read(file: RepositoryFile) -> tuple[str, Mapping[str, Any]]:
    """The container and the tensors by name."""
    with extras_named():
        from circuit_artifacts.compute.saes.stored import read_tensors  # imports torch, which listing does without

    return read_tensors(file.path)


def _check_shapes(file: RepositoryFile, tensors: Mapping[str, Any]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    matrix = shapes["encoder.weight"]
    sizes = dict(zip("sd", matrix, strict=True)) if len(matrix) == 2 and all(matrix) else {}
    for name, axes in _SHAPES.items():
        expected = tuple(sizes[axis] for axis in axes) if sizes else "two axes"
        if shapes[name] != expected:
            problem = "a tensor has another shape"
            raise SchemaError(problem, file=file.path, where=name, found=shapes[name], expected=expected)
        if not tensors[name].dtype.is_floating_point:
            problem = "a tensor holds no floating-point numbers"
            raise SchemaError(problem, file=file.path, where=name, found=tensors[name].dtype, expected="float32")
    promised = file.place.d_sae
    if promised not in {None, sizes["s"]}:
        problem = "the folder's name promises another number of features"
        raise SchemaError(problem, file=file.path, found=sizes["s"], expected=promised)


def _floats(tensor: Any) -> Floats:
    """Without a copy where the file has float32."""
    array: Floats = tensor.detach().float().numpy()
    return array


def _norms(matrix: Floats, axes: str) -> Norms:
    """Exact in float64 without a second matrix; not finite where a number is not."""
    squares: Norms = np.einsum(axes, matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)


def _vectors(matrix: Floats) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).reshape(-1)), matrix.shape[1])


def _check_finite(file: RepositoryFile, name: str, values: npt.NDArray[Any], first: int = 0) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        problem = "a number is not finite"
        where = f"{name}[{first + int(np.argmin(finite))}]"
        raise SchemaError(problem, file=file.path, where=where, remedy="Get the file again.")
