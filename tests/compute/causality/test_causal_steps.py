"""The steps of causal dimensionality on a tiny model and random autoencoders: values, layout, resuming, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import SNIPPETS, write_tiny_model

from circuit_artifacts import load_dataset, provenance
from circuit_artifacts.compute.causality import experiments
from circuit_artifacts.compute.causality.capture import positions_mask, site_values
from circuit_artifacts.compute.causality.widths import bootstrap_counts
from circuit_artifacts.compute.corpora import load_corpus
from circuit_artifacts.compute.locality.windows import cut_windows, sequential_starts
from circuit_artifacts.compute.models import load_model, load_tokenizer
from circuit_artifacts.compute.saes import SparseAutoencoder, load_sae, save_sae
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.regeneration import regenerate
from circuit_artifacts.schemas.causal_results import KINDS, parse_result

WIDTH, LAYERS = 16, 2
WIDTHS = (24, 48, 96)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters that name a model, autoencoders and a corpus of our own."""
    folder = tmp_path_factory.mktemp("steps")
    write_tiny_model(folder / "model", n_layer=LAYERS, d_model=WIDTH)
    generator = torch.Generator().manual_seed(3)
    for width in WIDTHS:
        weights = torch.randn((WIDTH, width), generator=generator)
        sae = SparseAutoencoder("topk", weights, torch.zeros(width), weights.T.contiguous(), torch.zeros(WIDTH), k=6)
        save_sae(sae, folder / f"saes/{width}", record=provenance.Provenance(mirror="tests", step="random weights"))
    (folder / "corpus").mkdir()
    for number, snippet in enumerate(SNIPPETS):
        (folder / "corpus" / f"{number}.py").write_text("\n".join([snippet] * 12) + "\n")
    return {
        "model": str(folder / "model"),
        "saes": [str(folder / f"saes/{width}") for width in WIDTHS],
        "layer_sae": str(folder / "saes/24"),
        "layer": 1,
        "layers": [0, 1],
        "dataset": "snippets",
        "corpus": str(folder / "corpus"),
        "n_sequences": 6,
        "seq_len": 12,
        "quantile": 0.75,
        "n_exact": 10,
        "n_exact_sequences": 4,
        "n_boot": 20,
        "structures": ["within_rc"],
        "lexicon": "code",
    }


