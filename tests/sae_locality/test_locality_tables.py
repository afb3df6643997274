"""All tables together: which files they read, what never reaches a row, and what reading does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from locality_fixture import CARD_EVENTS, DEPTH, EVENTS, LEAKS, LEGACY_EVENTS, SMOKE, SWEEP, Read, names_in

from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.sae_locality.json_files import read_json
from circuit_artifacts.sae_locality.runs import inventory
from circuit_artifacts.sae_locality.tables import TABLES, plan
from circuit_artifacts.schemas.common import arrow_schema


@pytest.mark.parametrize("table", TABLES)
def test_no_row_names_the_machine_that_wrote_it(published: Path, read: Read, table: str) -> None:
    files = [file for legacy in (False, True) for file, _ in plan(table, names_in(published), run="all", legacy=legacy)]
    assert files
    for file in files:
        rows = read(table, file)
        width = next((f.type.list_size for f in rows.schema if f.name == "vector"), None)
        assert rows.schema == arrow_schema(TABLES[table].row, width=width)
        text = str([column for column in rows.column_names if column != "image"] and rows.to_pylist())
        assert not [leak for leak in LEAKS if leak in text]


def test_no_run_names_the_machine_that_wrote_it(published: Path) -> None:
    text = str(inventory(names_in(published), lambda name: read_json(published / name)).to_pylist())
    assert not [leak for leak in LEAKS if leak in text]


def test_a_plan_is_of_one_preset_corpus_and_run(published: Path) -> None:
    names = names_in(published)
    layers = [f"{DEPTH}/entropy_comparison_resid_out_layer{layer}.pt" for layer in (0, 1)]
    assert plan("depth_features", names, preset="pythia-70m", dataset="wikitext", run="20260427_105943") == [
        (layer, []) for layer in layers
    ]
    latest = plan("depth_windows", names, preset="pythia-70m", dataset="wikitext")
    assert latest == [(f"{SMOKE}/entropy_comparison_resid_out_layer0.pt", [])]


def test_layers_and_context_lengths_are_in_numeric_order() -> None:
    layers = [f"{DEPTH}/entropy_comparison_resid_out_layer{layer}.pt" for layer in (0, 2, 10)]
    assert [file for file, _ in plan("depth_features", layers[::-1])] == layers
    tables = [f"{EVENTS}/ctx{ctx}.csv" for ctx in ("064", "128", "1024")]
    assert [file for file, _ in plan("events", tables[::-1])] == tables


def test_a_plan_names_the_files_that_a_reader_needs_beside(published: Path) -> None:
    names = names_in(published)
    assert plan("influences", names) == [(f"{CARD_EVENTS}/influences_ctx64.npz", [f"{CARD_EVENTS}/ctx64.csv"])]
    tiers = [f"{LEGACY_EVENTS}/ctx064_{tier}.csv" for tier in ("concept", "token")]
    assert plan("events", names, legacy=True) == [(tier, []) for tier in tiers]


def test_sweeps_of_a_preset_come_from_any_of_their_folders(published: Path) -> None:
    names = names_in(published)
    files = [file for file, _ in plan("sweep_lengths", names, preset="gpt2-small", run="all")]
    assert [file.partition("/")[0] for file in files] == ["ctxlen_xmodel", *["ctxlen_xmodel_fineweb"] * 2]
    assert {file.rpartition("/gpt2")[0] for file, _ in plan("sweep_lengths", names, dataset="fineweb")} == {SWEEP}


def test_manifests_of_other_strands_are_no_case_studies(published: Path) -> None:
    files = [file for file, _ in plan("case_studies", names_in(published), run="all")]
    assert files == ["feature_case_studies/20260503_000000_corners/manifest.json"]


def test_a_table_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="there is no table 'activations'"):
        plan("activations", [])


def test_importing_the_readers_does_not_import_torch() -> None:
    code = "import sys; import circuit_artifacts.sae_locality.checks as c, circuit_artifacts.sae_locality.tables as t; "
    code += "print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
