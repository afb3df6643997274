"""Result files of unknown form: what is recognised, what is written down about it, and that nothing is lost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from causal_fixture import RESULTS
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.causal_dimensionality.comparison import compare
from circuit_artifacts.causal_dimensionality.importers import guess_kind
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.causal_dimensionality.results import import_result, read_result, result
from circuit_artifacts.errors import FormatError
from circuit_artifacts.schemas.causal_results import UnknownResult, dump_result, parse_result


def written(folder: Path, content: Any, name: str = "exp0/x.json") -> RepositoryFile:
    path = folder / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return RepositoryFile(path, f"results/{name}")


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("exp0_atp_exact", "exp0_atp_vs_exact"),
        ("exp1_width_sweep", "exp1_width_sweep"),
        ("exp_1", "exp1_width_sweep"),
        ("expB", "expB_curve_fit"),
        ("exp_b_bootstrap", "expB_curve_fit"),
        ("exp5b_cells", "exp5b_encoder_ablation"),
        ("exp9_rctrain", "exp9_sva_recall"),
        ("LLaMA_scope", "cross_family"),
        ("cross_pythia410m", "cross_family"),
        ("synthetic", "exp_synthetic_gt"),
        ("with_ground_truth", "exp_synthetic_gt"),
        ("exp10_depth", None),  # no kind of exp1
        ("exp5", None),
        ("threshold_robustness", None),
        (None, None),
    ],
)
def test_folders_tell_the_kind(folder: str | None, kind: str | None) -> None:
    assert guess_kind(folder) == kind


@pytest.mark.parametrize("name", RESULTS)
def test_guessed_names_lead_to_typed_results(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, RESULTS[name], name)
    (row,) = result(file).to_pylist()
    assert row["raw"] == file.path.read_text()
    assert row["sha256"] == hashlib.sha256(file.path.read_bytes()).hexdigest()
    kind = guess_kind(row["experiment"])
    assert (row["kind"], row["status"]) == ((kind, "typed") if kind else ("unknown", "unknown"))
    if kind:
        typed = parse_result(json.loads(row["typed"]))
        assert typed.provenance.origin == "imported"
        assert (typed.provenance.path, typed.provenance.sha256) == (file.name, row["sha256"])
        assert all(comparison.agrees or comparison.fact.id == "n_widths" for comparison in compare(typed))


def imported(value: Any, experiment: str) -> tuple[Any, str, list[str]]:
    return import_result(value, experiment=experiment)


def test_percent_text_and_keys_become_numbers_and_it_is_said() -> None:
    value = {"Layer": "12", "Results": {"16384": {"N-Alive": 16000, "num_causal": 328, "inert": 97.95}}}
    found, status, changes = imported(value, "exp1")
    assert status == "typed"
    assert (found.layer, found.rows[0].width, found.rows[0].inert_fraction) == (12, 16384, 0.9795)
    assert "layer: the text '12' is the number 12.0" in changes
    assert "inert_fraction: 97.95 is taken for percent" in changes
    assert "width: the key '16384' is the number" in changes
    assert "n_repr: from $.Results.16384.N-Alive" in changes


def test_columns_become_rows() -> None:
    found, _, _ = imported({"layer": 12, "widths": [16, 32], "n_repr": [9, 12], "n_causal": [3, 3]}, "exp1")
    assert [(row.width, row.n_repr, row.n_causal) for row in found.rows] == [(16, 9, 3), (32, 12, 3)]


def test_the_first_match_is_taken_and_others_are_counted() -> None:
    found, _, changes = imported({"n_features": 5, "a": {"rho": 0.1}, "spearman": 0.9}, "exp0")
    assert found.spearman_rho == 0.1
    assert "spearman_rho: from $.a.rho, the first of 2" in changes


def test_text_is_no_number_but_for_known_quantities() -> None:
    found, _, _ = imported({"n_features": 5, "rho": "not computed", "spearman": "0.9"}, "exp0")
    assert found.spearman_rho == 0.9


@pytest.mark.parametrize(
    "interval",
    [
        {"ci95": [545, 5130]},
        {"ci": {"lo": 545, "hi": 5130}},
        {"bootstrap_ci": {"lower": 545, "upper": 5130}},
        {"ci_low": 545, "ci_high": 5130},
    ],
)
def test_intervals_are_found_in_every_form(interval: dict[str, Any]) -> None:
    value = {"d_model": 2304, "widths": [16], "n_causal": [3], "k_hat": 1990, "median": 1705, **interval}
    found, _, _ = imported(value, "expB")
    ci = found.fits[0].ci
    assert (ci.lo, ci.hi, ci.median, found.kappa_hat) == (545, 5130, 1705, 1990)


def test_recalls_are_found_with_and_without_counts() -> None:
    shares, _, changes = imported({"task": "rc", "n_true": 56, "p99": 0.429, "98": 76.8}, "exp9")
    assert [(point.q, point.n_hit, point.recall) for point in shares.points] == [(0.99, 24, 0.429), (0.98, 43, 0.768)]
    assert sum("hits are computed" in change for change in changes) == 2
    counts, _, _ = imported({"task": "rc", "p95": {"n_hit": 55, "n_true": 56, "recall": 98.2}}, "exp9")
    assert (counts.points[0].n_hit, counts.points[0].recall) == (55, 0.982)


def test_what_does_not_fit_its_kind_is_kept_with_the_reasons() -> None:
    value = {"layer": 12, "widths": {"16384": {"n_repr": 100, "n_causal": 328}}}
    found, status, _ = imported(value, "exp1")
    assert isinstance(found, UnknownResult)
    assert (status, found.raw) == ("invalid", value)
    assert found.errors[0] == "expected exp1_width_sweep"
    assert "328 causal <= 100 firing" in found.errors[1]


def test_nothing_is_made_up_for_what_is_missing() -> None:
    # Holds down: layers, tasks and counts that no file says, from defaults.
    for experiment, missing in {"exp0": "spearman_rho", "exp1": "layer", "exp9": "task", "expB": "kappa_hat"}.items():
        found, status, _ = imported({"note": "x"}, experiment)
        assert status == "invalid"
        assert any(error.startswith(missing) for error in found.errors), (experiment, found.errors)


def test_our_own_files_are_taken_at_their_word(tmp_path: Path) -> None:
    ours = {"kind": "exp_synthetic_gt", "experiment": "synthetic", "n_planted": 16, "cos_threshold": 0.7}
    text = dump_result(parse_result({**ours, "n_recovered": 3, "provenance": {"model": "mini", "seed": 0}}))
    found = read_result(written(tmp_path, text, "exp1/odd_place.json"))
    assert (found.status, found.stated, found.result.kind) == ("typed", True, "exp_synthetic_gt")
    assert (found.result.provenance.origin, found.result.provenance.model) == ("regenerated", "mini")
    wrong = read_result(written(tmp_path, {**ours, "n_recovered": 17}, "exp1/wrong.json"))
    assert (wrong.status, wrong.stated) == ("invalid", True)
    assert "17 <= 16" in wrong.errors[1]


@pytest.mark.parametrize("text", ['{"rho": NaN, "n_features": 1}', "[1, 2]", '"text"', "null", '{"a": Infinity}'])
def test_any_json_is_read_and_kept_as_it_is(tmp_path: Path, text: str) -> None:
    found = read_result(written(tmp_path, text))
    assert (found.raw, found.status, found.result.kind) == (text, "invalid", "unknown")


def test_a_broken_file_is_an_error_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"exp0/x\.json: not JSON"):
        read_result(written(tmp_path, '{"rho": 0.8'))


def test_deep_nesting_does_no_harm(tmp_path: Path) -> None:
    found = read_result(written(tmp_path, '{"a":' * 300 + "1" + "}" * 300))
    assert found.status == "invalid"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["n_causal", "n_repr", "width", "rho", "ci", "p99", "sae", "kappa", "16384", "layer", "x", "encoder"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["exp0", "exp1", "expB", "exp5b", "exp9", "llama", "synthetic", "other"]))
def test_nothing_stops_an_import(value: Any, experiment: str) -> None:
    found, status, _ = import_result(value, experiment=experiment)
    assert (status == "typed") == (found.kind != "unknown")
    dump_result(found)
