"""Validation of SAE-locality folders: a consistent one passes, and every pathology gives one located finding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from locality_damage import (
    Damage,
    arrays,
    cell,
    change_torch,
    feature,
    json_file,
    rename_feature,
    table,
    truncate,
    window,
)
from locality_fixture import CARD_DEPTH, DEPTH, EVENTS, GEOMETRY, OLD_SWEEP, SWEEP, TRACES, loaded

from circuit_artifacts.sae_locality.checks import check_folder
from circuit_artifacts.validation import Finding

LAYER = f"{DEPTH}/entropy_comparison_resid_out_layer0.pt"
OTHER_LAYER = f"{DEPTH}/entropy_comparison_resid_out_layer1.pt"
CARD_LAYER = f"{CARD_DEPTH}/entropy_comparison_resid_post_layer3.pt"
LENGTHS = f"{SWEEP}/gpt2-small/entropy_vs_context_len_resid_post_layer0_20260510_101110.pt"
TABLE = f"{EVENTS}/ctx016.csv"
ARCHIVE = f"{EVENTS}/influences_ctx016.npz"
CONTEXTS = f"{EVENTS}/top_contexts_layer12.json"
CORPUS = f"{EVENTS}/corpus_tokens.pt"
FEATURES = f"{GEOMETRY}/per_feature.csv"
PAIRS = f"{GEOMETRY}/pairwise.csv"
MATRIX = f"{GEOMETRY}/cosine_matrix.pt"
STRIPS = f"{TRACES}/activation_traces.npz"


@pytest.fixture
def damaged(published: Path, tmp_path: Path) -> Callable[[str, str, Damage], Path]:
    """A copy of one run with one of its files damaged."""

    def copy(run: str, file: str, damage: Damage) -> Path:
        shutil.copytree(published / run, tmp_path / run)
        damage(tmp_path / file)
        return tmp_path

    return copy


def brief(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.rule, finding.file, finding.where) for finding in findings]


def remarks(folder: Path) -> list[Finding]:
    """Everything but that the card is wrong about weights-only loading, which holds of every folder."""
    return [finding for finding in check_folder(folder) if finding.rule != "card-weights-only"]


def errors(folder: Path) -> list[Finding]:
    return [finding for finding in check_folder(folder) if finding.level == "error"]


def test_a_consistent_folder_has_no_errors_and_these_notes(published: Path) -> None:
    assert brief(list(check_folder(published))) == [
        ("unknown-file", "topact_all_features/20260701_000000/run_config.json", ""),
        ("incomplete-run", f"{CARD_DEPTH}/run_config.json", "layers"),
        ("incomplete-run", f"{CARD_DEPTH}/run_config.json", ""),
        ("sae-arch", CARD_LAYER, "config.sae_arch"),
        ("card-weights-only", f"{OLD_SWEEP}/gpt2-small/entropy_vs_batch_size_resid_post_layer2_20260428_091000.pt", ""),
    ]
    assert {finding.level for finding in check_folder(published)} == {"note"}


@pytest.mark.parametrize(
    ("damage", "rule", "where", "message"),
    [
        (
            feature(lambda entry, fid: entry["feature_influences"].pop(fid)),
            "window",
            "batch_results[0]",
            "feature_influences and feature_entropies are not of the same features",
        ),
        (window(0, num_active_features=6), "active-count", "batch_results[0]", "6, but 5 features are listed"),
        (
            feature(lambda entry, fid: entry["feature_influences"].update({fid: np.ones(63, np.float32)})),
            "influence-length",
            "batch_results[0], feature {}",
            "63 values for a window of 64 tokens",
        ),
        (
            window(1, token_vector_influence=np.ones(65, np.float32)),
            "influence-length",
            "batch_results[1].token_vector_influence",
            "65 values for a window of 64 tokens",
        ),
        (
            feature(lambda entry, fid: entry["feature_influences"][fid].__setitem__(3, -1)),
            "influence-values",
            "batch_results[0], feature {}",
            "-1.0 at token 3",
        ),
        (
            feature(lambda entry, fid: entry["feature_influences"][fid].__setitem__(9, np.nan)),
            "influence-values",
            "batch_results[0], feature {}",
            "nan at token 9",
        ),
        (
            feature(lambda entry, fid: entry["feature_entropies"].update({fid: 6.1})),
            "entropy-range",
            "batch_results[0], feature {}",
            "6.1 bits, expected 0 to 6 for 64 tokens",
        ),
        (
            feature(lambda entry, fid: entry["feature_influences"][fid].__setitem__(0, 1.0)),
            "entropy-recomputed",
            "batch_results[0], feature {}",
            "stored",
        ),
        (feature(rename_feature), "feature-id", "batch_results[0]", "feature 1024 of an autoencoder with 1,024"),
        (window(1, start_idx=0), "start-order", "batch_results[1]", "expected ascending offsets"),
        (
            change_torch(lambda content: content["batch_start_indices"].pop()),
            "start-list",
            "batch_start_indices",
            "not that of the windows",
        ),
        (
            change_torch(lambda content: content["summary"].update(num_batches=5)),
            "summary-count",
            "summary.num_batches",
            "5, but the file has 4 windows",
        ),
        (
            change_torch(lambda content: content["summary"].update(mean_feature_entropy=1.0)),
            "summary-mean",
            "summary.mean_feature_entropy",
            "stored 1, recomputed",
        ),
        (
            change_torch(lambda content: content["summary"].update(mean_token_vector_entropy=1.0)),
            "summary-mean",
            "summary.mean_token_vector_entropy",
            "stored 1, recomputed",
        ),
        *(
            (
                change_torch(lambda content, name=name, value=value: content["summary"].update({name: value})),
                "path",
                f"summary.{name}",
                f"{value!r}, but the path says",
            )
            for name, value in {
                "layer": 1,
                "preset": "gpt2-small",
                "timestamp": "20260427_105944",
                "dataset": "gsm8k",
                "site": "resid_out_layer1",
            }.items()
        ),
        (
            change_torch(lambda content: content["config"].update(sae_arch="topk")),
            "sae-arch",
            "config.sae_arch",
            "'topk', but run_config.json says 'relu'",
        ),
        (truncate, "readable", "", ""),
        (change_torch(lambda content: content.pop("config")), "schema", "config", "not that of a depth run"),
    ],
)
def test_a_broken_depth_file(damaged: Callable[..., Path], damage: Damage, rule: str, where: str, message: str) -> None:
    folder = damaged(DEPTH, LAYER, damage)
    found = [finding for finding in errors(folder) if finding.rule != "start-list" or rule == "start-list"]
    if not where.startswith("summary.mean"):  # which follows from most other faults
        found = [finding for finding in found if finding.rule != "summary-mean"]
    assert [finding.rule for finding in found] == [rule]
    assert found[0].file == LAYER
    assert message in found[0].message
    if where.endswith("{}"):
        assert found[0].where.startswith(where[:-2])
        assert found[0].where[len(where) - 2 :].isdecimal()
    elif where:
        assert found[0].where == where


def test_either_definition_of_the_mean_is_accepted(damaged: Callable[..., Path]) -> None:
    def edit(content: Any) -> None:
        entries = [value for entry in content["batch_results"] for value in entry["feature_entropies"].values()]
        content["summary"]["mean_feature_entropy"] = float(np.mean(entries))
        content["summary"]["entropy_difference"] = 0.5

    assert errors(damaged(DEPTH, LAYER, change_torch(edit))) == []


def test_more_active_features_than_top_k_leaves(damaged: Callable[..., Path]) -> None:
    folder = damaged(CARD_DEPTH, CARD_LAYER, change_torch(lambda content: content["config"].update(k=4)))
    found = errors(folder)
    assert brief(found) == [("active-count", CARD_LAYER, f"batch_results[{n}]") for n in (0, 1, 3)]
    assert found[0].message == "5 active features; top-k leaves at most 4"


@pytest.mark.parametrize(
    ("damage", "rule", "where"),
    [
        (
            feature(lambda entry, fid: entry["feature_activations"].update({fid: 0.2})),
            "activation-threshold",
            "batch_results[0], feature ",
        ),
        (
            change_torch(
                lambda content: (
                    content["batch_results"][3].update(start_idx=content["batch_results"][3]["start_idx"] + 1),
                    content["batch_start_indices"].__setitem__(3, content["batch_start_indices"][3] + 1),
                )
            ),
            "start-alignment",
            "batch_results[3]",
        ),
    ],
)
def test_a_remarkable_depth_file(damaged: Callable[..., Path], damage: Damage, rule: str, where: str) -> None:
    found = remarks(damaged(DEPTH, LAYER, damage))
    assert [(finding.level, finding.rule) for finding in found] == [("note", rule)]
    assert found[0].where.startswith(where)


def test_a_layer_that_the_run_did_not_set_out_for(damaged: Callable[..., Path]) -> None:
    config = f"{DEPTH}/run_config.json"
    found = errors(damaged(DEPTH, config, json_file(lambda content: content.update(layers=[1]))))
    assert brief(found) == [("run-layers", config, "layers")]
    assert "layer 0 is not one of [1]" in found[0].message


def test_a_run_without_its_end_is_noted(damaged: Callable[..., Path]) -> None:
    found = remarks(damaged(DEPTH, f"{DEPTH}/bench.json", Path.unlink))
    assert [(finding.level, *triple) for finding, triple in zip(found, brief(found), strict=True)] == [
        ("note", "incomplete-run", f"{DEPTH}/run_config.json", "")
    ]


@pytest.mark.parametrize(
    ("damage", "rule", "where", "message"),
    [
        (
            change_torch(lambda content: content["summary"]["sub_context_lens"].remove(16)),
            "sweep-lengths",
            "results_by_context_len[16]",
            "not one of the 2",
        ),
        (
            change_torch(lambda content: content["summary"]["prompt_token_ids"].pop()),
            "prompt-length",
            "summary.prompt_token_ids",
            "23 tokens, expected those of the longest window, 24",
        ),
        (
            change_torch(lambda content: content["summary"]["prompt_token_strs"].pop()),
            "prompt-length",
            "summary.prompt_token_strs",
            "23 tokens",
        ),
        (
            change_torch(lambda content: content["results_by_context_len"][16].update(token_vector_entropy=4.5)),
            "entropy-range",
            "results_by_context_len[16].token_vector_entropy",
            "4.5 bits, expected 0 to 4 for 16 tokens",
        ),
        (
            change_torch(lambda content: content["results_by_context_len"][16].update(num_active_features=1)),
            "active-count",
            "results_by_context_len[16]",
            "0 features are listed",
        ),
        (
            change_torch(lambda content: content["results_by_context_len"][8]["feature_entropies"].popitem()),
            "length",
            "results_by_context_len[8]",
            "not of the same features",
        ),
        (
            change_torch(lambda content: content["summary"].update(layer=3)),
            "path",
            "summary.layer",
            "3, but the path says 0",
        ),
        (truncate, "readable", "", ""),
    ],
)
def test_a_broken_sweep_file(damaged: Callable[..., Path], damage: Damage, rule: str, where: str, message: str) -> None:
    found = errors(damaged(SWEEP, LENGTHS, damage))
    assert [(finding.rule, finding.file) for finding in found] == [(rule, LENGTHS)]
    assert found[0].where == where or not where
    assert message in found[0].message


def test_influences_of_the_wrong_length_in_a_sweep(damaged: Callable[..., Path]) -> None:
    def edit(content: Any) -> None:
        influences = content["results_by_context_len"][8]["feature_influences"]
        influences[min(influences)].append(0.5)

    found = errors(damaged(SWEEP, LENGTHS, change_torch(edit)))
    assert [finding.rule for finding in found] == ["influence-length"]
    assert found[0].message == "9 values for a window of 8 tokens"


def test_a_damaged_entropy_in_a_sweep(damaged: Callable[..., Path]) -> None:
    def edit(content: Any) -> None:
        entropies = content["results_by_context_len"][24]["feature_entropies"]
        entropies[min(entropies)] += 0.01

    found = errors(damaged(SWEEP, LENGTHS, change_torch(edit)))
    assert [finding.rule for finding in found] == ["entropy-recomputed"]


@pytest.mark.parametrize(
    ("file", "damage", "rule", "where", "message"),
    [
        (TABLE, cell(0, "n_positions", "15"), "event-row", "n_positions, row 0", "15, expected the context length"),
        (
            TABLE,
            cell(0, "ctx_start", "9"),
            "event-row",
            "abs_peak - ctx_start + 1, row 0",
            "expected the context length",
        ),
        (TABLE, cell(0, "J_argmax", "16"), "event-row", "J_argmax, row 0", "16, expected a position in the window"),
        (TABLE, cell(0, "J_max", "0"), "event-row", "J_max, row 0", "0, expected more than 0"),
        (TABLE, cell(0, "J_max", "9"), "event-row", "J_sum, row 0", "expected at least J_max"),
        (
            TABLE,
            cell(6, "H_pos_bits", "2.5"),
            "event-row",
            "H_pos_bits, row 6",
            "2.5, although the status is",
        ),
        (TABLE, cell(0, "H_pos_bits", "2.5"), "entropy-recomputed", "3_0", "stored 2.5 bits, recomputed"),
        (TABLE, cell(0, "J_sum", "0.5"), "influence-sum", "3_0", "J_sum of row 0 is 0.5"),
        (
            TABLE,
            table(lambda frame: pd.concat([frame, frame.iloc[[6]]])),
            "event-key",
            "row 20",
            "a second row of feature 17, rank 2",
        ),
        (ARCHIVE, arrays(lambda content: content.pop("3_0")), "influence-key", "row 0", "has no array of this event"),
        (
            ARCHIVE,
            arrays(lambda content: content.update({"17_2": content["3_0"]})),
            "influence-key",
            "17_2",
            "the event has no row with status ok",
        ),
        (
            ARCHIVE,
            arrays(lambda content: content["3_0"].__setitem__(2, -1e-9)),
            "influence-values",
            "3_0",
            "at token 2",
        ),
        (ARCHIVE, truncate, "readable", "", ""),
        (TABLE, lambda path: path.write_text("feature_id\n1\n"), "schema", "header", "missing column(s): top_act_rank"),
        (
            CONTEXTS,
            json_file(lambda content: content["3"]["examples"][1].update(token_idx=41)),
            "token-index",
            "3.examples[1]",
            "token_idx 41 in a list of 41 tokens",
        ),
        (
            CONTEXTS,
            json_file(lambda content: content["3"]["examples"][1].update(window_start_token=42)),
            "event-start",
            "3.examples[1]",
            "no BOS (token 2) at window_start_token 42",
        ),
        (
            CORPUS,
            lambda path: torch.save(loaded(path)[:-1].clone(), path),
            "corpus-length",
            "",
            "819 tokens, but the events of",
        ),
    ],
)
def test_broken_events(
    damaged: Callable[..., Path], file: str, damage: Damage, rule: str, where: str, message: str
) -> None:
    folder = damaged(EVENTS, file, damage)
    found = errors(folder)
    if "second row" in message:
        found = [finding for finding in found if finding.rule != "top-k"]
    assert [finding.rule for finding in found] == [rule]
    assert found[0].where == where
    assert message in found[0].message


def test_more_events_than_the_manifest_allows(damaged: Callable[..., Path]) -> None:
    manifest = f"{EVENTS}/manifest.json"
    found = errors(damaged(EVENTS, manifest, json_file(lambda content: content.update(top_k=3))))
    assert {finding.rule for finding in found} == {"top-k"}
    assert found[0].message == "4 events, but the manifest says top_k 3"


@pytest.mark.parametrize(
    ("file", "damage", "rule", "where", "message"),
    [
        (
            f"{GEOMETRY}/decoder_vectors.pt",
            lambda path: torch.save(torch.zeros(4, 8), path),
            "schema",
            "",
            "the rows of the table are not those of the tensor",
        ),
        (MATRIX, lambda path: torch.save(torch.eye(4), path), "matrix-shape", "", "(4, 4), but the table has 5"),
        (MATRIX, change_torch(lambda m: m[0, 0].fill_(0.5)), "matrix-diagonal", "[0, 0]", "0.5, expected 1"),
        (MATRIX, change_torch(lambda m: m[3, 1].add_(0.1)), "matrix-symmetry", "[1, 3]", "but [3, 1] is"),
        (PAIRS, table(lambda frame: frame.iloc[:-1]), "pair-count", "", "9 rows, expected 10 for 5 features"),
        (PAIRS, cell(2, "dH", "0.123"), "pair-values", "dH, row 2", "stored 0.123, expected"),
        (PAIRS, cell(2, "abs_cosine", "0.123"), "pair-values", "abs_cosine, row 2", "stored 0.123, expected"),
        (PAIRS, cell(0, "fid_a", "4"), "pair-features", "row 0", "per_feature.csv does not have"),
        (
            f"{GEOMETRY}/manifest.json",
            json_file(lambda content: content.update(n_pairs=9)),
            "manifest-counts",
            "n_pairs",
            "9, but the tables have 10",
        ),
        (f"{GEOMETRY}/manifest.json", truncate, "readable", "", "not JSON"),
    ],
)
def test_broken_geometry(
    damaged: Callable[..., Path], file: str, damage: Damage, rule: str, where: str, message: str
) -> None:
    found = errors(damaged(GEOMETRY, file, damage))
    assert [finding.rule for finding in found] == [rule]
    assert found[0].where == where
    assert message in found[0].message


def test_rows_of_a_tensor_without_a_feature(damaged: Callable[..., Path]) -> None:
    found = errors(damaged(GEOMETRY, FEATURES, cell(1, "row_idx", "7")))
    # The tensor cannot be read as rows then, which is the second finding.
    assert brief(found) == [("row-index", FEATURES, "row_idx"), ("schema", f"{GEOMETRY}/decoder_vectors.pt", "")]
    assert found[0].message == "not the numbers from 0 to 4"


def test_a_cosine_that_is_not_the_matrix_s(damaged: Callable[..., Path]) -> None:
    def edit(frame: pd.DataFrame) -> None:
        value = -float(frame.loc[3, "cosine"])
        frame.loc[3, "cosine"] = str(value)

    found = errors(damaged(GEOMETRY, PAIRS, table(edit)))
    assert brief(found) == [("pair-values", PAIRS, "cosine, row 3")]


def test_strips_that_are_not_one_at_the_peak(damaged: Callable[..., Path]) -> None:
    def edit(content: dict[str, np.ndarray]) -> None:
        content["L12_f17"][1, 64] = 0.5
        content["L12_f40"][0, 64] = np.nan  # of a strip without a peak, which is allowed

    found = errors(damaged(TRACES, STRIPS, arrays(edit)))
    assert brief(found) == [("peak", STRIPS, "feature 17, strip 1")]
    assert found[0].message == "0.5 in column 64, expected 1"


def test_strips_of_another_width(damaged: Callable[..., Path]) -> None:
    found = errors(damaged(TRACES, STRIPS, arrays(lambda content: content.update(L12_f17=np.ones((2, 128))))))
    assert brief(found) == [("schema", STRIPS, "L12_f17")]


def test_tables_without_rules_are_read(damaged: Callable[..., Path]) -> None:
    file = f"{TRACES}/entropy_targets.csv"
    found = errors(damaged(TRACES, file, cell(0, "feature_id", "x")))
    assert brief(found) == [("schema", file, "feature_id")]


def test_many_alike_are_counted(damaged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_artifacts.validation._LISTED", 5)
    found = errors(damaged(EVENTS, TABLE, table(lambda frame: frame.__setitem__("n_positions", "99"))))
    assert [finding.rule for finding in found] == ["event-row"] * 6
    assert found[-1].message == "and 13 more like these"
