"""Damaged files, and a process of its own to read them in: what it survives, any program survives.

``python -m hdf5_zoo.damage FOLDER FIRST LAST`` reads the damaged files of these numbers. It writes a line before and
after each, so that a crash tells which file it was.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.formats.hdf5.layouts import Options, plan_files, schema_of, shards_of
from hdf5_zoo.specimen import TABLE, Row, text
from hdf5_zoo.storage import CANARY

__all__ = ["DAMAGED", "damaged", "read"]

DAMAGED = (
    "01_plain",
    "06_scalar_in_group",
    "13_group_per_sample",
    "15_nested_compound",
    "19_enum",
    "21_vlen_int",
    "24_str_utf8_vlen",
    "28_obj_ref",
    "29_region_ref",
    "40_opaque_void",
    "42_external_link",
    "43_external_storage",
    "45_soft_dangling",
    "46_hard_link_cycle",
    "49_virtual",
    "50_gzip_chunk",
    "69_netcdf4",
    "75_csp_atlas",
    "77_lerobot_like",
    "79_track_order",
)
_MEMORY = 1 << 30  # bytes of address space beyond what the imports took
_SECONDS = 20  # for one file; then the process ends
_NUMBERS = np.array([0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1], "<u8")
_MOST_TABLES = 50  # a shape may say that there are more rows than anyone can wait for; that is no crime


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """The content of a file with one kind of damage: bits, bytes, numbers, swapped blocks, or a missing end."""
    raw = np.frombuffer(content, np.uint8).copy()
    places = random.integers(0, len(raw) - 8, random.integers(1, 9))
    match random.integers(0, 5):
        case 0:
            raw[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
        case 1:
            raw[places] = random.integers(0, 256, len(places))
        case 2:
            for place in places:
                raw[place : place + 8] = np.array([random.choice(_NUMBERS)]).view(np.uint8)
        case 3:
            size = int(random.integers(1, min(512, len(raw) // 4)))
            one, two = random.integers(0, len(raw) - size, 2)
            raw[one : one + size], raw[two : two + size] = raw[two : two + size].copy(), raw[one : one + size].copy()
        case _:
            raw = raw[: random.integers(0, len(raw))]
    return raw.tobytes()


def read(path: Path, most_tables: int | None = None, **options: Any) -> list[Row]:
    """The rows of a file, or of its first tables, without `datasets` in between."""
    plans = plan_files([path], Options(**options))
    schema = schema_of(plans)
    tables = (table for number, start, stop in shards_of(plans) for table in plans[number].tables(start, stop, schema))
    return [row for table in itertools.islice(tables, most_tables) for row in table.to_pylist()]


def _outcome(path: Path, **options: Any) -> str:
    """ "rows" or "refused"; anything else is a fault."""
    try:
        rows = read(path, _MOST_TABLES, **options)
    except CircuitArtifactsError as error:
        return "refused" if str(path) in str(error) else f"not located: {error}"
    except BaseException as error:  # noqa: BLE001 - the point of it
        return f"{type(error).__name__}: {error}"
    return "read from outside" if str(CANARY) in text(rows) else "rows"


def main(folder: Path, first: int, last: int) -> None:
    """Damage, read and report the files of these numbers."""
    warnings.simplefilter("ignore")
    os.chdir(folder)  # where external storage would be found
    whole = {}
    for name in DAMAGED:
        TABLE[name].write(folder / f"{name}.h5")
        whole[name] = (folder / f"{name}.h5").read_bytes()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in range(first, last):
        signal.alarm(_SECONDS)  # inside the library nothing else ends a loop
        name = DAMAGED[number % len(DAMAGED)]
        path = folder / "damaged.h5"
        path.write_bytes(damaged(whole[name], np.random.default_rng(number)))
        print(json.dumps([number, name]), flush=True)  # noqa: T201 - what the parent reads
        outcomes = [_outcome(path), _outcome(path, layout="leaves", attrs="json")]
        print(json.dumps(outcomes), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
