"""The steps of SAE locality on a tiny model and random autoencoders: values, layout, resuming, refusals."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_model import SNIPPETS, write_tiny_model

from circuit_artifacts import catalog, load_dataset, provenance
from circuit_artifacts.compute.locality import depth_run
from circuit_artifacts.compute.locality.influence import window_influence
from circuit_artifacts.compute.models import load_model, load_tokenizer
from circuit_artifacts.compute.saes import SparseAutoencoder, load_sae, save_sae
from circuit_artifacts.errors import MissingArtifactError, SchemaError, UnknownNameError
from circuit_artifacts.formats.torch_pickle import NUMPY_ARRAYS, load_torch
from circuit_artifacts.regeneration import regenerate
from circuit_artifacts.validation import validate

MIRROR = catalog.mirror("sae-locality")
WIDTH, LAYERS = 16, 2
ALL_EVENTS = ["events", "influences", "top_contexts"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters that name a model, autoencoders and a corpus of our own."""
    folder = tmp_path_factory.mktemp("steps")
    write_tiny_model(folder / "model", n_layer=LAYERS, d_model=WIDTH)
    generator = torch.Generator().manual_seed(3)
    for layer in range(LAYERS):
        weights = torch.randn((WIDTH, 24), generator=generator)
        sae = SparseAutoencoder("topk", weights, torch.zeros(24), weights.T.contiguous(), torch.zeros(WIDTH), k=6)
        save_sae(sae, folder / f"saes/{layer}", record=provenance.Provenance(mirror="tests", step="random weights"))
    (folder / "corpus").mkdir()
    for number, snippet in enumerate(SNIPPETS):
        (folder / "corpus" / f"{number}.py").write_text("\n".join([snippet] * 12) + "\n")
    return {
        "preset": "tiny",
        "model": str(folder / "model"),
        "sae": str(folder / "saes/{layer}"),
        "dataset": "snippets",
        "corpus": str(folder / "corpus"),
        "context_len": 12,
        "n_windows": 6,
        "layer": 1,
        "features": 8,
        "contexts": "scan",
        "top_k": 3,
        "scan_window": 16,
        "event_context_lens": [16, 8],
        "sweep_max_context_len": 20,
        "sweep_step": 6,
        "document_tokens": 64,
        "lookback": 8,
        "n_examples": 4,
        "n_positions": 4,
        "max_lag": 10,
    }


def make(root: Path, given: dict[str, Any], *families: str, **changes: Any) -> None:
    regenerate("sae-locality", families, root=root, parameters={**given, **changes})


def rows(root: Path, name: str, split: str = "train", **options: Any) -> list[dict[str, Any]]:
    return load_dataset("sae-locality", name, split=split, data_root=str(root), streaming=True, **options).take(10**6)


def runs(root: Path, pattern: str) -> list[Path]:
    return sorted(path.parent for path in root.glob(pattern))


def test_a_depth_run_holds_what_each_window_gives(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, "entropy_all")
    model, tokenizer = load_model(given["model"]), load_tokenizer(given["model"])
    tokens = tokenizer.encode("".join(path.read_text() for path in sorted(Path(given["corpus"]).iterdir())))
    windows = {(row["layer"], row["batch_idx"]): row for row in rows(tmp_path, "entropy_all", "windows")}
    assert len(windows) == LAYERS * 6
    features = list(rows(tmp_path, "entropy_all", "features"))
    for (layer, batch), window in windows.items():
        ids = torch.tensor(tokens[window["start_idx"] : window["start_idx"] + 12])
        sae = load_sae(given["sae"].format(layer=layer))
        expected = window_influence(model, sae, ids, layer=layer, threshold=0.0)
        own = [row for row in features if (row["layer"], row["batch_idx"]) == (layer, batch)]
        assert [row["feature_id"] for row in own] == expected.features.tolist()
        np.testing.assert_allclose([row["influence"] for row in own], expected.influence, rtol=1e-4)
        np.testing.assert_allclose([row["entropy_bits"] for row in own], expected.entropy_bits, atol=1e-4)
        np.testing.assert_allclose(window["token_influence"], expected.token_influence, rtol=1e-4)
    assert {row["sae_encode"] for row in windows.values()} == {"compat"}


