"""The command line: exit codes, what goes to which stream, and tables that stay readable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from atlas_fixture import Atlas
from rich.console import Console

from circuit_artifacts import __version__, catalog, cli, display

MASKS = "masks_eps0.5_cons0.8"


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Calls the entry point in this process, as the installed script does."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["circuit-artifacts", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return call


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(display, "OUT", Console(force_terminal=True, width=width, color_system=None))


def script(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name("circuit-artifacts")), *map(str, arguments)]


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


def test_list_of_mirrors_as_json(run: Run) -> None:
    code, out, err = run("ls", "--json")
    assert (code, err) == (0, "")
    assert [row["repo"] for row in json.loads(out)] == list(catalog.mirrors())


def test_list_says_where_each_file_comes_from(run: Run, atlas: Atlas) -> None:
    rows = json.loads(run("ls", "csp-atlas", "--data-root", atlas.folder, "--json").out)
    assert [row["config"] for row in rows] == list(catalog.mirror("csp-atlas").configs)
    assert {(row["action"], row["source"]) for row in rows} == {("use", "data_root")}
    assert all(row["bytes"] == (atlas.folder / row["file"]).stat().st_size for row in rows)


def test_list_without_any_source_still_lists(run: Run) -> None:
    """Files that are nowhere must not make the listing fail."""
    rows = json.loads(run("ls", "csp-atlas", "--json").out)
    assert {row["action"] for row in rows} == {"missing"}
    assert {row["bytes"] for row in rows} == {None}


def test_json_is_one_object_per_line(run: Run, atlas: Atlas) -> None:
    out = run("show", "csp-atlas", MASKS, "-n", 2, "--json", "--data-root", atlas.folder).out
    lines = out.splitlines()
    rows = [json.loads(line.rstrip(",")) for line in lines[1:-1]]
    assert (lines[0], lines[-1], json.loads(out)) == ("[", "]", rows)
    assert [row["split"] for row in rows] == ["universal"] * 2 + ["pair"] * 2
    assert all(row["size"] == len(row["active"]) for row in rows)


def test_json_has_no_nan(run: Run, atlas: Atlas, tmp_path: Path) -> None:
    """NaN is no JSON, though Python's encoder writes it."""
    lines = (atlas.folder / "14_summary.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[7] = "nan"
    (tmp_path / "14_summary.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    out = run("show", "csp-atlas", "summary", "-n", 1, "--json", "--data-root", tmp_path).out

    def refuse(text: str) -> None:
        pytest.fail(f"{text} in JSON")

    (row,) = json.loads(out, parse_constant=refuse)
    assert row["ast_concept_fraction"] is None


def test_show_one_split(run: Run, atlas: Atlas) -> None:
    rows = json.loads(run("show", "csp-atlas", MASKS, "--split", "pair", "--json", "--data-root", atlas.folder).out)
    assert len(rows) == 5
    assert rows[0]["ast_node"] == atlas.pairs[0][0]


def test_pipes_get_whole_lines(run: Run, atlas: Atlas) -> None:
    """Without a terminal nothing is wrapped or shortened, and a row is a line even where its text has several."""
    lines = run("show", "csp-atlas", "object_prompts", "-n", 3, "--data-root", atlas.folder).out.splitlines()
    rows = json.loads(run("show", "csp-atlas", "object_prompts", "-n", 3, "--json", "--data-root", atlas.folder).out)
    assert len(lines) == 2 + 3
    for line, row in zip(lines[2:], rows, strict=True):
        assert row["prompt_text"].replace("\n", "\\n") in line


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_config_names_are_never_broken(run: Run, atlas: Atlas, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal(monkeypatch, width)
    lines = run("ls", "csp-atlas", "--data-root", atlas.folder).out.splitlines()
    assert max(map(len, lines)) <= width
    starts = {line.split(" ")[0] for line in lines}
    assert starts >= set(catalog.mirror("csp-atlas").configs)
    assert ("Not shown here" in lines[-1]) == (width < 200)


def test_wide_rows_become_records_on_a_narrow_terminal(run: Run, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirteen columns do not fit 60 characters: rich would squeeze them to nothing."""
    terminal(monkeypatch, 60)
    lines = run("show", "csp-atlas", "summary", "-n", 1, "--data-root", atlas.folder).out.splitlines()
    names = [line.split()[0] for line in lines[1:] if line.strip()]
    assert (
        names
        == list(json.loads(run("show", "csp-atlas", "summary", "-n", 1, "--json", "--data-root", atlas.folder).out)[0])[
            1:
        ]
    )


def test_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    terminal(monkeypatch, 60)
    display.show_rows([{"level": "error", "rule": "r", "file": "a.h5", "where": "", "message": "x[/y] is [bold] " * 3}])
    out = capfd.readouterr().out
    assert "x[/y] is [bold]" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "csp-atlass"], "Did you mean csp-atlas"),
        (["show", "csp-atlas", "masks_eps0.5_cons0.9"], "Did you mean masks_eps0.5_cons0.8"),
        (["show", "csp-atlas", MASKS, "--split", "pairs", "--data-root", "{atlas}"], "expected universal, pair"),
        (["ls", "csp-atlas", "--data-root", "no-such-folder"], "no-such-folder"),
        (["show", "csp-atlas", "summary"], "14_summary.csv"),
        (["fetch", "csp-atlas", "summary"], "14_summary.csv"),
        (["fetch", "csp-atlas", "sumary"], "Did you mean summary"),
        (["validate", "csp-atlass"], "Did you mean csp-atlas"),
        (["validate", "./no/such/folder"], "no such folder"),
        (["validate", "{empty}"], "no file here"),
        (["convert", "csp-atlass", "{empty}/out"], "Did you mean csp-atlas"),
        (["convert", "{atlas}", "{empty}/out", "--config", "sumary"], "Did you mean summary"),
        (["convert", "{atlas}/14_summary.csv", "{empty}/out"], "no such folder"),
        (["regenerate", "csp-atlas", "mask", "--root", "{empty}", "--plan"], "Did you mean masks"),
    ],
)
def test_failures_exit_1_with_one_message_on_stderr(
    run: Run, atlas: Atlas, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run(*(argument.format(atlas=atlas.folder, empty=tmp_path) for argument in arguments))
    assert (code, out) == (1, "")
    assert message in err
    assert "error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["ls", "--no-such-option"],
        ["show", "csp-atlas"],
        ["show", "csp-atlas", MASKS, "-n", "0"],
        ["regenerate", "csp-atlas", "--plan"],
        ["regenerate", "csp-atlas", "--root", "x", "--plan", "--set", "epsilon"],
        ["validate", "csp-atlas"],
    ],
)
def test_wrong_usage_exits_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_truncated_file(run: Run, atlas: Atlas, tmp_path: Path) -> None:
    name = catalog.config("csp-atlas", MASKS).file
    (tmp_path / name).write_bytes((atlas.folder / name).read_bytes()[:20_000])
    code, out, err = run("show", "csp-atlas", MASKS, "--data-root", tmp_path)
    assert (code, out) == (1, "")
    assert name in err


def test_bad_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_ARTIFACTS_REGENERATE", "maybe")
    code, _, err = run("ls", "csp-atlas")
    assert code == 1
    assert "maybe" in err


def test_interrupt_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "mirrors", interrupted)
    assert run("ls") == (130, "", "")


def test_fetch_names_the_files(run: Run, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSP_ATLAS_DATA_ROOT", str(atlas.folder))
    code, out, _ = run("fetch", "csp-atlas", "summary", MASKS, "--json")
    assert code == 0
    assert json.loads(out) == [
        {"config": "summary", "path": str(atlas.folder / "14_summary.csv")},
        {"config": MASKS, "path": str(atlas.folder / catalog.config("csp-atlas", MASKS).file)},
    ]


def test_validate_sound_and_damaged(run: Run, atlas: Atlas, tmp_path: Path) -> None:
    code, out, err = run("validate", atlas.folder, "--json")
    assert (code, err) == (0, "")
    assert all(row["level"] == "note" for row in json.loads(out))
    folder = tmp_path / "damaged"
    shutil.copytree(atlas.folder, folder)
    (folder / "14_summary.csv").write_text("epsilon\n")
    code, out, _ = run("validate", folder, "--json")
    assert code == 1
    assert "14_summary.csv" in {row["file"] for row in json.loads(out) if row["level"] == "error"}


def test_convert_one_config(run: Run, atlas: Atlas, tmp_path: Path) -> None:
    code, out, err = run("convert", atlas.folder, tmp_path / "out", "--config", "summary")
    assert (code, err) == (0, "")
    assert out.startswith("1 files, 0.0 MB, and README.md in ")
    assert (tmp_path / "out/summary/train-00000-of-00001.parquet").is_file()


def test_plan_writes_nothing(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("regenerate", "csp-atlas", "masks", "--root", tmp_path / "new", "--plan", "--json")
    assert code == 0
    assert [(row["step"], row["runs a model"], row["files"]) for row in json.loads(out)] == [
        ("object prompts", True, 1),
        ("object activations", True, 1),
        ("object masks", False, 9),
    ]
    assert not (tmp_path / "new").exists()


def test_plan_leaves_out_what_is_there(run: Run, atlas: Atlas) -> None:
    assert json.loads(run("regenerate", "csp-atlas", "masks", "--root", atlas.folder, "--plan", "--json").out) == []


def test_installed_script(atlas: Atlas) -> None:
    """Once through the real process: logging, streams and exit code are those of a user's shell."""
    done = subprocess.run(
        script("show", "csp-atlas", "masks_eps1", "--data-root", atlas.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no config of csp-atlas is called 'masks_eps1'. Did you mean")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of another kind")
def test_head_closes_the_pipe_quietly(atlas: Atlas) -> None:
    command = script("show", "csp-atlas", "object_activations", "-n", "200", "--data-root", atlas.folder)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_missing_extra_is_one_line_that_names_it() -> None:
    """An installation without extras has no scipy; the demo said so with a traceback."""
    code = "import sys; sys.modules['scipy'] = None; sys.argv = ['circuit-artifacts', 'demo']; "
    code += "from circuit_artifacts.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: this needs scipy. pip install 'circuit-artifacts[compute]'"
