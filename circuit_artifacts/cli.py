"""The command line: ``circuit-artifacts``. Tables for people, ``--json`` for machines, errors without tracebacks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from circuit_artifacts import __version__, catalog, display, progress
from circuit_artifacts.errors import CircuitArtifactsError, SourceError, UnknownNameError
from circuit_artifacts.extras import extras_named
from circuit_artifacts.schemas.declaration import Mirror
from circuit_artifacts.sources import Sources

if TYPE_CHECKING:
    from circuit_artifacts.validation import Finding

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Root = Annotated[Path | None, typer.Option("--data-root", help="A folder in the published layout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON array, one object per line.")]
Run = Annotated[
    str | None, typer.Option("--run", help="Of mirrors with runs: latest, most_complete, all, or a timestamp.")
]
Legacy = Annotated[bool, typer.Option("--legacy", help="The superseded runs instead of the others.")]
MirrorName = Annotated[str, typer.Argument(metavar="REPO", help="For example csp-atlas.")]


class Engine(StrEnum):
    """Where a model runs."""

    LOCAL = "local"
    RAY = "ray"


def main() -> None:
    """Run the command line: exit code 0 for success, 1 for a failure or findings, 2 for wrong usage."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("circuit_artifacts").setLevel(logging.INFO)
    try:
        with extras_named():
            app()
    except (CircuitArtifactsError, OSError, ValidationError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    display.ERR.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
]


@app.callback()
def _options(version: Version = False) -> None:
    pass


@app.command("ls")
def list_configs(
    repo: Annotated[str | None, typer.Argument(metavar="REPO", help="One mirror; all of them without it.")] = None,
    data_root: Root = None,
    run: Run = None,
    legacy: Legacy = False,
    as_json: AsJson = False,
) -> None:
    """List what there is, and where each file would come from."""
    if repo is None:
        rows = [{"repo": m.name, "configs": len(m.configs), "title": m.title} for m in catalog.mirrors().values()]
        display.show_rows(rows, as_json=as_json)
        return
    mirror = catalog.mirror(repo)
    sources = Sources(mirror=mirror, data_root=data_root, options=_chosen(run, legacy))
    rows = []
    for name, config in mirror.configs.items():
        plan = sources.plan(config)
        rows.append(
            {"config": name, "content": config.family.summary, "file": config.file, "action": plan.action}
            | {"source": plan.source, "bytes": plan.size}
        )
    display.show_rows(rows, as_json=as_json, dispensable=("file", "content", "bytes"))


@app.command()
def show(
    repo: MirrorName,
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="For example masks_eps0.5_cons0.8.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Rows per split.")] = 5,
    split: Annotated[str | None, typer.Option(help="One split; all of them without it.")] = None,
    data_root: Root = None,
    run: Run = None,
    legacy: Legacy = False,
    as_json: AsJson = False,
) -> None:
    """Show the first rows of a config."""
    from circuit_artifacts.formats.reader import make_readers

    declared = catalog.config(repo, config)
    with progress.shown(display.ERR):
        sources = Sources(mirror=catalog.mirror(repo), data_root=data_root, options=_chosen(run, legacy))
        path = sources.fetch(declared)[config]
    readers = make_readers(catalog.mirror(repo), declared)
    if split is not None and split not in readers:
        problem = f"{config} has no split called {split!r}"
        raise UnknownNameError(problem, expected=", ".join(readers))
    shown: list[dict[str, Any]] = []
    for name in readers if split is None else (split,):
        reader = readers[name]
        tables = (table for shard in reader.shards(path) for table in reader.tables(path, shard))
        rows = list(itertools.islice((row for table in tables for row in table.slice(0, n).to_pylist()), n))
        if as_json:
            shown += [{"split": name, **row} for row in rows]
        else:
            display.OUT.print(f"{repo} {config} {name}", style="bold", highlight=False, soft_wrap=True)
            display.show_rows(rows)
    if as_json:
        display.show_rows(shown, as_json=True)


