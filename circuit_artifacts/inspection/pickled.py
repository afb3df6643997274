"""Entries for what a pickle would build: tensors and arrays with type and shape, plain values, named objects."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from circuit_artifacts.formats.pickle_opcodes import Call, Global, Pairs, PersistentId
from circuit_artifacts.inspection.listing import Entry, shortened

__all__ = ["Storage", "describe", "storages"]

_DEEPEST = 64
_MOST_PLAIN_VALUES = 50
"""Numbers and texts of one dictionary that are listed one by one; a table of more is one entry."""
_MOST_SHOWN = 8
_LONGEST_KEY = 500
_DICTIONARIES = {"collections.OrderedDict", "collections.Counter"}
_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_Plain = bool | int | float | str | bytes | bytearray | None
_STORAGE_DTYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "Untyped": "uint8",
}
_ITEM_BYTES = {
    **dict.fromkeys(("uint8", "int8", "bool", "qint8", "quint8", "float8_e4m3fn", "float8_e5m2"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32", "qint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


class Storage(NamedTuple):
    """The numbers behind one or more tensors."""

    key: str
    dtype: str
    n_bytes: int


def storages(references: Iterable[PersistentId]) -> list[Storage]:
    """The storages that torch keeps outside its pickle, each once."""
    found = [storage for reference in references if (storage := _storage(reference)) is not None]
    return list({storage.key: storage for storage in found}.values())


def describe(value: Any) -> list[Entry]:
    """Entries for everything in a value that was read from opcodes, by its path.

    Lists of plain values are one entry; what was met before, or lies 64 levels deep, is not followed.
    """
    entries: list[Entry] = []
    pending = [("/", value, 0)]
    seen: set[int] = set()
    while pending:
        path, value, depth = pending.pop()
        if (leaf := _leaf(path, value)) is not None:
            entries.append(leaf)
        elif id(value) in seen or depth == _DEEPEST:
            note = "is here again" if id(value) in seen else f"more than {_DEEPEST} levels deep: not followed"
            entries.append(Entry(path, "object", note=note))
        else:
            seen.add(id(value))
            if isinstance(value, Call) and value.name not in _DICTIONARIES:
                entries.append(Entry(path, "object", value.name))
            prefix = "" if path == "/" else f"{path}/"
            pending += [(prefix + name, part, depth + 1) for name, part in reversed(_parts(value))]
    return entries


def _leaf(path: str, value: Any) -> Entry | None:
    """The entry of what has no parts that are worth an entry of their own; None for others."""
    match value:
        case Call():
            return _tensor(path, value) or _array(path, value)
        case Global(name):
            return Entry(path, "global", note=name)
        case PersistentId():
            storage = _storage(value)
            return Entry(path, "storage", storage.dtype, None, storage.n_bytes) if storage else Entry(path, "reference")
        case Pairs(pairs):
            one_by_one = 0 < len(pairs) <= _MOST_PLAIN_VALUES
            return None if one_by_one else _plain_collection(path, "dict", [part for _, part in pairs])
        case list() | tuple():
            return _plain_collection(path, "list", value)
    return Entry(path, "value", type(value).__name__, note=shortened(value))


def _plain_collection(path: str, kind: str, members: Sequence[Any]) -> Entry | None:
    """The entry of a collection of plain values; None for others."""
    if not all(isinstance(member, _Plain) for member in members):
        return None
    dtype = " | ".join(sorted({type(member).__name__ for member in members}))
    few = ", ".join(shortened(member, 20) for member in members) if len(members) <= _MOST_SHOWN else ""
    return Entry(path, kind, dtype, (len(members),), note=few)


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a container or object is made of, by name."""
    if isinstance(value, Pairs):
        return [(_key(key), part) for key, part in value.pairs]
    if not isinstance(value, Call):
        return [(str(index), part) for index, part in enumerate(value)]
    arguments = list(value.arguments) if isinstance(value.arguments, tuple) else [value.arguments]
    if value.name in _DICTIONARIES:  # what else may be set on one is torch's note of versions
        inside = [pair for argument in arguments if isinstance(argument, Pairs) for pair in argument.pairs]
        return [(_key(key), part) for key, part in [*inside, *value.pairs]]
    state = value.state if isinstance(value.state, Pairs) else Pairs([("state", value.state)] if value.state else [])
    numbered = [(f"argument {index}", part) for index, part in enumerate(arguments)]
    members = [(str(index), part) for index, part in enumerate(value.members)]
    return numbered + [(_key(key), part) for key, part in [*state.pairs, *value.pairs]] + members


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key[:_LONGEST_KEY]
    return shortened(key) if isinstance(key, _Plain) else f"<{type(key).__name__}>"


