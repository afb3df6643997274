"""Make the bundled files of csp-atlas-mini: the full experiment, stages 11 and 12, on the bundled model.

    python scripts/build_mini_atlas.py

Stage 12 is stored as the rows of its two configs, because 22,000 tiny HDF5 datasets would take thirty times the space;
everything after it derives from these files without a model (`csp-atlas-mini` in schemas/csp_atlas.py).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from circuit_artifacts import catalog, progress, provenance
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.regeneration import regenerate

MIRROR = catalog.mirror("csp-atlas-mini")
COPIED = ("object_prompts", "checker_prompts", "token_checker_prompts", "token_checker_masks")
PACKED = ("object_activations", "checker_activations")


def build(work: Path, out: Path) -> None:
    """Regenerate into `work`, then write what is bundled to `out`."""
    regenerate(MIRROR.name, (*COPIED, *PACKED), root=work)
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = work / MIRROR.configs[name].file
        target = out / source.name
        if source.suffix == ".parquet":
            table = pq.read_table(source)
            pq.write_table(table, target, compression="zstd", compression_level=19)
        else:
            shutil.copyfile(source, target)
        shutil.copyfile(provenance.sidecar(source), provenance.sidecar(target))
    for name in PACKED:
        source = work / MIRROR.configs[name].file
        record = provenance.read(source)
        if record is None:
            msg = f"{source} carries no provenance"
            raise SystemExit(msg)
        target = out / MIRROR.family_by_name[f"packed_{name}"].file
        table = read_table(MIRROR, MIRROR.configs[name], source)
        table = table.replace_schema_metadata({provenance.KEY: record.embedded()})
        pq.write_table(table, target, compression="zstd", compression_level=19)
        shutil.copyfile(provenance.sidecar(source), provenance.sidecar(target))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the full files; resumes from what is there")
    parser.add_argument("--out", type=Path, default=Path("circuit_artifacts/data/mini_atlas"))
    arguments = parser.parse_args()
    with progress.shown(Console(stderr=True)), tempfile.TemporaryDirectory() as temporary:
        build(arguments.work or Path(temporary), arguments.out)
    total = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{total / 1e6:.2f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
