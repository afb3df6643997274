"""Checks of claims about SAE locality, on the list of its runs and their configurations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from circuit_artifacts.claims.data import Data
from circuit_artifacts.claims.model import Check, Interval, Outcome, no_data_if
from circuit_artifacts.schemas.sae_locality_mirror import DATASETS, PRESETS

__all__ = ["cells", "latest_is_largest", "manifest_fields", "run_setting"]

_MANIFEST_FIELDS = ("correlation_decoder_cos_vs_abs_dH_pos", "null_distribution_quantiles")


def cells(data: Data, configs: Sequence[str]) -> Outcome:
    """Models and corpora that were run; a part of the repository does not tell that there are fewer."""
    found = _depth_runs(data, configs)[["preset", "dataset"]].drop_duplicates()
    sentence = f"{found['preset'].nunique()} models and {found['dataset'].nunique()} corpora in {len(found)} cells"
    no_data_if(len(found) < len(PRESETS) * len(DATASETS), f"{sentence} are here, and others may be in the repository")
    return Outcome(sentence, len(found))


def run_setting(column: str, published: Interval) -> Check:
    """A setting of the depth runs; of several runs of a model and corpus, of those where it is largest."""

    def check(data: Data, configs: Sequence[str]) -> Outcome:
        values = _depth_runs(data, configs).groupby(["preset", "dataset"], dropna=False)[column].max().dropna()
        no_data_if(values.empty, f"no configuration of a run states {column}")
        others = [value for value in values if value not in published]
        counts = Counter(map(int, values))
        found = ", ".join(f"{value} in {count}" for value, count in sorted(counts.items()))
        return Outcome(f"{found} of {len(values)} cells", float((others or list(values))[0]))

    return check


def latest_is_largest(data: Data, configs: Sequence[str]) -> Outcome:
    """No run set out for more windows or layers than the one of its model and corpus with the greatest timestamp."""
    runs = _depth_runs(data, configs).dropna(subset=["num_batches", "config"])
    no_data_if(runs.empty, "no run has a configuration")
    layers = [json.loads(config).get("layers") for config in runs["config"]]
    n_layers = [len(given) if isinstance(given, list) and given else 1 for given in layers]
    runs = runs.assign(size=runs["num_batches"] * np.array(n_layers)).sort_values(["timestamp", "path"])
    cells = runs.groupby(["preset", "dataset"], dropna=False)
    latest, largest = cells.tail(1), cells["size"].transform("max")
    short = latest[latest["size"] < largest[latest.index]]
    sentence = f"{len(short)} of {len(latest)} latest runs are smaller than an earlier one"
    sentence += f", such as {short['path'].iloc[0]}" if len(short) else ""
    return Outcome(sentence, len(short), holds=short.empty)


def _depth_runs(data: Data, configs: Sequence[str]) -> pd.DataFrame:
    runs = data.frame(configs[0])
    runs = runs[(runs["strand"] == "depth") & ~runs["legacy"] & runs["timestamp"].notna()]
    no_data_if(runs.empty, "there is no depth run")
    return runs


def manifest_fields(data: Data, configs: Sequence[str]) -> Outcome:
    """Whether the manifest of a geometry run has the fields that the card names."""
    runs = data.frame(configs[0])
    runs = runs[(runs["strand"] == "geometry") & runs["config"].notna()].sort_values("path")
    no_data_if(runs.empty, "there is no manifest of a geometry run")
    manifest = json.loads(runs["config"].iloc[-1])
    absent = [name for name in _MANIFEST_FIELDS if name not in manifest]
    return Outcome(f"the manifest lacks {' and '.join(absent)}" if absent else "it has both", holds=not absent)
