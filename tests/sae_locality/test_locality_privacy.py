"""Host names and absolute paths are taken out; texts about features are left alone."""

from __future__ import annotations

import pytest

from circuit_artifacts.sae_locality.privacy import stripped, stripped_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice/data/ae.pt", "ae.pt"),
        ("/scratch", "scratch"),
        ("C:\\Users\\alice\\ae.pt", "ae.pt"),
        ("D:/runs/one/ae.pt", "ae.pt"),
        ("\\\\server\\share\\ae.pt", "ae.pt"),
        ("~/runs/ae.pt", "ae.pt"),
        ("~alice/runs/ae.pt", "ae.pt"),
        ("file:///home/alice/ae.pt", "ae.pt"),
        ("run --out=/home/alice/x --in '/data/y z'", "run --out=x --in 'y z'"),
        ("sae_lens:gemma-scope-2b-pt-res-canonical/layer_12/width_16k", None),
        ("sparsify-direct:EleutherAI/sae-llama-3-8b-32x/layers.3", None),
        ("https://huggingface.co/datasets/x/y", None),
        ("and/or, 1/2, a / b", None),
        ("2.7.0+cu126", None),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part(text: str, expected: str | None) -> None:
    assert stripped_text(text) == (text if expected is None else expected)


def test_a_host_is_removed_wherever_it_is_repeated() -> None:
    value = {"host": "node7.cluster", "log": ["ran on node7.cluster at 12:00"], "inner": {"hostname": "node8"}}
    assert stripped(value) == {"log": ["ran on  at 12:00"], "inner": {}}


def test_texts_about_features_are_left_alone() -> None:
    value = {"features": [{"description": "paths such as /etc/passwd", "tokens": ["/", "usr"]}]}
    assert stripped(value) == value
