"""Dictionaries for people who want the autoencoder itself, with the sources of `load_dataset` behind them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_artifacts import catalog
from circuit_artifacts.causal_dimensionality.dictionaries import open_dictionary
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.filesets import FileSet
from circuit_artifacts.sources import Sources

if TYPE_CHECKING:
    from circuit_artifacts.compute.saes import SparseAutoencoder

__all__ = ["dictionary_file", "load_sae"]


def dictionary_file(
    site: str,
    *,
    data_root: str | Path | None = None,
    mirror: str = "causal-dimensionality",
    revision: str | None = None,
    token: str | bool | None = None,
) -> RepositoryFile:
    """The file of one site's dictionary, downloaded if need be, and no other.

    Args:
        site: for example "embed" or "resid_out_layer3".
        data_root: a folder in the published layout.
        mirror: "causal-dimensionality", or another one with such files.
        revision: Hub revision to pin.
        token: for the Hub; None looks at the usual places.

    Raises:
        UnknownNameError: there is no such site.
        MissingArtifactError: the file could not be had.
    """
    configs = {config.setting["site"]: config for config in catalog.family(mirror, "dictionary").configs}
    if site not in configs:
        problem = f"there is no site {site!r}"
        raise UnknownNameError(problem, expected=", ".join(configs))
    sources = Sources(
        mirror=catalog.mirror(mirror), data_root=Path(data_root) if data_root else None, revision=revision, token=token
    )
    found = sources.fetch(configs[site])[configs[site].name]
    assert isinstance(found, FileSet)
    (name,) = found.names
    return RepositoryFile(found.path(name), name)


def load_sae(
    site: str,
    *,
    normalise: bool = False,
    data_root: str | Path | None = None,
    mirror: str = "causal-dimensionality",
    revision: str | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> SparseAutoencoder:
    """The autoencoder of one site as a torch module.

    It is a plain ReLU autoencoder, not the JumpReLU one that the card speaks of (spec 1.2). Encode with
    ``mode="faithful"``, which subtracts its bias from inputs as in training.

    Args:
        site: for example "embed" or "resid_out_layer3".
        normalise: give decoder rows the norm 1, which leaves reconstructions as they are and multiplies features by the
            norms; ``origin.format`` says that it was done.
        data_root: a folder in the published layout.
        mirror: "causal-dimensionality", or another one with such files.
        revision: Hub revision to pin.
        token: for the Hub; None looks at the usual places.
        options: ``device`` and ``dtype``, as of `compute.saes.load_sae`.

    Raises:
        UnknownNameError: there is no such site.
        MissingArtifactError: the file could not be had.
        FormatError: it is damaged; UnsafeContentError: it would have to run code.
        SchemaError: it holds something else than the published kind of autoencoder.
        ModelError: its numbers are not finite.
    """
    file = dictionary_file(site, data_root=data_root, mirror=mirror, revision=revision, token=token)
    open_dictionary(file)
    with extras_named():
        from circuit_artifacts.compute import saes

    sae = saes.load_sae(file.path, **options)
    return _normalised(sae) if normalise else sae


def _normalised(sae: SparseAutoencoder) -> SparseAutoencoder:
    norms = sae.W_dec.norm(dim=-1)
    norms = norms.where(norms > 0, norms.new_ones(()))  # of a feature without a direction, nothing changes
    assert sae.b_enc is not None
    assert sae.origin is not None
    return type(sae)(
        "relu",
        sae.W_enc * norms,
        sae.b_enc * norms,
        sae.W_dec / norms[:, None],
        sae.b_dec,
        trained=sae.trained,
        origin=replace(sae.origin, format=f"{sae.origin.format}, decoder rows normalised"),
    ).eval()
