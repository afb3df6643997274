"""``python -m benchmarks [NAME ...] [--write docs/benchmarks.md]``: run them and print the table."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from benchmarks.harness import Row, machine, markdown

NAMES = (
    "mask_files",
    "imports",
    "activations",
    "array_stages",
    "sparse_model",
    "remote",
    "conversion",
    "influence",
    "attribution",
)
_START, _END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def main() -> None:
    """Run the benchmarks that are named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--write", type=Path, help="a markdown file whose table is replaced")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in arguments.names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            for row in importlib.import_module(f"benchmarks.{name}").run(Path(folder)):
                rows.append(row)
                print(markdown([row]).splitlines()[-1], flush=True)
    text = f"{machine()}\n\n{markdown(rows)}"
    print(f"\n{text}")
    if arguments.write:
        head, _, rest = arguments.write.read_text(encoding="utf-8").partition(_START)
        tail = rest.partition(_END)[2]
        arguments.write.write_text(f"{head}{_START}{text}{_END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