def test_the_file_is_what_the_papers_scripts_read(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, "entropy_all")
    (path,) = tmp_path.glob("tiny/snippets/*/entropy_comparison_resid_post_layer1.pt")
    content = load_torch(path, allowed=NUMPY_ARRAYS)
    window = content["batch_results"][2]
    assert set(window) == {
        "batch_idx", "start_idx", "feature_entropies", "token_vector_entropy", "num_active_features",
        "feature_influences", "feature_activations", "token_vector_influence",
    }  # fmt: skip
    feature, influence = next(iter(window["feature_influences"].items()))
    assert type(feature) is int
    assert (influence.dtype, influence.shape) == (np.float32, (12,))
    assert type(window["feature_activations"][feature]) is float
    assert isinstance(window["feature_entropies"][feature], np.float32)
    assert content["summary"]["site"] == "resid_post_layer1"
    assert content["plots_dir"] == "entropy_plots_resid_post_layer1"
    assert content["config"]["context_len"] == 12
    assert provenance.KEY in content


def test_every_strand_passes_its_checks_and_loads(tmp_path: Path, given: dict[str, Any]) -> None:
    families = [
        "entropy_all",
        "ctxlen_all",
        *ALL_EVENTS,
        "case_studies",
        "geometry_pairs",
        "autocorr_curves",
        "figures",
    ]
    make(tmp_path, given, *families)
    # Holds down: a step that ran once more because another step needed one of the things that it makes.
    assert len(runs(tmp_path, "cherry_picked_feature_entropy/*/manifest.json")) == 1
    assert [finding for finding in validate(tmp_path, MIRROR) if finding.level == "error"] == []
    assert not [finding for finding in validate(tmp_path, MIRROR) if finding.rule == "unknown-file"]
    expected = {
        "entropy_all": "features",
        "ctxlen_all": "lengths",
        "events": "train",
        "influences": "train",
        "top_contexts": "train",
        "case_studies": "train",
        "geometry_features": "train",
        "geometry_pairs": "train",
        "geometry_neighbours": "train",
        "decoder_vectors": "train",
        "autocorr_features": "train",
        "autocorr_curves": "train",
        "autocorr_examples": "train",
        "entropy_targets": "train",
        "figures": "train",
    }
    for name, split in expected.items():
        assert next(iter(rows(tmp_path, name, split))), name
    listed = list(rows(tmp_path, "runs"))
    assert {row["strand"] for row in listed} >= {"depth", "context_length", "events", "geometry", "autocorrelation"}
    assert all(row["regenerated"] for row in listed)


def test_no_file_names_a_path_of_this_machine(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, "entropy_all", *ALL_EVENTS, "autocorr_curves")
    folder = str(Path(given["model"]).parent).encode()
    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and folder in path.read_bytes()]
    assert leaks == []


def test_the_sweep_ends_every_context_at_the_same_token(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, "ctxlen_all")
    lengths = [row for row in rows(tmp_path, "ctxlen_all", "lengths") if row["layer"] == 0]
    assert [row["context_len"] for row in lengths] == [8, 14, 20]
    assert {row["prompt_token_ids"][-1] for row in lengths} == {lengths[0]["prompt_token_ids"][-1]}
    assert all(row["token_entropy_bits"] <= np.log2(row["context_len"]) + 1e-5 for row in lengths)
    model, sae = load_model(given["model"]), load_sae(given["sae"].format(layer=0))
    for row in lengths:
        expected = window_influence(model, sae, torch.tensor(row["prompt_token_ids"]), layer=0, threshold=0.0)
        own = [
            r
            for r in rows(tmp_path, "ctxlen_all", "features")
            if (r["layer"], r["context_len"]) == (0, row["context_len"])
        ]
        np.testing.assert_allclose([r["entropy_bits"] for r in own], expected.entropy_bits, atol=1e-4)


class Killed(BaseException):
    """What a signal raises."""


