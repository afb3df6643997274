"""Top contexts of a corpus, against a plain loop over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import event_fixture
import numpy as np
import pytest
from event_fixture import N_FEATURES, SILENT, autoencoder
from torch import Tensor, nn

from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.locality import contexts
from circuit_artifacts.compute.locality.contexts import FeatureContexts, scan_corpus
from circuit_artifacts.compute.saes import Architecture, EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError, SchemaError, UnknownNameError

WINDOW = 8
FEATURES = (17, 4, 23, SILENT, 11)


def strings(ids: Sequence[int]) -> list[str]:
    return [f"<{number}>" for number in ids]


def scan(sae: SparseAutoencoder, tokens: Tensor, **options: Any) -> list[FeatureContexts]:
    given = {"layer": 1, "features": FEATURES, "window": WINDOW, "top_k": 4, "token_strings": strings}
    return scan_corpus(options.pop("model", event_fixture.model()), sae, tokens, **given | options)


def activations(sae: SparseAutoencoder, ids: Tensor, mode: EncodeMode = "compat") -> np.ndarray:
    """Of all features (T, n), of one window that runs alone and whole."""
    residual = capture(event_fixture.model(), ids[None], site="resid_post", layers=[1])[1][0]
    return sae.encode(residual, mode).numpy()


def oracle(sae: SparseAutoencoder, tokens: Tensor, top_k: int, mode: EncodeMode = "compat") -> dict[int, list[Any]]:
    hits: dict[int, list[Any]] = {feature: [] for feature in FEATURES}
    for start in range(0, len(tokens) - WINDOW + 1, WINDOW):
        values = activations(sae, tokens[start : start + WINDOW], mode)
        for feature in FEATURES:
            token = int(values[:, feature].argmax())
            hits[feature].append((float(values[token, feature]), start, token))
    return {feature: sorted(found, key=lambda hit: (-hit[0], hit[1]))[:top_k] for feature, found in hits.items()}


def check(found: list[FeatureContexts], expected: dict[int, list[Any]], tokens: Tensor) -> None:
    assert [entry.feature_id for entry in found] == list(expected)
    for entry in found:
        hits = expected[entry.feature_id]
        assert [(each.window_start_token, each.token_idx) for each in entry.examples] == [hit[1:] for hit in hits]
        np.testing.assert_allclose([each.activation for each in entry.examples], [hit[0] for hit in hits], rtol=1e-4)
        assert entry.max_activation == entry.examples[0].activation
        for example in entry.examples:
            start = example.window_start_token
            assert list(example.tokens) == strings(tokens[start : start + WINDOW].tolist())
            assert example.activating_token == f"<{int(tokens[example.peak])}>"
            assert example.neuronpedia_rank is None


@pytest.mark.parametrize("batch_tokens", [1, 5 * WINDOW, 10_000])
@pytest.mark.parametrize(
    ("arch", "mode"),
    [
        ("relu", "compat"),
        ("jumprelu", "compat"),
        ("topk", "compat"),
        ("relu", "faithful"),
        ("topk", "faithful"),
        ("gated", "faithful"),
    ],
)
def test_agrees_with_a_loop_over_windows(arch: Architecture, mode: EncodeMode, batch_tokens: int) -> None:
    sae, tokens = autoencoder(arch), event_fixture.corpus()
    found = scan(sae, tokens, sae_encode=mode, batch_tokens=batch_tokens)
    check(found, oracle(sae, tokens, 4, mode), tokens)


def test_few_activations_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One window at a time, and its features all the same."""
    monkeypatch.setattr(contexts, "_ENCODED_ENTRIES", 1)
    sae, tokens = autoencoder("topk"), event_fixture.corpus()
    check(scan(sae, tokens), oracle(sae, tokens, 4), tokens)


