"""What a path of the causal-dimensionality repository names (causal-dimensionality spec 1.1, 1.4).

The card lists the dictionaries; of results, logs and drafts it gives the folders only, so every file there is taken for
what its suffix says. Dictionaries and sentences are found in any folder, as people unpack them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from circuit_artifacts.filesets import NamedFile
from circuit_artifacts.schemas.causal_dimensionality_mirror import HOOKS, STRUCTURES

__all__ = ["UNKNOWN", "Place", "RepositoryFile", "classify"]

UNKNOWN = "unknown"

_SITE = rf"(?P<site>embed|(?P<hook>{'|'.join(HOOKS)})_layer(?P<layer>\d+))"
_DICTIONARY = rf"(?:.+/)?{_SITE}/(?P<set_id>\d+)_(?P<d_sae>\d+)/"
_RESULT = r"results/(?:(?P<experiment>[^/]+)/(?:.+/)?)?[^/]+"

_GRAMMAR = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("record", r".+\.provenance\.json"),
        ("result", rf"{_RESULT}\.json"),
        ("figure", rf"{_RESULT}\.png"),
        ("log", r"logs/.+"),
        ("figure", r"paper_draft/.+\.png"),
        ("draft", r"paper_draft/.+"),
        ("dictionary", rf"{_DICTIONARY}ae\.(?:pt|safetensors)"),
        ("dictionary_config", rf"{_DICTIONARY}config\.json"),
        ("checkpoint", rf"{_DICTIONARY}checkpoints/.+"),
        ("agreement", rf"(?:.+/)?(?P<structure>{'|'.join(STRUCTURES)})_(?P<split>train|test)\.jsonl?"),
        ("card", r"README\.md|LICENSE"),
    )
)
_NUMBERS = frozenset({"layer", "set_id", "d_sae"})


@dataclass(frozen=True, kw_only=True)
class Place:
    """What one path names; None where the path does not say.

    Attributes:
        path: relative to the repository's root.
        kind: what file it is, or "unknown".
        site: of a dictionary: its place in the model, as a folder is named.
        hook: the site without its layer.
        set_id: of a dictionary: which set of hyper-parameters it was trained with.
        d_sae: number of features that its folder promises.
        experiment: folder of a result or picture below ``results/``.
        structure: of sentences.
        split: of sentences, train or test.
    """

    path: str
    kind: str = UNKNOWN
    site: str | None = None
    hook: str | None = None
    layer: int | None = None
    set_id: int | None = None
    d_sae: int | None = None
    experiment: str | None = None
    structure: str | None = None
    split: str | None = None


class RepositoryFile(NamedFile):
    """A file of the repository."""

    @cached_property
    def place(self) -> Place:
        """What its name says."""
        return classify(self.name)


def classify(path: str) -> Place:
    """What a path names.

    Args:
        path: relative to the repository's root, with forward slashes.
    """
    for kind, pattern in _GRAMMAR:
        if found := pattern.fullmatch(path):
            texts = {name: text for name, text in found.groupdict().items() if text}
            if "site" in texts:
                texts.setdefault("hook", texts["site"])
            values = {name: int(text) if name in _NUMBERS else text for name, text in texts.items()}
            return Place(path=path, kind=kind, **values)  # type: ignore[arg-type]
    return Place(path=path)
