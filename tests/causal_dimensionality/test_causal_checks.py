"""The validator: nothing to say of a sound folder but what is known, and one finding, in its place, for every fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from causal_fixture import D_SAE, dictionary_path, tensors, write_causal, write_dictionary

from circuit_artifacts import catalog, provenance
from circuit_artifacts.causal_dimensionality.checks import check_folder
from circuit_artifacts.schemas.causal_dimensionality_mirror import MIRROR
from circuit_artifacts.validation import Finding, mirror_of, validate

SITE = "mlp_out_layer2"
DICTIONARY = dictionary_path(SITE)
KNOWN = {
    "card-config",
    "card-jumprelu",
    "dictionary-shape",
    "published-number",
    "published-consistency",
    "result-unknown",
}
"""Notes on the fixture, which is smaller than the published folder."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal(tmp_path_factory.mktemp("checks") / "published")


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def new_findings(folder: Path) -> list[Finding]:
    return [finding for finding in validate(folder, MIRROR) if finding.rule not in KNOWN]


def test_a_sound_folder_has_no_fault(published: Path) -> None:
    findings = list(validate(published))
    assert {finding.rule for finding in findings} == KNOWN
    assert {finding.level for finding in findings} == {"note"}


def test_the_card_is_held_against_the_files_once(published: Path) -> None:
    (jump,) = [finding for finding in validate(published) if finding.rule == "card-jumprelu"]
    assert "plain ReLU" in jump.message


def test_found_numbers_stand_beside_published_ones(published: Path) -> None:
    of_place = {(f.file, f.where): f.message for f in validate(published) if f.rule == "published-number"}
    inert = of_place["results/exp1_width_sweep/layer12.json", "inert_g2b_pct"]
    assert inert.endswith("published 97.95, found 97.95: agrees")
    widths = of_place["results/exp1_width_sweep/layer12.json", "n_widths"]
    assert widths.endswith("published 7, found 3: differs")
    assert of_place["results/exp9_rctrain/recall.json", "sva_p99_pct"].endswith("found 42.9: agrees")
    (verdict,) = [f for f in validate(published) if f.rule == "published-consistency"]
    assert (verdict.where, "the check fails" in verdict.message) == ("seven_powers", True)


Damage = Callable[[Path], object]


def dictionary(**changes: torch.Tensor) -> Damage:
    names = {"bias": "bias", "encoder": "encoder.weight", "encoder_bias": "encoder.bias", "decoder": "decoder.weight"}
    content = tensors(99) | {names[name]: tensor for name, tensor in changes.items()}
    return lambda folder: write_dictionary(folder, SITE, content)


def half(folder: Path) -> None:
    write_dictionary(folder, SITE, {name: tensor.half() for name, tensor in tensors(99).items()})


def padded(folder: Path) -> None:
    """A view of a larger storage, all of which is written."""
    content = tensors(99)
    content["bias"] = torch.zeros(30_000)[: len(content["bias"])]
    write_dictionary(folder, SITE, content)


def moved(to: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / to).parent.mkdir(parents=True)
        shutil.move(folder / DICTIONARY, folder / to)

    return damage


