"""Activations along documents, and entropies at active positions, against one document and one window at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import event_fixture
import numpy as np
import pandas as pd
import pytest
import torch
from event_fixture import SILENT, autoencoder

from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.locality import autocorrelation_model
from circuit_artifacts.compute.locality.autocorrelation import (
    activation_statistics,
    autocorrelation,
    sample_targets,
    strips,
    top_peaks,
)
from circuit_artifacts.compute.locality.autocorrelation_model import (
    AutocorrelationSettings,
    activations_of,
    measure_autocorrelation,
    target_entropies,
)
from circuit_artifacts.compute.locality.influence import window_influence
from circuit_artifacts.compute.saes import Architecture, EncodeMode
from circuit_artifacts.errors import ModelError, SchemaError, UnknownNameError

FEATURES = [12, 0, 23, SILENT, 15]
LENGTHS = (40, 3, 0, 90, 41, 1)


def documents() -> list[list[int]]:
    return [part.tolist() for part in torch.split(event_fixture.corpus(sum(LENGTHS)), LENGTHS)]


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
@pytest.mark.parametrize("mode", ["compat", "faithful"])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk", "gated"])
def test_activations_are_those_of_each_document_alone(arch: Architecture, mode: EncodeMode, batch_tokens: int) -> None:
    if arch == "gated" and mode == "compat":
        pytest.skip("the published code cannot encode these")
    model, sae = event_fixture.model(), autoencoder(arch)
    found = activations_of(
        model, sae, documents(), layer=1, features=FEATURES, sae_encode=mode, batch_tokens=batch_tokens
    )
    assert [activations.shape for activations in found] == [(length, 5) for length in LENGTHS]
    for activations, ids in zip(found, documents(), strict=True):
        assert activations.dtype == np.float32
        assert not np.signbit(activations[activations == 0]).any()
        if ids:
            residual = capture(model, torch.tensor([ids]), site="resid_post", layers=[1])[1][0]
            expected = sae.encode(residual, mode)[:, FEATURES].detach().numpy()
            np.testing.assert_allclose(activations, expected, rtol=1e-4, atol=1e-5)


def test_the_model_stops_at_the_layer_and_is_left_as_it_was_found() -> None:
    model, ran = event_fixture.model(), []
    handle = model.get_submodule("transformer.h.1").register_forward_hook(lambda *_: ran.append(1))
    try:
        model.train()
        first = activations_of(model, autoencoder(), documents(), layer=0, features=FEATURES)
        assert model.training
    finally:
        model.eval()
        handle.remove()
    assert ran == []
    second = activations_of(model, autoencoder(), documents(), layer=0, features=FEATURES)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_documents_have_no_activations() -> None:
    assert activations_of(event_fixture.model(), autoencoder(), [], layer=0, features=FEATURES) == []


def test_what_cannot_be_read_is_refused() -> None:
    model, sae = event_fixture.model(), autoencoder()
    with pytest.raises(ModelError, match=r"longer than the model takes \(found 161 tokens, expected at most 160\)"):
        activations_of(model, sae, [[1], [1] * 161], layer=0, features=FEATURES)
    with pytest.raises(UnknownNameError, match="no such feature"):
        activations_of(model, sae, documents(), layer=0, features=[24])
    with pytest.raises(UnknownNameError, match="no such layer"):
        activations_of(model, sae, documents(), layer=2, features=FEATURES)
    with pytest.raises(SchemaError, match="features: "):
        activations_of(model, sae, documents(), layer=0, features=[3, 3])
    with torch.no_grad():
        sae.W_enc[0, 12] = torch.nan
    with pytest.raises(ModelError, match=r"layer 0: .* not finite"):
        activations_of(model, sae, documents(), layer=0, features=FEATURES)


# Entropies


def targets(lookback: int = 16, n_positions: int = 6) -> pd.DataFrame:
    activations = activations_of(event_fixture.model(), autoencoder(), documents(), layer=1, features=FEATURES)
    found = sample_targets(activations, FEATURES, n_positions=n_positions, lookback=lookback)
    assert set(found["feature_id"]) == {12, 0, 23, 15}
    return found


@pytest.mark.parametrize(("mode", "shift"), [("compat", 0.0), ("faithful", 10.0)])
def test_entropies_are_those_of_single_windows(mode: EncodeMode, shift: float) -> None:
    """With less before them, and above a higher threshold, some features are off in their window."""
    model, sae, texts = event_fixture.model(), autoencoder(shift=shift), documents()
    options: dict[str, Any] = {"layer": 1, "threshold": 0.25, "sae_encode": mode}
    found = target_entropies(model, sae, texts, targets(), lookback=16, **options)
    expected = []
    for row in found.itertuples():
        ids = torch.tensor(texts[row.document][row.position - 15 : row.position + 1])
        window = window_influence(model, sae, ids, token_vector=False, features=[row.feature_id], **options)
        expected.append(float(window.entropy_bits[0]) if len(window.features) else np.nan)
    np.testing.assert_allclose(found["H_pos_bits"], expected, atol=1e-4)
    assert found["H_pos_bits"].isna().any() == (shift == 0)
    assert (found["H_pos_bits"].dropna() <= 4).all()
    pd.testing.assert_frame_equal(found.drop(columns="H_pos_bits"), targets())


def test_a_window_that_begins_before_its_document_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"position: .*before its document \(found \d+, expected at least 49\)"):
        target_entropies(
            event_fixture.model(), autoencoder(), documents(), targets(), layer=1, threshold=0.0, lookback=50
        )


def test_no_positions_have_no_entropies() -> None:
    found = target_entropies(
        event_fixture.model(), autoencoder(), documents(), targets().head(0), layer=1, threshold=0.0, lookback=16
    )
    assert list(found) == ["feature_id", "document", "position", "activation", "H_pos_bits"]
    assert found.empty


def test_an_interrupted_run_goes_on_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autocorrelation_model, "_CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(autocorrelation_model, "_WINDOWS_AT_ONCE", 5)
    measured: list[int] = []
    original = autocorrelation_model.window_influences

    def counted(model: Any, sae: Any, ids: torch.Tensor, **options: Any) -> Any:
        if len(measured) == limit:
            raise KeyboardInterrupt
        measured.append(len(ids))
        return original(model, sae, ids, **options)

    monkeypatch.setattr(autocorrelation_model, "window_influences", counted)

    def entropies(identity: str = "one", threshold: float = 0.0) -> pd.DataFrame:
        options: dict[str, Any] = {"layer": 1, "threshold": threshold, "lookback": 16, "checkpoint": tmp_path}
        return target_entropies(
            event_fixture.model(), autoencoder(), documents(), targets(), identity=identity, **options
        )

    limit = 2
    with pytest.raises(KeyboardInterrupt):
        entropies()
    limit, measured = -1, []
    resumed = entropies()
    assert sum(measured) == len(resumed) - 10
    measured = []
    pd.testing.assert_frame_equal(entropies("another model"), resumed)
    assert sum(measured) == len(resumed)
    measured = []
    entropies(threshold=0.5)
    assert sum(measured) == len(resumed)


# All of it


def test_a_run_is_its_parts_on_the_selected_features() -> None:
    settings = AutocorrelationSettings(
        threshold=0.0, max_density=0.9, n_examples=2, max_lag=20, n_positions=3, lookback=16, seed=3
    )
    model, sae, texts = event_fixture.model(), autoencoder(), documents()
    found = measure_autocorrelation(model, sae, texts, layer=1, features=FEATURES, settings=settings)
    everything = activations_of(model, sae, texts, layer=1, features=FEATURES)
    chosen = found.selected["feature_id"].tolist()
    statistics = activation_statistics(everything, FEATURES)
    density = dict(zip(FEATURES, statistics["density"], strict=True))
    assert chosen == [feature for feature in FEATURES if 0 < density[feature] <= 0.9]
    activations = [document[:, [FEATURES.index(feature) for feature in chosen]] for document in everything]
    peaks = top_peaks(activations, chosen, n_examples=2)
    pd.testing.assert_frame_equal(found.peaks, peaks)
    expected = strips(activations, chosen, peaks)
    assert found.strips.keys() == expected.keys()
    for feature, strip in expected.items():
        np.testing.assert_array_equal(found.strips[feature], strip)
    np.testing.assert_array_equal(found.curves, autocorrelation(activations, max_lag=20))
    sample = sample_targets(activations, chosen, n_positions=3, lookback=16, seed=3)
    entropies = target_entropies(model, sae, texts, sample, layer=1, threshold=0.0, lookback=16)
    pd.testing.assert_frame_equal(found.targets, entropies)


def test_a_run_without_features_says_so() -> None:
    with pytest.raises(SchemaError, match=r"none of the features .*found 1 features.*widen the filters"):
        measure_autocorrelation(
            event_fixture.model(),
            autoencoder(),
            documents(),
            layer=1,
            features=[SILENT],
            settings=AutocorrelationSettings(threshold=0.0),
        )
