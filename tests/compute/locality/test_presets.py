"""The presets, against facts of the published runs (locality spec 3)."""

from __future__ import annotations

import pytest

from circuit_artifacts.compute.locality.context_length import context_lengths
from circuit_artifacts.compute.locality.presets import PRESETS, SWEEP_MIN_CONTEXT_LEN, preset
from circuit_artifacts.errors import UnknownNameError


def test_there_are_six_with_seventy_six_layers_in_all() -> None:
    assert {name: len(entry.layers) for name, entry in PRESETS.items()} == {
        "pythia-70m": 6,
        "gpt2-small": 12,
        "qwen2-0.5b": 12,
        "llama-3.2-1b": 9,
        "gemma-2-2b": 26,
        "llama-3-8b": 11,
    }
    for entry in PRESETS.values():
        assert len(entry.sae_paths) == len(entry.sae_ids) == entry.n_layers > max(entry.layers)


def test_where_an_autoencoder_is_and_what_files_call_it() -> None:
    pythia, gemma, llama = preset("pythia-70m"), preset("gemma-2-2b"), preset("llama-3-8b")
    assert pythia.layer_site(3) == "resid_out_layer3"
    assert pythia.sae_source(3) == "dictionaries/pythia-70m-deduped/resid_out_layer3/10_32768/ae.pt"
    assert gemma.sae_paths[12] == "layer_12/width_16k/average_l0_82"
    assert gemma.sae_paths[25] == "layer_25/width_16k/average_l0_116"
    assert gemma.sae_source(12) == "sae_lens:gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical"
    assert llama.sae_source(30) == "sparsify-direct:EleutherAI/sae-llama-3-8b-32x/layers.30"
    assert llama.layers == (0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30)


def test_declared_and_real_architecture_differ_where_the_published_files_do() -> None:
    differ = {name for name, entry in PRESETS.items() if entry.sae_arch != entry.sae_arch_declared}
    assert differ == {"gpt2-small", "qwen2-0.5b", "llama-3.2-1b"}


def test_sweeps_have_seventeen_lengths() -> None:
    for entry in PRESETS.values():
        lengths = context_lengths(SWEEP_MIN_CONTEXT_LEN, entry.sweep_max_context_len, entry.sweep_step)
        assert len(lengths) == 17


def test_unknown_presets_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'pythia'.*pythia-70m, gpt2-small"):
        preset("pythia")