def _arguments(call: Call) -> tuple[Any, ...]:
    return call.arguments if isinstance(call.arguments, tuple) else ()


def _unwrapped(value: Call) -> tuple[Call, str]:
    """The call that rebuilds a tensor inside those that make a parameter or a subclass of it, and which of them."""
    note = ""
    while True:
        match value.name.removeprefix("torch."), _arguments(value):
            case (("_utils._rebuild_parameter" | "_utils._rebuild_parameter_with_state"), (Call() as inner, *_)):
                value, note = inner, "parameter"
            case "_tensor._rebuild_from_type_v2", (function, Global(name), tuple() as arguments, *_):
                value, note = Call(function, arguments), name
            case _:
                return value, note


def _tensor(path: str, value: Call) -> Entry | None:
    inner, note = _unwrapped(value)
    match inner.name, _arguments(inner):
        case "torch._utils._rebuild_tensor_v3", (PersistentId() as reference, _, size, _, _, _, Global(name), *_):
            dtype = name.removeprefix("torch.")
        case (
            ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2"),
            (PersistentId() as reference, _, size, *_),
        ):
            dtype = ""
        case _:
            return None
    storage, shape = _storage(reference), _shape(size)
    if storage is None or shape is None:
        return None
    dtype = dtype or storage.dtype
    n_bytes = math.prod(shape) * _ITEM_BYTES[dtype] if dtype in _ITEM_BYTES else None
    if n_bytes is not None and n_bytes < storage.n_bytes:
        note = f"{note}; " * bool(note) + f"part of a storage of {storage.n_bytes:,} bytes"
    return Entry(path, "tensor", dtype, shape, n_bytes, note=note)


def _array(path: str, value: Call) -> Entry | None:
    """The entry of a numpy array or scalar, whose numbers are inside the pickle."""
    name, arguments = value.name.removeprefix("numpy.").removeprefix("_").removeprefix("core."), _arguments(value)
    match name, arguments, value.state:
        case "multiarray._reconstruct", _, (_, size, Call() as type_, *_):
            kind = "array"
        case "numeric._frombuffer", (_, Call() as type_, size, *_), _:
            kind = "array"
        case "multiarray.scalar", (Call() as type_, *_), _:
            kind, size = "scalar", ()
        case _:
            return None
    dtype, shape = _numpy_dtype(type_), _shape(size)
    if dtype is None or shape is None:
        return None
    if dtype.hasobject:
        return Entry(path, kind, str(dtype), shape, note="Python objects")
    return Entry(path, kind, str(dtype), shape, math.prod(shape) * dtype.itemsize)


def _numpy_dtype(value: Call) -> np.dtype[Any] | None:
    """A type of numbers or text; None for structures of them, whose fields are in the state of the call."""
    code = _arguments(value)[:1]
    if value.name != "numpy.dtype" or not code or not re.fullmatch(r"[biufcmMSUO]\d{1,9}", str(code[0])[:12]):
        return None
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "="
    return np.dtype(f"{order if order in ('<', '>') else ''}{code[0]}")


def _shape(value: Any) -> tuple[int, ...] | None:
    is_shape = isinstance(value, tuple) and all(type(axis) is int and axis >= 0 for axis in value)
    return value if is_shape else None


def _storage(reference: PersistentId) -> Storage | None:
    match reference.key:
        case ("storage", Global(name), str(key), _, int(length), *_) if length >= 0:
            dtype = _STORAGE_DTYPES.get(name.rpartition(".")[2].removesuffix("Storage"), "")
            return Storage(key, dtype, length * _ITEM_BYTES.get(dtype, 0))
    return None
