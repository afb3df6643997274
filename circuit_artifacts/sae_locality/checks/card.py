"""Where the dataset's card says something else than its files (sae_locality spec 10)."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts import provenance
from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, note
from circuit_artifacts.sae_locality.torch_files import load_dictionary
from circuit_artifacts.validation import Finding

__all__ = ["check_card"]


def check_card(contents: Contents) -> Iterator[Finding]:
    """The card warns that its ``.pt`` files run code when they are loaded, and that ``weights_only=True`` cannot work.

    One file is enough to show that it does, with numpy's arrays and scalars allowed and nothing else.
    """
    for file in contents.of_kind("depth", "sweep"):
        if provenance.sidecar(file.path).exists():  # of what was made here the card says nothing
            continue
        faults: list[Finding] = []
        if attempt(load_dictionary, file, findings=faults) is not None:
            message = "the card says that torch.load(..., weights_only=True) will not work; this file loads with it"
            yield note("card-weights-only", file, "", message)
            return