@app.command()
def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A path, hf://datasets/..., or a URL.")],
    as_json: AsJson = False,
) -> None:
    """Show what is in files: names, shapes, types, attributes, sizes. No data is loaded, nothing in them is run."""
    from circuit_artifacts import inspection

    found = map(inspection.inspect, files)
    if as_json:
        display.show_rows([inspection.view.as_object(item) for item in found], as_json=True)
        return
    for item in found:
        inspection.view.show(item)


@app.command()
def fetch(
    repo: MirrorName,
    configs: Annotated[list[str] | None, typer.Argument(metavar="[CONFIG]...", help="All of them without it.")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision to pin.")] = None,
    run: Run = None,
    legacy: Legacy = False,
    as_json: AsJson = False,
) -> None:
    """Have the files that configs need, once: from a local folder, the Hub, or derived without a model."""
    sources = Sources(mirror=catalog.mirror(repo), revision=revision, options=_chosen(run, legacy))
    chosen = [catalog.config(repo, name) for name in configs or ()]
    with progress.shown(display.ERR):
        paths = sources.fetch(*chosen) if chosen else sources.fetch_available()
    display.show_rows([{"config": name, "path": str(path)} for name, path in paths.items()], as_json=as_json)


@app.command()
def validate(
    target: Annotated[str, typer.Argument(metavar="REPO|DIR", help="A mirror, or a folder in its layout.")],
    as_json: AsJson = False,
) -> None:
    """List every violated rule, located; exit code 1 if there is any."""
    from circuit_artifacts.validation import validate as check

    folder, mirror = _folder(target)
    with progress.shown(display.ERR):
        findings = list(check(folder, mirror))
    _show_findings(findings, folder, as_json)


@app.command()
def claims(
    repo: MirrorName,
    root: Annotated[Path | None, typer.Option(help="A folder in the published layout.")] = None,
    run: Run = None,
    as_json: AsJson = False,
) -> None:
    """Hold published claims against the files on this machine: holds, fails, or no data.

    Exit code 0 whatever the verdicts: a claim that fails is a finding about what was published. Nothing is downloaded.
    """
    from circuit_artifacts.claims import evaluate

    with progress.shown(display.ERR):
        sources = Sources(mirror=catalog.mirror(repo), data_root=root, regenerate=False, options=_chosen(run, False))
        verdicts = evaluate(sources)
    rows = [verdict.row for verdict in verdicts]
    if as_json:
        display.show_rows(rows, as_json=True)
        return
    shown = ("claim", "verdict", "published", "measured", "why")
    display.show_rows([{name: _as_text(row[name]) for name in shown} for row in rows], whole=True)
    count = Counter(verdict.status for verdict in verdicts)
    summary = f"{count['holds']} hold, {count['fails']} fail, no data for {count['no data']}; --json says what they are"
    display.OUT.print(summary, soft_wrap=True)


@app.command("check-viewer")
def check_viewer(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with its dataset card, as for the Hub.")],
    as_json: AsJson = False,
) -> None:
    """List what the Hub's dataset viewer would not show, offline; exit code 1 if there is any."""
    from circuit_artifacts.viewer import check_viewer as check

    with progress.shown(display.ERR):
        findings = list(check(folder))
    _show_findings(findings, folder, as_json)


@app.command()
def convert(
    target: Annotated[str, typer.Argument(metavar="REPO|DIR", help="A mirror, or any folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    config: Annotated[list[str] | None, typer.Option(help="Only this config; may be repeated.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Configs at a time; one per core without it.")] = None,
    originals: Annotated[bool, typer.Option("--originals", help="Copy the source files to OUT/raw.")] = False,
    run: Run = None,
    legacy: Legacy = False,
    push_to: Annotated[str | None, typer.Option(metavar="USER/REPO", help="Upload to the Hub.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create that repository as private.")] = False,
) -> None:
    """Convert to parquet that stock datasets and the Hub's viewer read, with a dataset card."""
    from circuit_artifacts.parquet import convert as write
    from circuit_artifacts.publishing import push

    with progress.shown(display.ERR):
        sources = _sources_of(target, out, _chosen(run, legacy))
        chosen = [catalog.config_of(sources.mirror, name) for name in config] if config else None
        files = write(sources, out, chosen, jobs=jobs or os.cpu_count() or 1, originals=originals)
    total = sum(file.path.stat().st_size for file in files)
    display.OUT.print(f"{len(files)} files, {total / 1e6:.1f} MB, and README.md in {out}", soft_wrap=True)
    if push_to:
        display.OUT.print(push(out, push_to, private=private), soft_wrap=True)


@app.command()
def regenerate(
    repo: MirrorName,
    families: Annotated[
        list[str] | None, typer.Argument(metavar="[FAMILY]...", help="Families or configs; all without it.")
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder to write, in the published layout.")] = ...,  # type: ignore[assignment]
    model: Annotated[str | None, typer.Option(help="'mini', a folder, or a Hub id.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="This process, or a Ray cluster.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of a step parameter.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; do nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make the families anew although they exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make families, and whatever input of theirs is missing, in a folder."""
    from circuit_artifacts.regeneration import regenerate as make

    options = {"model": model, "engine": engine and engine.value}
    parameters = dict(map(_parameter, parameter or ())) | {name: value for name, value in options.items() if value}
    with progress.shown(display.ERR):
        steps = make(repo, families or (), root=root, parameters=parameters, force=force, plan_only=plan)
    rows = [{"step": s.name, "runs a model": s.model, "files": len(s.files), "first": s.files[0]} for s in steps]
    display.show_rows(rows, as_json=as_json)
    if not as_json:
        display.OUT.print(f"{'would be written' if plan else 'written'} to {root}", soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("circuit-artifacts-demo"),
) -> None:
    """Run the whole path on the bundled model, offline: regenerate, validate, load, convert, draw."""
    from circuit_artifacts.demo import run

    with progress.shown(display.ERR):
        run(out, display.OUT)


def _show_findings(findings: Sequence[Finding], folder: Path, as_json: bool) -> None:
    rows = [dataclasses.asdict(finding) for finding in findings]
    display.show_rows(rows, as_json=as_json, whole=True)
    errors = sum(finding.level == "error" for finding in findings)
    if not as_json:
        display.OUT.print(f"{errors} error(s), {len(findings) - errors} note(s) in {folder}", soft_wrap=True)
    if errors:
        raise typer.Exit(1)


def _as_text(value: Any) -> Any:
    """Numbers with the digits that people read."""
    return f"{value:,.6g}" if isinstance(value, float) else value


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        message = f"--set takes NAME=VALUE, not {text!r}"
        raise typer.BadParameter(message)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _folder(target: str) -> tuple[Path, Mirror | None]:
    """The folder that a mirror's name or a path means, and the mirror if it was named."""
    if target not in catalog.mirrors():
        return _existing_folder(target), None
    mirror = catalog.mirror(target)
    folders = [path for _, path in Sources(mirror=mirror).local_folders() if path.is_dir()]
    if not folders:
        message = f"{target} has no local folder; name one, or set $CIRCUIT_ARTIFACTS_ROOT"
        raise typer.BadParameter(message)
    return folders[0], mirror


def _chosen(run: str | None, legacy: bool) -> dict[str, Any]:
    """The options of mirrors with runs, as far as they are given."""
    return ({"run": run} if run is not None else {}) | ({"legacy": True} if legacy else {})


def _sources_of(target: str, out: Path, options: Mapping[str, Any]) -> Sources:
    """What to convert: a mirror, a folder in the layout of one, or any folder."""
    from circuit_artifacts.formats.folder import folder_mirror
    from circuit_artifacts.validation import mirror_of

    if target in catalog.mirrors():
        return Sources(mirror=catalog.mirror(target), options=options)
    folder = _existing_folder(target)
    try:
        return Sources(mirror=mirror_of(folder), data_root=folder, options=options)
    except UnknownNameError:
        if out.resolve().is_relative_to(folder.resolve()):
            problem = "OUT is inside the folder to convert"
            raise SourceError(problem, file=out, remedy="Choose a folder outside of it.") from None
    return Sources(mirror=folder_mirror(folder), data_root=folder, options=options)


def _existing_folder(target: str) -> Path:
    """A path, given where a mirror's name was possible too; a bare word that is neither is a misspelled name."""
    folder = Path(target)
    if not folder.exists() and folder.name == target:
        catalog.mirror(target)  # raises, with the names that are near
    return folder