def test_of_other_features_only_top_k_autoencoders_compute_any(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    encode = SparseAutoencoder.encode

    def counted(self: SparseAutoencoder, *arguments: Any) -> Tensor:
        found = encode(self, *arguments)
        widths.append(found.shape[-1])
        return found

    monkeypatch.setattr(SparseAutoencoder, "encode", counted)
    scan(autoencoder("relu"), event_fixture.corpus())
    scan(autoencoder("topk"), event_fixture.corpus())
    assert widths == [len(FEATURES), N_FEATURES]


@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_a_feature_that_fires_nowhere_has_the_first_windows_with_activation_zero(arch: Architecture) -> None:
    entry = scan(autoencoder(arch), event_fixture.corpus())[FEATURES.index(SILENT)]
    assert [(each.activation, each.peak) for each in entry.examples] == [(0.0, n * WINDOW) for n in range(4)]
    assert all(math.copysign(1, each.activation) == 1 for each in entry.examples)  # not -0.0
    assert entry.max_activation == 0.0


def test_of_equal_windows_the_earlier_comes_first() -> None:
    tokens = event_fixture.corpus(WINDOW).repeat(6)
    found = scan(autoencoder(), tokens, batch_tokens=WINDOW, top_k=3)
    assert [[each.window_start_token for each in entry.examples] for entry in found] == [[0, 8, 16]] * len(FEATURES)


def test_only_whole_windows_from_the_beginning_and_no_more_than_asked_for() -> None:
    tokens = event_fixture.corpus(5 * WINDOW + 3)
    starts = sorted(each.window_start_token for each in scan(autoencoder(), tokens, top_k=99)[0].examples)
    assert starts == [0, 8, 16, 24, 32]
    starts = sorted(
        each.window_start_token for each in scan(autoencoder(), tokens, top_k=99, max_windows=2)[0].examples
    )
    assert starts == [0, 8]
    check(scan(autoencoder(), tokens, max_windows=3), oracle(autoencoder(), tokens[: 3 * WINDOW], 4), tokens)


def test_the_model_stops_at_the_layer_and_is_left_as_it_was_found() -> None:
    model = event_fixture.model()
    blocks = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    ran: list[int] = []
    handle = blocks[1].register_forward_hook(lambda *_: ran.append(1))
    model.train()
    try:
        scan(autoencoder(), event_fixture.corpus(), layer=0)
        assert model.training
        assert ran == []
    finally:
        model.eval()
        handle.remove()


@pytest.mark.parametrize(("killed_at", "left"), [(1, 7), (3, 5), (7, 1)])
def test_a_killed_scan_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, left: int
) -> None:
    """Of seven batches."""
    sae, tokens = autoencoder(), event_fixture.corpus()
    options = {"batch_tokens": 4 * WINDOW, "checkpoint": tmp_path, "identity": "this model"}
    whole = scan(sae, tokens, batch_tokens=4 * WINDOW)
    monkeypatch.setattr(contexts, "_CHECKPOINT_SECONDS", -1.0)
    passes = []
    ordinary = contexts.residual_stream

    def counted(*arguments: Any) -> Tensor:
        passes.append(arguments)
        if len(passes) == killed_at and not resumed:
            raise KeyboardInterrupt
        return ordinary(*arguments)

    monkeypatch.setattr(contexts, "residual_stream", counted)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        scan(sae, tokens, **options)
    resumed = True
    for changed, expected in (({}, left), ({}, 0), ({"identity": "another"}, 7)):
        del passes[:]
        assert scan(sae, tokens, **options | changed) == whole
        assert len(passes) == expected


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "_CHECKPOINT_SECONDS", -1.0)
    sae, tokens = autoencoder(), event_fixture.corpus()
    whole = scan(sae, tokens, checkpoint=tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert scan(sae, tokens, checkpoint=tmp_path) == whole


def test_what_cannot_be_scanned_is_refused() -> None:
    sae, tokens = autoencoder(), event_fixture.corpus()
    with pytest.raises(SchemaError, match=r"no whole window .*found 7 tokens, expected at least 8"):
        scan(sae, tokens[:7])
    with pytest.raises(SchemaError, match="features: a feature is listed twice"):
        scan(sae, tokens, features=(1, 2, 1))
    with pytest.raises(SchemaError, match="there are no features"):
        scan(sae, tokens, features=())
    with pytest.raises(UnknownNameError, match=r"no such feature \(found 3 to 24, expected 0 to 23\)"):
        scan(sae, tokens, features=(3, 24))
    with pytest.raises(UnknownNameError, match="0 to 1"):
        scan(sae, tokens, layer=2)
    with pytest.raises(ModelError, match="longer than the model takes"):
        scan(sae, tokens, window=161)
    broken = autoencoder()
    broken.W_enc[3, 17] = float("nan")
    with pytest.raises(ModelError, match=r"layer 1: .*not finite"):
        scan(broken, tokens)
