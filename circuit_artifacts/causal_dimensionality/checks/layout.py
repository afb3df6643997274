"""Which files there are: unknown ones, dictionaries that are missing or in an odd place (spec 1.1, 1.4)."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts.causal_dimensionality.checks.contents import Contents
from circuit_artifacts.causal_dimensionality.paths import UNKNOWN
from circuit_artifacts.causal_dimensionality.statements import STATEMENTS
from circuit_artifacts.findings import error, note
from circuit_artifacts.schemas.causal_dimensionality_mirror import sites
from circuit_artifacts.validation import Finding

__all__ = ["check_layout"]

_SET = 10
"""The published dictionaries' set of hyper-parameters, which is a label."""


def check_layout(contents: Contents) -> Iterator[Finding]:
    """Files outside the grammar, and what the folders of dictionaries say."""
    for file in contents.of_kind(UNKNOWN):
        if file.path != contents.folder / contents.mirror.families[0].file:
            yield note("unknown-file", file, "", "no file of this name and place is known")
    files = contents.of_kind("dictionary")
    for file in files:
        place, n_layers = file.place, contents.mirror.n_layers
        if place.layer is not None and place.layer >= n_layers:
            yield error("dictionary-layer", file, "", f"layer {place.layer} of a model with {n_layers} layers")
        if contents.is_published(file) and place.set_id != _SET:
            yield error("dictionary-set", file, "", f"set {place.set_id}; the published dictionaries are of set {_SET}")
    if published := [file for file in files if contents.is_published(file)]:
        absent = [site for site in sites(contents.mirror.n_layers) if site not in {f.place.site for f in published}]
        if absent:
            yield note("dictionary-missing", published[0], "", f"there is none of {', '.join(absent)}")
        if not contents.of_kind("dictionary_config"):
            yield note("card-config", published[0], "", STATEMENTS["config_missing"].sentence)
