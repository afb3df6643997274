"""Reading a sparse autoencoder of any format from anywhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.formats import recognise
from circuit_artifacts.compute.saes.places import locate_sae
from circuit_artifacts.compute.saes.registry import SCHEME, look_up
from circuit_artifacts.compute.saes.stored import StoredSae, read_tensors
from circuit_artifacts.errors import located

__all__ = ["load_sae"]

logger = logging.getLogger(__name__)


def load_sae(
    ref: str | Path,
    *,
    path: str = "",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    activation_scale: float | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> SparseAutoencoder:
    """Load a sparse autoencoder; its format is told by its content, and no code in it is ever run.

    Formats: dictionary_learning (``ae.pt``), SAELens, Gemma Scope, sparsify and Llama Scope. Float32 files are mapped,
    not copied, so that wide dictionaries take their size in memory once.

    Args:
        ref: ``mini`` (the bundled ones; path says which), a folder or file, ``hf://user/repository/folder``, a Hub id,
            or ``sae_lens:RELEASE/ID``, which the installed SAELens library's table turns into an address on the Hub.
        path: a folder or file inside of that. A path may go on behind a ``.zip``.
        device: where the weights go.
        dtype: their floating type; that of the file is in ``description.origin.dtype``.
        activation_scale: the factor of inputs, for autoencoders normalised by one that their file does not state.
        revision: Hub branch, tag or commit.
        token: for the Hub; None looks at the usual places.

    Returns:
        A module without gradients; ``description`` says what the files say of it. What compat mode does otherwise than
        training did is logged as a warning.

    Raises:
        UnknownNameError: the reference is neither a local file nor a possible address on the Hub, or SAELens does not
            know the name.
        MissingExtraError: a name of SAELens, which is not installed.
        MissingArtifactError: no autoencoder is there, or its configuration is missing.
        SourceError: the Hub could not be reached or refused.
        FormatError: a file is damaged or of no known format; UnsafeContentError: it would have to run code.
        ModelError: tensors or settings that no autoencoder read here can have.
    """
    registered = None
    if isinstance(ref, str) and ref.startswith(SCHEME):
        name = ref.removeprefix(SCHEME)
        registered = look_up(f"{name}/{path}" if path else name)
        ref, path = f"hf://{registered.repository}", registered.path
    with locate_sae(ref, path, revision=revision, token=token) as place, located(place.weights):
        container, tensors = read_tensors(place.weights)
        stored = StoredSae(
            weights=place.weights,
            folder=place.folder,
            tensors=tensors,
            address=place.address,
            device=device,
            dtype=dtype,
        )
        sae = recognise(container, tensors, file=place.weights).read(stored)
        if registered is not None:
            sae.trained = registered.completed(sae.trained)
        if activation_scale is not None:
            sae.trained = replace(sae.trained, activation_scale=activation_scale)
    if differences := sae.compat_differences:
        source = sae.origin.source if sae.origin else ref
        logger.warning("%s: in compat mode %s", source, "; ".join(differences))
    return sae.eval()
