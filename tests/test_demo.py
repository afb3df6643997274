"""The demo on a smaller grid: what it prints and leaves behind is what its own files say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import pytest
from rich.console import Console

from circuit_artifacts import demo, load_dataset, provenance
from circuit_artifacts.csp_atlas import load_summary

SMALL = {
    "ast_nodes": ("For", "While", "If", "FunctionDef", "Break", "Pass", "Import"),
    "builtin_objs": ("_isolated_", "int", "list", "str", "range"),
    "n_prompts": 5,
    "n_checkers": 5,
}


def test_the_demo_leaves_an_atlas_tables_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PARAMETERS", SMALL)
    console = Console(record=True, width=200, file=(tmp_path / "log").open("w"))
    demo.run(tmp_path / "out", console)
    console.file.close()
    text = console.export_text()

    summary = load_summary(data_root=tmp_path / "out" / "atlas", mirror="csp-atlas-mini")
    assert len(summary) == 9
    for value in summary["mean_A_size"]:
        assert f"{value:.1f}" in text
    record = provenance.read(tmp_path / "out" / "atlas" / "14_summary.csv")
    assert record is not None
    assert record.model is not None
    assert record.model["id"] == "mini"
    assert record.statement in (tmp_path / "out" / "parquet" / "README.md").read_text().lower()
    for picture in ("dendrogram", "entropy_vs_depth", "width_sweep"):
        assert (tmp_path / "out" / f"{picture}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "not the published data" in (tmp_path / "out" / "features.html").read_text()
    stock = datasets.load_dataset(str(tmp_path / "out" / "parquet"), "summary", split="train", streaming=True)
    assert [row["mean_A_size"] for row in stock] == summary["mean_A_size"].tolist()

    features = load_dataset("sae-locality-mini", "entropy_mini_stdlib", split="features").to_pandas()
    for layer, bits in features.groupby("layer")["entropy_bits"].median().items():
        assert re.search(rf"\b{layer} .* {bits:.2f} ", text)
    (row,) = (
        row
        for row in load_dataset("causal-dimensionality-mini", "results", split="train")
        if row["kind"] == "exp1_width_sweep"
    )
    for counted in json.loads(row["typed"])["rows"]:
        assert re.search(rf"{counted['width']:,} \S+ +{counted['n_repr']:,} ", text)
