"""What each path of the repository names, and which files a config takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts import catalog
from circuit_artifacts.causal_dimensionality.paths import UNKNOWN, classify
from circuit_artifacts.causal_dimensionality.selection import files_of
from circuit_artifacts.schemas import causal_dimensionality as rows
from circuit_artifacts.schemas.causal_dimensionality_mirror import SITES

DICTIONARY = "pythia-70m-deduped/resid_out_layer3/10_32768/ae.pt"


def test_there_are_nineteen_sites_in_forward_order() -> None:
    assert len(SITES) == len(set(SITES)) == 19
    assert SITES[:4] == ("embed", "attn_out_layer0", "mlp_out_layer0", "resid_out_layer0")
    assert SITES[-1] == "resid_out_layer5"


@pytest.mark.parametrize("path", [DICTIONARY, f"dictionaries/{DICTIONARY}", DICTIONARY.replace(".pt", ".safetensors")])
def test_a_dictionary_is_found_wherever_it_was_unpacked(path: str) -> None:
    place = classify(path)
    assert (place.kind, place.site, place.hook, place.layer) == ("dictionary", "resid_out_layer3", "resid_out", 3)
    assert (place.set_id, place.d_sae) == (10, 32768)


def test_the_embedding_has_no_layer() -> None:
    place = classify("pythia-70m-deduped/embed/10_32768/ae.pt")
    assert (place.site, place.hook, place.layer) == ("embed", "embed", None)


@pytest.mark.parametrize(
    ("path", "kind", "experiment"),
    [
        ("results/exp1/summary.json", "result", "exp1"),
        ("results/exp1/by_layer/12/summary.json", "result", "exp1"),
        ("results/summary.json", "result", None),
        ("results/exp1/summary.json.provenance.json", "record", None),
        ("results/expB/figures/fit.png", "figure", "expB"),
        ("paper_draft/figures/fit.png", "figure", None),
        ("paper_draft/main.tex", "draft", None),
        ("logs/exp1/run.log", "log", None),
        ("logs/simple_train.json", "log", None),
        ("pythia-70m-deduped/embed/10_32768/config.json", "dictionary_config", None),
        ("pythia-70m-deduped/embed/10_32768/checkpoints/100.pt", "checkpoint", None),
        ("README.md", "card", None),
        ("results/exp1/notes.txt", UNKNOWN, None),
        ("pythia-70m-deduped/embed/10_32768/ae.pt.bak", UNKNOWN, None),
        ("pythia-70m-deduped/attn_out_layer/10_32768/ae.pt", UNKNOWN, None),
        ("pythia-70m-deduped/embed/32768/ae.pt", UNKNOWN, None),
        ("data/other_train.json", UNKNOWN, None),
        ("", UNKNOWN, None),
    ],
)
def test_a_path_says(path: str, kind: str, experiment: str | None) -> None:
    place = classify(path)
    assert (place.path, place.kind, place.experiment) == (path, kind, experiment)


def test_structures_are_told_apart_although_one_name_ends_another() -> None:
    # Holds down: within_rc_train.json taken for sentences of structure rc.
    found = {
        name: (classify(name).structure, classify(name).split) for name in ("within_rc_train.json", "d/rc_test.json")
    }
    assert found == {"within_rc_train.json": ("within_rc", "train"), "d/rc_test.json": ("rc", "test")}


@given(st.text(alphabet="ab/_.0123456789-ptjson", max_size=60))
def test_any_path_is_classified(path: str) -> None:
    assert classify(path).path == path


def test_of_a_site_with_a_twin_the_published_file_is_taken() -> None:
    twin = DICTIONARY.replace(".pt", ".safetensors")
    other = "pythia-70m-deduped/embed/10_32768/ae.safetensors"
    assert files_of(rows.SaeFeature, [twin, other, DICTIONARY]) == [other, DICTIONARY]


def test_one_dictionary_can_be_had_alone() -> None:
    names = [f"pythia-70m-deduped/{site}/10_32768/ae.pt" for site in SITES]
    (embed, *_) = catalog.family("causal-dimensionality", "dictionary").configs
    assert embed.select(names, {}) == (names[0],)
    everything = catalog.config("causal-dimensionality", "sae_features")
    assert set(everything.select([*names, "logs/x.log"], {})) == set(names)
