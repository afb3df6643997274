"""Causal dimensionality: the rows of subject-verb agreement (causal-dimensionality spec 6)."""

from __future__ import annotations

from circuit_artifacts.schemas.common import ArtifactModel

__all__ = ["AgreementItem"]


class AgreementItem(ArtifactModel):
    """Two beginnings of a sentence that differ in the number of one noun, and the verb that each calls for.

    Answers begin with a space. ``case`` is the number of the noun, or ``<main>_<other>`` where there are two. ``split``
    is null where the file's name has none, ``extra`` a JSON object of what the line holds beyond the known keys.
    """

    structure: str
    split: str | None
    clean_prefix: str
    patch_prefix: str
    clean_answer: str
    patch_answer: str
    case: str | None
    extra: str | None
