"""Where CSP-Atlas's card says of its files what they are not: the notes of the validator, as verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Claim, Interval, Outcome
from circuit_artifacts.compute.csp.layout import read_setting
from circuit_artifacts.csp_atlas.checks.card import check_card
from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, PackedMasks
from circuit_artifacts.formats.hdf5 import child_names, open_group, open_hdf5, read_attributes
from circuit_artifacts.schemas.declaration import Config

__all__ = ["CARD"]

_PAIRS = "pair_masks"


@dataclass
class _Contents(Contents):
    """As much of some files as the validator's look at the card needs, wherever they are."""

    paths: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def published(self) -> bool:
        """It is for the verdict to say whether they are."""
        return True

    def path(self, config: Config) -> Path:
        found = self.paths.get(config.name)
        return self.folder / config.file if found is None else found


def _contents(data: Data, configs: Sequence[str]) -> Contents:
    paths = {name: data.path(name) for name in configs}
    contents = _Contents(paths[configs[0]].parent / "elsewhere", data.mirror, paths=paths)
    for name, path in paths.items():
        config = data.mirror.configs[name]
        if path.suffix == ".h5":
            contents.masks[name] = _mask_file(config, path)
        else:
            frame = contents.tables[name] = data.frame(name)
            if "variation_id" in frame and "object" in frame:
                sizes = frame["object"].value_counts()
                contents.prompts_per_group[config.family.name] = {str(key): int(n) for key, n in sizes.items()}
    return contents


def _mask_file(config: Config, path: Path) -> MaskFile:
    """Names and attributes of a mask file, without the masks."""
    with open_hdf5(path) as file:
        groups = {}
        if _PAIRS in file:
            keys = child_names(open_group(file, f"{_PAIRS}/layer_0"))
            groups[_PAIRS] = PackedMasks(keys, np.empty((len(keys), 0, 0), np.uint8), 0)
        metrics = tuple(child_names(open_group(file, "metrics"))) if "metrics" in file else ()
        return MaskFile(config, read_attributes(open_group(file, "metadata")), groups, metrics)


def _as_noted(rule: str) -> Check:
    """The claim fails if the validator notes that the card differs from the files."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        notes = [finding for finding in check_card(_contents(data, configs)) if finding.rule == rule]
        sentence = notes[0].message if notes else "the files are as the card says"
        return Outcome(sentence, holds=not notes)

    return check


def _token_checker_setting(data: Data, configs: Sequence[str]) -> Outcome:
    noted = _as_noted("card-token-checker-setting")(data, configs)
    return replace(noted, measured=read_setting(data.path(configs[0]))[0])


def _universal_setting(data: Data, configs: Sequence[str]) -> Outcome:
    epsilon, consistency = read_setting(data.path(configs[0]))
    sentence = f"its attributes say epsilon {epsilon:g}, consistency {consistency:g}"
    return Outcome(sentence, epsilon, holds=(epsilon, consistency) == (0.5, 0.8))


def _is_grid(data: Data, configs: Sequence[str]) -> Outcome:
    concepts = data.frame(configs[0])
    n_nodes, n_builtins = ((concepts["kind"] == kind).sum() for kind in ("ast", "builtin"))
    n_pairs = int(concepts.loc[concepts["kind"] == "ast", "n_pairs"].sum())
    whole = int(n_nodes * n_builtins)
    sentence = f"{n_pairs:,} pairs, where {n_nodes} nodes with {n_builtins} builtins would be {whole:,}"
    return Outcome(sentence, n_pairs, holds=n_pairs == whole)


CARD = (
    Claim(
        name="card_pair_grid",
        statement="prompts and masks are of every AST node with every builtin",
        source="dataset card, layout",
        needs=("concepts",),
        check=_is_grid,
    ),
    Claim(
        name="card_raw_activations",
        statement="the files of stage 12 hold raw activations",
        source="dataset card, layout",
        needs=("object_activations",),
        check=_as_noted("card-activations"),
    ),
    Claim(
        name="card_loss_filter",
        statement="prompts are filtered by their own loss",
        source="dataset card, prompt parquets",
        needs=("object_prompts",),
        check=_as_noted("card-loss-filter"),
    ),
    Claim(
        name="card_variations",
        statement="every object has 50 variations, 0 to 49, of its checker prompts",
        source="dataset card, prompt parquets",
        needs=("checker_prompts", "token_checker_prompts"),
        check=_as_noted("card-variations"),
    ),
    Claim(
        name="card_mask_layout",
        statement="checker mask files have the groups and attributes of object mask files",
        source="dataset card, HDF5 mask files",
        needs=("checker_masks_eps0.5_cons0.8",),
        check=_as_noted("card-checker-layout"),
    ),
    Claim(
        name="card_metrics",
        statement="the group of metrics holds sizes and intersection counts per layer",
        source="dataset card, HDF5 mask files",
        needs=("masks_eps0.5_cons0.8",),
        check=_as_noted("card-metrics"),
    ),
    Claim(
        name="card_token_checker_setting",
        statement="the token-checker masks are of epsilon 0.5, consistency 0.8",
        source="dataset card, layout",
        published=Interval.printed("0.5"),
        needs=("token_checker_masks",),
        check=_token_checker_setting,
    ),
    Claim(
        name="universal_106x50_setting",
        statement="universal_106x50.h5 is a copy of the masks of epsilon 0.5, consistency 0.8",
        source="a docstring of the paper's code",
        published=Interval.printed("0.5"),
        needs=("universal_106x50",),
        check=_universal_setting,
    ),
    Claim(
        name="card_token_columns",
        statement="the columns of token independence are called A∩B, A\\B and B\\A",
        source="dataset card, layout",
        needs=("token_independence_summary",),
        check=_as_noted("card-columns"),
    ),
)
