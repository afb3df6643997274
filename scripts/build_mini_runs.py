"""Make the bundled files of sae-locality-mini and causal-dimensionality-mini: every strand and every experiment.

    python scripts/build_mini_runs.py

Both run the bundled model with its autoencoders. Pictures and pages are not bundled: they are drawn from these files
when they are asked for.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from circuit_artifacts import catalog, progress
from circuit_artifacts.filesets import list_files
from circuit_artifacts.regeneration import regenerate
from circuit_artifacts.schemas.declaration import Mirror

DATA = Path("circuit_artifacts/data")
# Every run gets this time, so that building anew changes only what has changed.
MIRRORS: dict[str, dict[str, Any]] = {
    "sae-locality-mini": {"timestamp": "20261128_120000"},
    "causal-dimensionality-mini": {},
}


def families(mirror: Mirror) -> list[str]:
    """All that steps make, but for pictures and for views of other families."""
    made = [name for step in mirror.steps for name in step.makes]
    return [name for name in made if name != "figures" and not mirror.family_by_name[name].by_name]


def build(mirror: Mirror, work: Path, parameters: dict[str, Any]) -> None:
    """Regenerate into `work`, and put what is bundled where the package has it."""
    regenerate(mirror.name, families(mirror), root=work, parameters=parameters)
    out = DATA / str(mirror.bundled)
    shutil.rmtree(out, ignore_errors=True)
    for name in list_files(work):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(work / name, out / name)
    print(f"{sum((out / name).stat().st_size for name in list_files(out)) / 1e6:.2f} MB in {out}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder to make the runs in; resumes from what is there")
    parser.add_argument("--mirror", choices=MIRRORS, help="only this one")
    arguments = parser.parse_args()
    with progress.shown(Console(stderr=True)), tempfile.TemporaryDirectory() as temporary:
        for name in [arguments.mirror] if arguments.mirror else MIRRORS:
            build(catalog.mirror(name), (arguments.work or Path(temporary)) / name, MIRRORS[name])


if __name__ == "__main__":
    main()