def killed_after(n: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let `n` groups of windows be measured, and then be killed."""
    calls = itertools.count()
    real = depth_run.window_influences

    def measure(*arguments: Any, **options: Any) -> Any:
        if next(calls) == n:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(depth_run, "window_influences", measure)
    return calls


def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, root = tmp_path / "whole", tmp_path / "killed"
    make(whole, given, "entropy_all", timestamp="20260101_000000")
    with monkeypatch.context() as patch:
        killed_after(3, patch)  # in the second layer
        with pytest.raises(Killed):
            make(root, given, "entropy_all")
    with pytest.raises(MissingArtifactError, match="step 'depth run' did not finish"):
        list(rows(root, "entropy_all", "windows"))
    (folder,) = runs(root, "tiny/snippets/*/run_config.json")
    first = (folder / "entropy_comparison_resid_post_layer0.pt").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        calls = killed_after(99, patch)
        make(root, given, "entropy_all")
        assert next(calls) == 1  # only the group that was being measured
    assert (folder / "entropy_comparison_resid_post_layer0.pt").stat().st_mtime_ns == first
    assert runs(root, "tiny/snippets/*/bench.json") == [folder]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    for split in ("features", "windows"):
        left, right = (
            [{k: v for k, v in row.items() if k != "run"} for row in rows(place, "entropy_all", split)]
            for place in (whole, root)
        )
        assert left == right


def test_other_parameters_do_not_continue_an_interrupted_run(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Holds down: windows of one setting finished under another.
    with monkeypatch.context() as patch:
        killed_after(1, patch)
        with pytest.raises(Killed):
            make(tmp_path, given, "entropy_all")
    make(tmp_path, given, "entropy_all", context_len=10)
    assert {len(row["token_influence"]) for row in rows(tmp_path, "entropy_all", "windows")} == {10}
    assert len(runs(tmp_path, "tiny/snippets/*/bench.json")) == 1


def test_what_is_made_is_left_alone_unless_forced(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, "entropy_all")
    make(tmp_path, given, "entropy_all")
    assert len(runs(tmp_path, "tiny/snippets/*/bench.json")) == 1
    regenerate("sae-locality", ["entropy_all"], root=tmp_path, parameters=given, force=True)
    both = runs(tmp_path, "tiny/snippets/*/bench.json")
    assert len(both) == 2
    latest = {row["run"] for row in rows(tmp_path, "entropy_all", "windows")}
    assert latest == {both[1].relative_to(tmp_path).as_posix()}


def test_geometry_is_derived_from_vectors_without_a_model(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, *ALL_EVENTS, "decoder_vectors")
    derived = load_dataset("sae-locality", "geometry_pairs", split="train", data_root=str(tmp_path))
    vectors = {row["feature_id"]: np.float32(row["vector"]) for row in rows(tmp_path, "decoder_vectors")}
    assert len(derived) == len(vectors) * (len(vectors) - 1) // 2
    for row in derived:
        a, b = vectors[row["fid_a"]], vectors[row["fid_b"]]
        assert row["cosine"] == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)
        assert row["dH"] == pytest.approx(abs(row["H_a"] - row["H_b"]), abs=1e-9)
    assert not list(tmp_path.rglob("pairwise.csv"))  # derived files live apart


def test_events_are_the_highest_peaks(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path, given, *ALL_EVENTS)
    events = pa.Table.from_pylist(list(rows(tmp_path, "events"))).to_pandas()
    assert set(events["ctx"]) == {8, 16}
    for _, own in events[events["ctx"] == 16].groupby("feature_id"):
        assert own.sort_values("top_act_rank")["activation_value"].is_monotonic_decreasing
    manifest = json.loads(next(tmp_path.glob("cherry_picked_feature_entropy/*/manifest.json")).read_text())
    assert (manifest["top_k"], manifest["ctx_len"], len(manifest["features"])) == (3, 16, 8)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"preset": "unheard-of", "model": None}, UnknownNameError, "no such preset.*name model= and sae= too"),
        ({"contex_len": 12}, SchemaError, "contex_len: Extra inputs"),
        ({"engine": "ray"}, SchemaError, "engine"),
        ({"dataset": "../up"}, SchemaError, "dataset"),
        ({"dataset": "no-such", "corpus": None}, UnknownNameError, "no such corpus.*wikitext, gsm8k, stdlib"),
        ({"corpus": "/nowhere/at/all"}, MissingArtifactError, "no such file or folder"),
        ({"n_windows": 10_000}, SchemaError, "does not have as many windows"),
        ({"features": 24}, SchemaError, "not enough features are active"),
        ({"features": "all of them"}, UnknownNameError, "no such list of features.*pilot20"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    tmp_path: Path, given: dict[str, Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(tmp_path, given, "events" if "features" in changes else "entropy_all", **changes)


def test_one_config_of_a_grid_is_planned_alone(tmp_path: Path) -> None:
    steps = regenerate("sae-locality", ["entropy_gpt2-small_wikitext"], root=tmp_path, plan_only=True)
    assert [(step.name, step.files, step.model) for step in steps] == [
        ("depth run", ("gpt2-small/wikitext/*/entropy_comparison_*.pt",), True)
    ]


def test_everything_is_planned_and_pictures_come_last(tmp_path: Path) -> None:
    steps = regenerate("sae-locality-mini", root=tmp_path, plan_only=True)
    assert steps[-1].name == "figures"
    assert [step.name for step in steps if not step.model] == ["case studies", "geometry", "figures"]
    assert not any(tmp_path.iterdir())
