"""Entropy and influence at the peaks of chosen features (locality spec 4.8, 5.5).

Each event is looked at through a window that ends at its peak and is cut from the corpus without regard to where events
begin: in a virtual corpus most windows start inside another event. That is how the published numbers came about; the
reader of the tables flags such rows (`crosses_event`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.locality.activations import require_features
from circuit_artifacts.compute.locality.checkpoint import load_arrays, save_arrays, work_digest
from circuit_artifacts.compute.locality.contexts import ContextExample, FeatureContexts
from circuit_artifacts.compute.locality.entropy import influence_entropy
from circuit_artifacts.compute.locality.feature_lists import FeatureLabel
from circuit_artifacts.compute.locality.influence import window_influences
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.progress import track
from circuit_artifacts.sae_locality.privacy import stripped_text

__all__ = ["COLUMNS", "FeatureEntropy", "MeasuredEvent", "entropy_by_feature", "measure_events"]

_OK: Final = "ok"
_BOUNDARY: Final = "peak_too_close_to_corpus_boundary"
_BELOW_THRESHOLD: Final = "feature_below_threshold_at_peak"
_ERROR: Final = "compute_error: "
_LONGEST_STATUS: Final = 80  # characters
_GROUP_TOKENS: Final = 4096  # measured together, and lost together in a kill

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MeasuredEvent:
    """One row of an event table, under the names of the published files, and its influence.

    Attributes:
        feature_id: the feature.
        tier: retired label; empty if it has none.
        description: of the feature; may be empty.
        top_act_rank: place among the feature's examples, from 0.
        activation_value: at the peak, as the source of the contexts states it.
        abs_peak: place of the peak in the corpus.
        ctx_len: tokens of the window.
        ctx_start: where the window begins in the corpus; negative if it sticks out.
        H_pos_bits: entropy of J; NaN unless ok.
        n_positions: `ctx_len`; 0 unless ok.
        J_max: NaN unless ok.
        J_sum: NaN unless ok.
        J_argmax: token of the window; -1 unless ok.
        peak_token_str: the piece at the peak.
        status: "ok", or why there is no influence.
        influence: J (ctx_len,), float32; None unless ok.
    """

    feature_id: int
    tier: str
    description: str
    top_act_rank: int
    activation_value: float
    abs_peak: int
    ctx_len: int
    ctx_start: int
    H_pos_bits: float
    n_positions: int
    J_max: float
    J_sum: float
    J_argmax: int
    peak_token_str: str
    status: str
    influence: Floats | None

    @property
    def key(self) -> str:
        """Its name in the archive of influences."""
        return f"{self.feature_id}_{self.top_act_rank}"


COLUMNS: Final = tuple(field.name for field in fields(MeasuredEvent) if field.name != "influence")
"""Columns of an event table, in their order."""


@dataclass(frozen=True)
class FeatureEntropy:
    """Entropy of one feature over its good events.

    Attributes:
        mean_bits: None without such events.
        std_bits: of the population, as on the published case-study pages; None without such events.
        n_events: number of good events.
    """

    feature_id: int
    mean_bits: float | None
    std_bits: float | None
    n_events: int


@dataclass(frozen=True)
class _Outcome:
    """What measuring one window gave."""

    status: str
    influence: Floats | None = None


def measure_events(
    model: nn.Module,
    sae: SparseAutoencoder,
    corpus: Tensor,
    contexts: Sequence[FeatureContexts],
    *,
    layer: int,
    threshold: float,
    context_len: int,
    labels: Sequence[FeatureLabel] = (),
    sae_encode: EncodeMode = "compat",
    checkpoint: Path | None = None,
    identity: str = "",
) -> list[MeasuredEvent]:
    """Measure the influence on each feature at each of its peaks, with one context length.

    Windows are measured in groups of fixed content. An error while a group is measured, such as for lack of memory,
    leads to its windows being measured one by one, and becomes the status of the events that fail again. Errors of this
    package say that nothing can be measured like this, and are raised.

    Args:
        model: as in `window_influences`.
        sae: as in `window_influences`.
        corpus: (T,), int64, which the contexts' places count in.
        contexts: the events, each feature once.
        layer: block whose output the autoencoder reads.
        threshold: an event is measured if the feature is above it at the end of this window.
        context_len: tokens per window.
        labels: of features that have any.
        sae_encode: as in `window_influences`.
        checkpoint: folder to save each group in that was measured without an error, and to take up those of a run that
            was killed, which leads to the same result. The caller deletes it once the events are safe elsewhere.
        identity: what the result depends on besides the arguments, namely which model and autoencoder these are, so
            that another run's checkpoint is not taken up.

    Returns:
        One row per event, in the order of `contexts`.

    Raises:
        SchemaError: there are no contexts, or a feature has them twice.
        UnknownNameError: no such layer or feature.
        ModelError: as `window_influences`.
    """
    require_features(sae, [entry.feature_id for entry in contexts])
    events = [(entry.feature_id, rank, example) for entry in contexts for rank, example in enumerate(entry.examples)]
    inside = [n for n, (*_, event) in enumerate(events) if context_len <= event.peak + 1 <= len(corpus)]
    outcomes = [_Outcome(_BOUNDARY)] * len(events)
    measured = _measured_in_groups(
        _Measurement(model, sae, layer=layer, threshold=threshold, sae_encode=sae_encode),
        corpus.cpu(),
        [(events[n][0], events[n][2].peak) for n in inside],
        context_len,
        checkpoint,
        identity,
    )
    for n, outcome in zip(inside, measured, strict=True):
        outcomes[n] = outcome
    label_of = {label.feature_id: label for label in labels}
    return [
        _row(label_of.get(feature, FeatureLabel(feature)), rank, example, context_len, outcome)
        for (feature, rank, example), outcome in zip(events, outcomes, strict=True)
    ]


def entropy_by_feature(features: Sequence[int], entropies: Sequence[float]) -> list[FeatureEntropy]:
    """Mean and population standard deviation of the entropies of each feature's events, in the order of features.

    Args:
        features: of each event.
        entropies: of each event, in bits; NaN for events that have none.
    """
    measured: dict[int, list[float]] = {feature: [] for feature in features}
    for feature, bits in zip(features, entropies, strict=True):
        if not np.isnan(bits):
            measured[feature].append(bits)
    return [
        FeatureEntropy(
            feature,
            float(np.mean(values)) if values else None,
            float(np.std(values)) if values else None,
            len(values),
        )
        for feature, values in measured.items()
    ]


class _Measurement:
    """Measures groups of windows, each for one feature."""

    def __init__(self, model: nn.Module, sae: SparseAutoencoder, **options: Any) -> None:
        self._model, self._sae = model, sae
        self.options = options

    def __call__(self, windows: Tensor, features: Sequence[int]) -> list[_Outcome]:
        try:
            return self._together(windows, features)
        except CircuitArtifactsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the other events are not to be lost
            if len(features) == 1:
                return [_Outcome(_error_status(f"{type(error).__name__}: {error}"))]
        return [outcome for n in range(len(features)) for outcome in self(windows[n : n + 1], features[n : n + 1])]

    def _together(self, windows: Tensor, features: Sequence[int]) -> list[_Outcome]:
        listed = [[feature] for feature in features]
        found = window_influences(self._model, self._sae, windows, features=listed, token_vector=False, **self.options)
        outcomes = []
        for window in found:
            if not len(window.features):
                outcomes.append(_Outcome(_BELOW_THRESHOLD))
            elif not np.isfinite(window.influence).all():
                outcomes.append(_Outcome(_error_status("the influence is not finite")))
            else:
                outcomes.append(_Outcome(_OK, window.influence[0]))
        return outcomes


def _measured_in_groups(
    measure: _Measurement,
    corpus: Tensor,
    events: Sequence[tuple[int, int]],
    context_len: int,
    checkpoint: Path | None,
    identity: str,
) -> Iterator[_Outcome]:
    """The outcome for each (feature, peak), none of whose windows sticks out of the corpus."""
    peaks = torch.tensor([peak for _, peak in events], dtype=torch.int64)
    features = [feature for feature, _ in events]
    arrays = {"corpus": corpus.numpy(), "peaks": peaks.numpy(), "features": np.array(features, np.int64)}
    together = max(1, _GROUP_TOKENS // context_len)
    name = work_digest(arrays, "events", context_len, together, sorted(measure.options.items()), identity)
    back = torch.arange(1 - context_len, 1)
    starts = range(0, len(events), together)
    for start in track(starts, "measuring events", total=len(starts)):
        group = slice(start, start + together)
        file = checkpoint and checkpoint / f"{name}_{start // together:05d}.npz"
        outcomes = None if file is None else _load(file)
        if outcomes is None:
            outcomes = measure(corpus[peaks[group, None] + back], features[group])
            if file is not None and not any(outcome.status.startswith(_ERROR) for outcome in outcomes):
                _save(file, outcomes)
        yield from outcomes


def _save(file: Path, outcomes: Sequence[_Outcome]) -> None:
    influences = [outcome.influence for outcome in outcomes if outcome.influence is not None]
    statuses = np.array([outcome.status for outcome in outcomes])
    save_arrays(file, {"status": statuses, "influence": np.array(influences, np.float32)})


def _load(file: Path) -> list[_Outcome] | None:
    stored = load_arrays(file)
    if stored is None:
        return None
    influences = iter(stored["influence"])
    return [_Outcome(status, next(influences) if status == _OK else None) for status in stored["status"].tolist()]


def _error_status(text: str) -> str:
    """One line that every file can hold, without paths of this machine."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{_ERROR}{stripped_text(line)}"[:_LONGEST_STATUS]


def _row(label: FeatureLabel, rank: int, example: ContextExample, context_len: int, outcome: _Outcome) -> MeasuredEvent:
    influence, nothing = outcome.influence, float("nan")
    return MeasuredEvent(
        feature_id=label.feature_id,
        tier=label.tier,
        description=label.description,
        top_act_rank=rank,
        activation_value=example.activation,
        abs_peak=example.peak,
        ctx_len=context_len,
        ctx_start=example.peak - context_len + 1,
        H_pos_bits=nothing if influence is None else float(influence_entropy(influence)),
        n_positions=0 if influence is None else context_len,
        J_max=nothing if influence is None else float(influence.max()),
        J_sum=nothing if influence is None else float(influence.sum()),
        J_argmax=-1 if influence is None else int(influence.argmax()),
        peak_token_str=example.activating_token,
        status=outcome.status,
        influence=influence,
    )
