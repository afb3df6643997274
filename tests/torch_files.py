"""Torch files written opcode by opcode, as no torch would write them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

Form = Literal["zip", "legacy"]
FORMS: tuple[Form, ...] = ("zip", "legacy")

NONE, TRUE, FALSE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b"N", b"\x88", b"\x89", b")", b"]", b"}"
REDUCE, NEWOBJ, BUILD, SET_ITEM, APPEND, REFERENCE = b"R", b"\x81", b"b", b"s", b"a", b"Q"
LEGACY_HEADER = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\x80\x02}."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def named(dotted: str) -> bytes:
    module, _, name = dotted.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def put(slot: int) -> bytes:
    return b"r" + struct.pack("<I", slot)


def get(slot: int) -> bytes:
    return b"j" + struct.pack("<I", slot)


def tuple_of(*members: bytes) -> bytes:
    return b"(" + b"".join(members) + b"t"


def list_of(*members: bytes) -> bytes:
    return b"](" + b"".join(members) + b"e"


def call(dotted: str, *arguments: bytes) -> bytes:
    return named(dotted) + tuple_of(*arguments) + REDUCE


def with_state(made: bytes, *state: bytes) -> bytes:
    return made + tuple_of(*state) + BUILD


def encoded(data: str) -> bytes:
    return call("_codecs.encode", text(data), text("latin1"))


def dtype(code: str = "f4", order: str = "<", *, copy: bytes = TRUE) -> bytes:
    made = call("numpy.dtype", text(code), FALSE, copy)
    return with_state(made, number(3), text(order), NONE, NONE, NONE, number(-1), number(-1), number(0))


def array(
    data: str = "\0\0\0\0",
    shape: Sequence[int] = (1,),
    *,
    of: bytes | None = None,
    kind: bytes | None = None,
    core: str = "_core",
) -> bytes:
    kind = named("numpy.ndarray") if kind is None else kind
    empty = call(f"numpy.{core}.multiarray._reconstruct", kind, tuple_of(number(0)), encoded("b"))
    lengths = tuple_of(*map(number, shape))
    return with_state(empty, number(1), lengths, dtype() if of is None else of, FALSE, encoded(data))


def storage(key: str = "0", length: int = 1, kind: str = "torch.FloatStorage", *rest: bytes) -> bytes:
    return tuple_of(text("storage"), named(kind), text(key), text("cpu"), number(length), *rest) + REFERENCE


def tensor(
    numbers: bytes | None = None,
    size: Sequence[int] = (1,),
    strides: Sequence[int] = (1,),
    *,
    offset: int = 0,
    hooks: bytes | None = None,
) -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage() if numbers is None else numbers,
        number(offset),
        tuple_of(*map(number, size)),
        tuple_of(*map(number, strides)),
        FALSE,
        call("collections.OrderedDict") if hooks is None else hooks,
    )


def write(
    path: Path,
    content: bytes,
    form: Form = "zip",
    *,
    storages: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
    protocol: int = 2,
) -> Path:
    """Write a file whose pickle has these opcodes; the storages are none unless given."""
    storages = storages or {}
    pickle = b"\x80" + bytes([protocol]) + content + b"."
    if form == "legacy":
        keys = b"\x80\x02" + list_of(*map(text, storages)) + b"."
        numbers = b"".join(struct.pack("<q", len(data) // 4) + data for data in storages.values())
        path.write_bytes(LEGACY_HEADER + pickle + keys + numbers)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle, compression)
        for key, data in storages.items():
            archive.writestr(f"a/data/{key}", data)
        archive.writestr("a/version", "3\n")
    return path
