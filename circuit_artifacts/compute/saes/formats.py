"""The file formats of sparse autoencoders, as one table that recognising and fetching read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from circuit_artifacts.compute.saes import dictionary_learning, gemma_scope, llama_scope, saelens, sparsify
from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.stored import Container, StoredSae
from circuit_artifacts.errors import FormatError

__all__ = ["CONFIGS", "FORMATS", "WEIGHTS", "SaeFormat", "recognise"]


@dataclass(frozen=True, kw_only=True)
class SaeFormat:
    """One kind of file.

    Attributes:
        name: of the format.
        weights: the file with the tensors as it is published, in the folder of the autoencoder.
        config: the configuration in that folder; None if there is none.
        container: what the file is.
        marks: names, in lower case, of tensors that tell it from the others in that container.
        read: its reader.
    """

    name: str
    weights: str
    config: str | None
    container: Container
    marks: frozenset[str]
    read: Callable[[StoredSae], SparseAutoencoder]


FORMATS: Final = (
    SaeFormat(
        name=saelens.NAME,
        weights=saelens.WEIGHTS,
        config=saelens.CONFIG,
        container="safetensors",
        marks=frozenset({"w_enc"}),
        read=saelens.read_saelens,
    ),
    SaeFormat(
        name=sparsify.NAME,
        weights="sae.safetensors",
        config=sparsify.CONFIG,
        container="safetensors",
        marks=frozenset({"encoder.weight", "w_dec"}),
        read=sparsify.read_sparsify,
    ),
    SaeFormat(
        name=llama_scope.NAME,
        weights="checkpoints/final.safetensors",
        config=llama_scope.CONFIG,
        container="safetensors",
        marks=frozenset({"encoder.weight", "decoder.bias"}),
        read=llama_scope.read_llama_scope,
    ),
    SaeFormat(
        name=dictionary_learning.NAME,
        weights="ae.safetensors",
        config=dictionary_learning.CONFIG,
        container="safetensors",
        marks=frozenset({"encoder.weight"}),
        read=dictionary_learning.read_dictionary_learning,
    ),
    SaeFormat(
        name=dictionary_learning.NAME,
        weights="ae.pt",
        config=dictionary_learning.CONFIG,
        container="torch",
        marks=frozenset(),
        read=dictionary_learning.read_dictionary_learning,
    ),
    SaeFormat(
        name=gemma_scope.NAME,
        weights="params.npz",
        config=None,
        container="npz",
        marks=frozenset(),
        read=gemma_scope.read_gemma_scope,
    ),
)
"""The first whose container and marks fit is the one."""

WEIGHTS: Final = tuple(item.weights for item in FORMATS)
CONFIGS: Final = tuple(sorted({item.config for item in FORMATS if item.config}))


def recognise(container: Container, names: Collection[str], *, file: Path) -> SaeFormat:
    """The format of a file, told by what is in it.

    Args:
        container: what the file is.
        names: of its tensors.
        file: for the message.

    Raises:
        FormatError: it is of none.
    """
    lower = {name.lower() for name in names}
    for item in FORMATS:
        if item.container == container and item.marks <= lower:
            return item
    problem = "these are not the tensors of a sparse autoencoder in a known format"
    expected = "; ".join(
        f"{' and '.join(sorted(item.marks))} ({item.name})" for item in FORMATS if item.container == container
    )
    raise FormatError(problem, file=file, found=", ".join(names) or "no tensors", expected=expected)