def text(name: str, content: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return damage


def truncated(name: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def twice(folder: Path) -> None:
    shutil.copy(folder / dictionary_path("embed"), folder / DICTIONARY)


NOT_FINITE = torch.full((D_SAE,), float("nan"))
OURS = {"kind": "exp_synthetic_gt", "experiment": "s", "n_planted": 1, "cos_threshold": 0.7, "n_recovered": 0}


@pytest.mark.parametrize(
    ("damage", "level", "rule", "file", "part"),
    [
        (dictionary(encoder_bias=NOT_FINITE), "error", "schema", DICTIONARY, "not finite"),
        (dictionary(bias=torch.zeros(9)), "error", "schema", DICTIONARY, "another shape"),
        (truncated(DICTIONARY), "error", "readable", DICTIONARY, ""),
        (padded, "error", "dictionary-bytes", DICTIONARY, "expected 2,208 of numbers"),
        (twice, "error", "dictionary-twice", DICTIONARY, "embed"),
        (half, "note", "dictionary-dtype", DICTIONARY, "float16"),
        (
            dictionary(decoder=tensors(99)["decoder.weight"] * 1.01),
            "note",
            "decoder-norm",
            DICTIONARY,
            "from 1.01 to 1.01",
        ),
        (
            moved("pythia-70m-deduped/mlp_out_layer6/10_32/ae.pt"),
            "error",
            "dictionary-layer",
            "pythia-70m-deduped/mlp_out_layer6/10_32/ae.pt",
            "layer 6 of a model with 6",
        ),
        (moved(DICTIONARY.replace("10_", "0_")), "error", "dictionary-set", DICTIONARY.replace("10_", "0_"), "set 0"),
        (moved(DICTIONARY.replace("_32", "_64")), "error", "schema", DICTIONARY.replace("_32", "_64"), "promises"),
        (text("notes.txt", ""), "note", "unknown-file", "notes.txt", ""),
        (text("results/exp1/x.json", "{"), "error", "readable", "results/exp1/x.json", "not JSON"),
        (text("results/exp1/x.json", "{}"), "note", "result-not-understood", "results/exp1/x.json", "layer"),
        (text("results/x.json", json.dumps(OURS)), "error", "result-provenance", "results/x.json", ""),
        (
            text("results/x.json", json.dumps(OURS | {"n_recovered": 2})),
            "error",
            "result",
            "results/x.json",
            "2 <= 1",
        ),
        (
            text("results/exp1_width_sweep/wedge.png", "x"),
            "error",
            "readable",
            "results/exp1_width_sweep/wedge.png",
            "PNG",
        ),
        (text("data/simple_train.json", "{}\n"), "error", "schema", "data/simple_train.json", "clean_prefix"),
    ],
)
def test_every_fault_is_found_where_it_is(
    copy: Path, damage: Damage, level: str, rule: str, file: str, part: str
) -> None:
    damage(copy)
    found = [finding for finding in new_findings(copy) if finding.rule == rule]
    assert any((f.level, f.file) == (level, file) and part in f.where + f.message for f in found), found


def test_an_absent_dictionary_is_noted(copy: Path) -> None:
    (copy / DICTIONARY).unlink()
    (finding,) = new_findings(copy)
    assert (finding.rule, finding.level, SITE in finding.message) == ("dictionary-missing", "note", True)


def test_a_folder_without_dictionaries_lacks_nothing(tmp_path: Path) -> None:
    text("results/exp0/x.json", '{"rho": 0.8, "n_features": 5}')(tmp_path)
    assert {finding.rule for finding in validate(tmp_path)} == {"published-number"}


def test_regenerated_files_are_not_held_against_published_ones(published: Path) -> None:
    """Nor are the files of a mirror that nobody has published."""
    ours = replace(MIRROR, name="causal-dimensionality-mini", repositories=())
    assert {finding.rule for finding in check_folder(published, ours)} == {"result-unknown"}


def test_files_with_a_record_are_ours(copy: Path) -> None:
    for path in copy.rglob("ae.pt"):
        provenance.write_sidecar(path, provenance.Provenance(mirror="causal-dimensionality", step="training"))
    assert not {"card-jumprelu", "dictionary-shape"} & {finding.rule for finding in validate(copy, MIRROR)}


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        (DICTIONARY, True),
        ("results/exp0_atp/summary.json", True),
        ("results/ExpB/summary.json", True),
        ("results/accuracy.json", False),
        ("results/run1/accuracy.json", False),
        ("logs/train.log", False),
        ("results/exp1/plot.png", False),
        ("simple_train.json", False),
    ],
)
def test_names_that_anybody_uses_do_not_make_a_folder_ours(tmp_path: Path, name: str, is_ours: bool) -> None:
    # Holds down: the conversion of any folder with logs and results, as a folder of this mirror.
    text(name, "")(tmp_path)
    if is_ours:
        assert mirror_of(tmp_path) is catalog.mirror("causal-dimensionality")
    else:
        with pytest.raises(LookupError):
            mirror_of(tmp_path)
