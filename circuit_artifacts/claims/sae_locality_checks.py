"""Checks of claims about SAE locality, on its runs and tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import pandas as pd

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, NoDataError, Outcome, no_data_if
from circuit_artifacts.compute.locality.entropy import influence_entropy
from circuit_artifacts.sae_locality.checks.card import check_card
from circuit_artifacts.sae_locality.checks.contents import Contents
from circuit_artifacts.sae_locality.checks.profiles import ENTROPY_TOLERANCE
from circuit_artifacts.sae_locality.files import RepositoryFile

__all__ = [
    "activations_per_token",
    "architecture_hints",
    "column_names",
    "curve",
    "dictionary_sizes",
    "entropies_from_influences",
    "entropy_rises",
    "extremes",
    "influence_keys",
    "pairs_of_features",
    "start_indices",
    "sweep_begins",
    "sweep_has_token_vector",
    "traces",
    "weights_only",
]

_CARD_COLUMNS = {"event_idx", "H_pos", "peak_value", "sum_J"}  # of the card, where they differ from the code's
_CENTRE, _TRACE_TOLERANCE = 64, 1e-5
_ENOUGH = 3  # files, one of which should load
_DIGITISED = 0.02
"""Bits by which a number that was read off a picture may be wrong."""


# Files


@dataclass(frozen=True)
class _Files(Contents):
    """Some files, wherever they are."""

    chosen: tuple[RepositoryFile, ...] = ()

    @cached_property
    def files(self) -> list[RepositoryFile]:
        """As chosen."""
        return list(self.chosen)


def weights_only(data: Data, configs: Sequence[str]) -> Outcome:
    """The card's warning, as the validator finds it."""
    files = data.file_set(configs[0])
    chosen = tuple(RepositoryFile(files.path(name), name) for name in files.names[:_ENOUGH])
    notes = [note for note in check_card(_Files(chosen[0].path.parent, chosen)) if note.rule == "card-weights-only"]
    no_data_if(not notes, "no published file that is here could be loaded")
    return Outcome(f"{notes[0].file} loads with it", holds=False)


def _first(data: Data, config: str, columns: Sequence[str], *, split: str | None = None) -> pd.DataFrame:
    """The rows of a config's first file that has any."""
    for table in data.tables(config, split=split):
        if table.num_rows:
            frame: pd.DataFrame = table.select(columns).to_pandas()
            return frame
    lacking = f"the files of {config} have no rows"
    raise NoDataError(lacking)


# Depth


def architecture_hints(data: Data, configs: Sequence[str]) -> Outcome:
    """The architecture of run_config.json against that of the files beside it."""
    runs, *depth = configs
    no_data_if(not depth or runs != "runs", "it takes run_config.json and a depth file of the same run")
    hints = data.frame(runs).set_index("path")["sae_arch"]
    wrong: dict[str, str] = {}
    compared = 0
    for config in depth:
        first = _first(data, config, ["run", "sae_arch"], split="windows").iloc[0]
        hint, found = hints.get(first["run"]), first["sae_arch"]
        if isinstance(hint, str) and isinstance(found, str):
            compared += 1
            if hint != found:
                wrong[config] = f"{hint} for {found} in {first['run']}"
    no_data_if(not compared, "no run states both")
    return Outcome(_listed("differ", wrong, compared), len(wrong), holds=not wrong)


def activations_per_token(data: Data, configs: Sequence[str]) -> Outcome:
    """Whether activations are arrays."""
    features = _first(data, configs[0], ["activation_trace"], split="features")
    arrays = int(features["activation_trace"].notna().sum())
    return Outcome(f"{arrays:,} of {len(features):,} activations of the first file are arrays", holds=arrays > 0)


def dictionary_sizes(published: Mapping[str, int]) -> Check:
    """The number of features by model."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        wrong = {}
        for config in configs:
            preset = data.mirror.configs[config].setting["preset"]
            found = int(_first(data, config, ["total_features"], split="windows")["total_features"].iloc[0])
            if found != published[preset]:
                wrong[preset] = f"{found:,}"
        return Outcome(_listed("have another size", wrong, len(configs)), holds=not wrong)

    return check


def start_indices(expected: Sequence[int]) -> Check:
    """Where windows begin; the measured number is the third, which was printed."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        found = _first(data, configs[0], ["start_idx"], split="windows")["start_idx"].tolist()
        no_data_if(len(found) != len(expected), f"the run has {len(found)} windows, not {len(expected)}")
        common = len(set(found) & set(expected))
        return Outcome(f"{common} of {len(found)} windows begin where the rule says", found[2], holds=found == expected)

    return check


def entropies_from_influences(data: Data, configs: Sequence[str]) -> Outcome:
    """Entropies of the first file, computed from its influences."""
    features = _first(data, configs[0], ["entropy_bits", "influence"], split="features")
    lengths = features["influence"].str.len()
    gaps = [
        np.abs(influence_entropy(np.stack(group["influence"].to_list())) - group["entropy_bits"].to_numpy()).max()
        for _, group in features.groupby(lengths)
    ]
    gap = float(max(gaps))
    return Outcome(f"{len(features):,} entropies are within {gap:.2g} bits", gap, holds=gap <= ENTROPY_TOLERANCE)