@pytest.fixture(scope="module")
def made(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    names = ["width_sweep", "atp_versus_exact", "curve_fit", "cells", "layers", "kappa"]
    make(root, {**given, "experiments": names}, "results", "figures")
    return root


def make(root: Path, given: dict[str, Any], *families: str) -> None:
    regenerate("causal-dimensionality", families, root=root, parameters=given)


def results(root: Path, kind: str) -> dict[str, Any]:
    rows = load_dataset("causal-dimensionality", "results", split="train", data_root=root)
    assert set(rows["status"]) == {"typed"}
    return {row["path"]: parse_result(json.loads(row["typed"])) for row in rows if row["kind"] == kind}


def test_firing_and_causal_features_are_those_of_the_model(made: Path, given: dict[str, Any]) -> None:
    """Once more, from the definition: mean over tokens of |activation x gradient along the decoder|."""
    (sweep,) = results(made, "exp1_width_sweep").values()
    model, tokenizer = load_model(given["model"], dtype=torch.float32), load_tokenizer(given["model"])
    tokens = tokenizer.encode(load_corpus(given["dataset"], given["corpus"]).text)
    bos = tokenizer.backend.encode("", add_special_tokens=True).ids[:1]
    length = given["seq_len"] - len(bos)
    starts = sequential_starts(len(tokens), context_len=length, n_windows=given["n_sequences"])
    windows = cut_windows(tokens, starts, context_len=length)
    ids = torch.cat([torch.tensor([bos] * len(windows), dtype=torch.int64).reshape(len(windows), -1), windows], 1)
    mask = positions_mask(ids, bos)
    values = site_values(model, ids, site="resid_post", layer=1, metric="ce_sum")
    scores = []
    for ref in given["saes"]:
        sae = load_sae(ref, dtype=torch.float32)
        active = sae.encode(values.activation[mask], "faithful")
        effect = (active * (values.gradient[mask] @ sae.W_dec.T)).abs().mean(0)
        scores.append((active > 0).any(0).sum().item())
        scores.append(effect)
    tau = torch.quantile(scores[1].double(), given["quantile"]).item()
    assert [row.width for row in sweep.rows] == list(WIDTHS)
    assert [row.n_repr for row in sweep.rows] == scores[0::2]
    assert sweep.threshold.value == pytest.approx(tau, rel=1e-4)
    assert [row.n_causal for row in sweep.rows] == [int((effect > tau).sum()) for effect in scores[1::2]]


def test_every_result_says_where_it_is_from(made: Path, given: dict[str, Any]) -> None:
    for kind in KINDS:
        for path, result in results(made, kind).items():
            assert result.provenance.origin == "regenerated", path
            assert result.provenance.d_model == WIDTH
            assert given["corpus"] not in (made / path).read_text()
    for path in made.rglob("*.json"):
        if not path.name.endswith(provenance.SUFFIX) and ".done" not in path.parts:
            record = provenance.read(path)
            assert record is not None, path
            assert "not the published data" in record.statement
            assert str(given["corpus"]) not in json.dumps(record.model_dump(mode="json"))


def test_kappa_is_at_most_the_width_of_the_model(made: Path) -> None:
    found = results(made, "kappa_direct")
    assert [result.layer for result in found.values()] == [0, 1]
    for result in found.values():
        assert 1 <= result.kappa_pr <= result.kappa <= WIDTH


def test_layers_have_counts_by_every_rule(made: Path) -> None:
    (found,) = results(made, "cross_family").values()
    assert [row.sae.layer for row in found.rows] == [0, 1]
    for row in found.rows:
        assert row.n_causal == row.n_causal_by_rule["percentile"] == 6  # a quarter of 24, whatever the layer


def test_what_is_done_is_not_repeated(given: dict[str, Any], tmp_path: Path) -> None:
    """After an interruption, finished experiments stay; other parameters do them anew."""
    make(tmp_path, {**given, "experiments": ["kappa"]}, "results")
    path = next(tmp_path.glob("results/kappa/*.json"))
    before = path.read_bytes(), path.stat().st_mtime_ns
    regenerate(
        "causal-dimensionality", ["results"], root=tmp_path, parameters={**given, "experiments": ["kappa"]}, force=True
    )
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    regenerate(
        "causal-dimensionality",
        ["results"],
        root=tmp_path,
        parameters={**given, "experiments": ["kappa"], "seed": 1},
        force=True,
    )
    assert path.stat().st_mtime_ns != before[1]


def test_every_kind_with_a_figure_has_one(made: Path) -> None:
    drawn = {path.relative_to(made).as_posix() for path in made.glob("results/**/*.png")}
    with_figure = [path for path in made.glob("results/**/*.json") if path.parent.name not in {"cross_family"}]
    expected = {
        path.relative_to(made).with_suffix(".png").as_posix()
        for path in with_figure
        if not path.name.endswith(provenance.SUFFIX)
    }
    assert drawn == expected
    assert len(drawn) >= 6
    figures = load_dataset("causal-dimensionality", "figures", split="train", data_root=made)
    assert len(figures) == len(drawn)
    for name in drawn:
        record = provenance.read(made / name)
        assert record is not None
        assert record.step == "figures"


def test_pictures_follow_their_files_but_published_ones_stay(given: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path, {**given, "experiments": ["kappa"]}, "results", "figures")
    first, second = sorted(tmp_path.glob("results/kappa/*.png"))
    provenance.sidecar(second).unlink()  # as if it had been downloaded
    before = {path: path.stat().st_mtime_ns for path in (first, second)}
    regenerate("causal-dimensionality", ["figures"], root=tmp_path, parameters=given, force=True)
    assert {path: path.stat().st_mtime_ns for path in (first, second)} == before
    result = first.with_suffix(".json")
    result.write_text(result.read_text() + "\n")
    regenerate("causal-dimensionality", ["figures"], root=tmp_path, parameters=given, force=True)
    assert first.stat().st_mtime_ns != before[first]
    assert second.stat().st_mtime_ns == before[second]


def test_effects_on_a_logit_are_not_compared_with_nats(given: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path, {**given, "experiments": ["width_sweep"], "metric": "logit_top1"}, "results")
    (sweep,) = results(tmp_path, "exp1_width_sweep").values()
    assert set(sweep.rows[0].n_causal_by_rule) == {"percentile", "null", "mass"}


def test_resamples_in_which_too_few_features_fire_are_left_out(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some_unknown(*args: Any, **options: Any) -> np.ndarray:
        counts = bootstrap_counts(*args, **options)
        counts[::2] = np.nan
        return counts

    monkeypatch.setattr(experiments, "bootstrap_counts", some_unknown)
    make(tmp_path, {**given, "experiments": ["curve_fit"]}, "results")
    found = results(tmp_path, "expB_curve_fit")
    assert {fit.ci.n_boot for result in found.values() for fit in result.fits if fit.ci is not None} == {10}
    assert found


def test_experiments_over_layers_ask_for_autoencoders(given: dict[str, Any], tmp_path: Path) -> None:
    without = {**given, "layer_sae": None, "experiments": ["layers"]}
    with pytest.raises(UnknownNameError, match="Give layer_sae="):
        make(tmp_path, without, "results")


def test_misspelt_parameters_are_named(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="quantil: Extra inputs"):
        make(tmp_path, {**given, "quantil": 0.5}, "results")
