"""Make the bundled files of sae-locality-mini: every strand, on the bundled model and its autoencoders.

    python scripts/build_mini_locality.py

Pictures and pages are not bundled: they are drawn from these files when they are asked for.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from circuit_artifacts import catalog, progress
from circuit_artifacts.filesets import list_files
from circuit_artifacts.regeneration import regenerate

MIRROR = catalog.mirror("sae-locality-mini")
FAMILIES = tuple(
    name
    for step in MIRROR.steps
    for name in step.makes
    if not MIRROR.family_by_name[name].by_name and name != "figures"
)
# Every run gets this time, so that building anew changes only what has changed.
TIMESTAMP = "20261128_120000"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder to make the runs in; resumes from what is there")
    parser.add_argument("--out", type=Path, default=Path("circuit_artifacts/data/mini_locality"))
    arguments = parser.parse_args()
    with progress.shown(Console(stderr=True)), tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        regenerate(MIRROR.name, FAMILIES, root=work, parameters={"timestamp": TIMESTAMP})
        shutil.rmtree(arguments.out, ignore_errors=True)
        for name in list_files(work):
            (arguments.out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(work / name, arguments.out / name)
    total = sum((arguments.out / name).stat().st_size for name in list_files(arguments.out))
    print(f"{total / 1e6:.2f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
