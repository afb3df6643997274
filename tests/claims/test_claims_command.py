"""`circuit-artifacts claims`: exit codes, JSON, and a table that says it all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from atlas_fixture import Atlas
from rich.console import Console

from circuit_artifacts import cli, display

KEYS = [
    "claim",
    "verdict",
    "published",
    "measured",
    "why",
    "statement",
    "source",
    "kind",
    "regenerated",
    "distance",
    "low",
    "high",
    "needs",
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["circuit-artifacts", "claims", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        code = exit_.value.code
        return (code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return call


@pytest.mark.parametrize("mirror", ["csp-atlas", "sae-locality", "causal-dimensionality"])
def test_claims_that_fail_are_findings_and_no_error(run: Run, mirror: str) -> None:
    code, out, err = run(mirror, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert {"holds", "fails", "no data"} == {row["verdict"] for row in rows}
    assert all(list(row) == KEYS for row in rows)
    assert all(row["why"] and row["statement"] and row["source"] for row in rows)


def test_json_of_a_folder_has_numbers(run: Run, atlas: Atlas) -> None:
    rows = {row["claim"]: row for row in json.loads(run("csp-atlas", "--root", atlas.folder, "--json")[1])}
    assert rows["ast_concepts"]["measured"] == 14
    assert (rows["ast_concepts"]["low"], rows["ast_concepts"]["high"]) == (42.5, 43.5)
    assert rows["ast_concepts"]["verdict"] == "fails"
    assert rows["ast_concepts"]["regenerated"] is False


def test_a_pipe_gets_one_line_per_claim_and_a_sum(run: Run, atlas: Atlas) -> None:
    code, out, _ = run("csp-atlas", "--root", atlas.folder)
    rows = json.loads(run("csp-atlas", "--root", atlas.folder, "--json")[1])
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["claim", "verdict", "published", "measured", "why"]
    assert len(lines) == len(rows) + 2
    counts = [sum(row["verdict"] == verdict for row in rows) for verdict in ("holds", "fails", "no data")]
    assert lines[-1].startswith("{} hold, {} fail, no data for {};".format(*counts))


def test_sentences_are_whole_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "OUT", Console(force_terminal=True, width=110, color_system=None))
    out = run("causal-dimensionality")[1]
    words = " ".join(out.split())
    assert "consistency_total_gb_decimal" in words
    assert "all of them in GiB" in words


def test_no_such_mirror_and_no_such_folder_are_errors(run: Run, tmp_path: Path) -> None:
    code, out, err = run("csp-atlass")
    assert (code, out) == (1, "")
    assert "csp-atlas" in err
    code, out, err = run("csp-atlas", "--root", tmp_path / "nowhere")
    assert (code, out) == (1, "")
    assert "not a folder" in err
    assert "Traceback" not in err