def entropy_rises(split: str, column: str) -> Check:
    """Mean entropies by layer are correlated with depth, by rank."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        rows = data.frame(configs[0], ["layer", column], split=split)
        means = rows.groupby("layer")[column].mean().dropna()
        no_data_if(len(means) < 3, f"{configs[0]} has fewer than three layers")
        correlation = float(np.corrcoef(np.arange(len(means)), means.rank())[0, 1])
        sentence = (
            f"from {means.iloc[0]:.2f} bits at layer {means.index[0]} to {means.iloc[-1]:.2f} at layer "
            f"{means.index[-1]} in {configs[0]}, rank correlation {correlation:.2f}"
        )
        return Outcome(sentence, correlation, holds=correlation > 0)

    return check


def curve(split: str, column: str, published: Sequence[float], *, per_feature: bool = False) -> Check:
    """Entropies by layer against those in a picture; of features, the median of their means over windows."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        names = ["layer", "feature_id", column] if per_feature else ["layer", column]
        rows = data.frame(configs[0], names, split=split)
        if per_feature:
            found = rows.groupby(["layer", "feature_id"])[column].mean().groupby("layer").median()
        else:
            found = rows.groupby("layer")[column].mean()
        no_data_if(
            list(found.index) != list(range(len(published))),
            f"the layers that are here are {', '.join(map(str, found.index))}",
        )
        gap = float(np.abs(found.to_numpy() - np.array(published)).max())
        sentence = f"{' '.join(f'{value:.2f}' for value in found)} bits, {gap:.3f} apart at most"
        return Outcome(sentence, holds=gap <= _DIGITISED)

    return check


# Sweep


def sweep_begins(published: Sequence[int]) -> Check:
    """The first context lengths of every model."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        wrong = {}
        for config in configs:
            lengths = sorted(set(_first(data, config, ["context_len"], split="lengths")["context_len"]))
            if lengths[: len(published)] != list(published):
                wrong[config] = f"{', '.join(map(str, lengths[: len(published)]))} in {config}"
        return Outcome(_listed("begin otherwise", wrong, len(configs)), holds=not wrong)

    return check


def sweep_has_token_vector(data: Data, configs: Sequence[str]) -> Outcome:
    """Whether the sweep has entropies of the token vector."""
    entropies = _first(data, configs[0], ["token_entropy_bits"], split="lengths")["token_entropy_bits"]
    here = int(entropies.notna().sum())
    return Outcome(f"{here} of {len(entropies)} lengths of the first file have one", here, holds=here == len(entropies))


# Events, geometry, autocorrelation


def column_names(data: Data, configs: Sequence[str]) -> Outcome:
    """Whether tables of events have the card's columns."""
    published = _first(data, configs[0], ["published_as"])["published_as"].iloc[0]
    names = json.loads(published).values() if isinstance(published, str) else ()
    absent = sorted(_CARD_COLUMNS - set(names))
    return Outcome(f"there is no {', '.join(absent)}" if absent else "they have these names", holds=not absent)


def influence_keys(data: Data, configs: Sequence[str]) -> Outcome:
    """Whether the arrays of influences are named by rows."""
    keys = _first(data, configs[0], ["key"])["key"]
    rows = sum(re.fullmatch(r"(?:arr_)?\d+", key) is not None for key in keys)
    return Outcome(f"{rows} of {len(keys)} are row numbers; the first is {keys.iloc[0]}", holds=rows == len(keys))


def extremes(features: Sequence[int], lowest: int, highest: int) -> Check:
    """Which of some features have the lowest and the highest mean entropy at context length 128."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        rows = data.frame(configs[0], ["ctx", "feature_id", "H_pos_bits"])
        rows = rows[(rows["ctx"] == 128) & rows["feature_id"].isin(list(features))]
        means = rows.groupby("feature_id")["H_pos_bits"].mean().dropna()
        no_data_if(
            len(means) < len(features),
            f"the events that are here are of {len(means)} of these {len(features)} features",
        )
        order = means.sort_values().index.tolist()
        found = order[0], order[-1]
        return Outcome(f"they are {found[0]} and {found[1]}", holds=found == (lowest, highest))

    return check


def pairs_of_features(data: Data, configs: Sequence[str]) -> Outcome:
    """One row for every two features."""
    features, pairs = (data.frame(config, ["run"])["run"] for config in configs)
    no_data_if(set(features) != set(pairs), "no run has both tables")
    n_features, n_pairs = len(features), len(pairs)
    expected = n_features * (n_features - 1) // 2
    sentence = f"{n_pairs:,} pairs of {n_features} features, which form {expected:,}"
    return Outcome(sentence, n_pairs, holds=n_pairs == expected)


def traces(data: Data, configs: Sequence[str]) -> Outcome:
    """Strips are 1 at their centre."""
    strips = np.stack(_first(data, configs[0], ["trace"])["trace"].to_list())
    gap = float(np.abs(strips[:, _CENTRE] - 1).max())
    return Outcome(f"{len(strips)} strips of {strips.shape[1]}, 1 within {gap:.2g}", gap, holds=gap <= _TRACE_TOLERANCE)


def _listed(what: str, wrong: Mapping[str, str], total: int) -> str:
    """How many of some things differ, and the first of them."""
    shown = "; ".join(islice(wrong.values(), 3))
    return f"{len(wrong)} of {total} {what}" + (f": {shown}" if shown else "")
