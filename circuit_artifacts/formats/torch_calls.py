"""Whether a pickle makes nothing but numbers and plain containers, decided from its opcodes before anything is made.

A list of permitted names is not enough: ``numpy.ndarray((1 << 40,))`` and ``torch.Tensor(1 << 40)`` are calls of
permitted names, and a key of tuples in tuples crashes the process that hashes it. So every call must have the arguments
that ``torch.save`` and numpy write, every size must fit the bytes that are there, and keys are plain.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from circuit_artifacts.errors import FormatError, UnsafeContentError
from circuit_artifacts.formats.pickle_opcodes import Call, Global, Pairs, PersistentId, Pickle

__all__ = ["LEGACY_START", "STORAGE_HEADER_BYTES", "Storage", "check_pickle"]

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What a legacy file begins with: a pickle of torch's magic number; four more follow, then the numbers."""
STORAGE_HEADER_BYTES = 8
"""Before the numbers of each storage of a legacy file: how many they are."""

_MOST_DIMENSIONS = 32
_MAPPINGS = ("collections.OrderedDict", "collections.Counter")
_TENSORS = tuple(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))
_PLAIN = {
    *_MAPPINGS,
    *_TENSORS,
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.set",
}
_SCALAR = "numpy._core.multiarray.scalar"
_DTYPE = re.compile(r"[fiub][1248]")
"""Of numpy: floats, signed and unsigned integers, and booleans, by their bytes."""
_NATIVE = ("<" if sys.byteorder == "little" else ">", "|")
_DTYPE_BYTES = {
    f"torch.{name}": n_bytes
    for n_bytes, names in {
        1: ("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"),
        2: ("float16", "bfloat16", "int16", "uint16"),
        4: ("float32", "int32", "uint32"),
        8: ("float64", "int64", "uint64", "complex64"),
        16: ("complex128",),
    }.items()
    for name in names
}
_STORAGE_BYTES = {
    f"torch.{name}Storage": n_bytes
    for n_bytes, names in {
        1: ("Bool", "Byte", "Char", "Untyped", "storage.Untyped"),
        2: ("Half", "BFloat16", "Short"),
        4: ("Float", "Int"),
        8: ("Double", "Long", "ComplexFloat"),
        16: ("ComplexDouble",),
    }.items()
    for name in names
}
_REMEDY = "Ask its author for safetensors, or for plain arrays; nothing in the file was run."
_Scalar = str | bytes | int | float | None


class Storage(NamedTuple):
    """The numbers behind one or more tensors, which the file keeps outside its pickle."""

    length: int
    item_bytes: int

    @property
    def n_bytes(self) -> int:
        """Of all the numbers."""
        return self.length * self.item_bytes


@dataclass(frozen=True)
class _Bounds:
    """What sizes are checked against."""

    storages: dict[str, Storage]
    longest: int
    file: object


def check_pickle(pickle: Pickle, *, allowed: Collection[str] = (), longest: int, file: object) -> dict[str, Storage]:
    """Refuse a pickle that would make anything but numbers and plain containers.

    Args:
        pickle: read from its opcodes, completely.
        allowed: names that it may use beyond torch's tensors and plain containers. Of these, only the functions that
            make numpy arrays may be called.
        longest: numbers that one numpy array may hold.
        file: name for messages.

    Returns:
        The storages that it refers to, by their key.

    Raises:
        UnsafeContentError: a name that is not allowed, or a call that no writer of such files makes.
        FormatError: an array of more than ``longest`` numbers.
    """
    known = {*_PLAIN, *_DTYPE_BYTES, *_STORAGE_BYTES, *allowed}
    if unknown := sorted(name for name in pickle.globals if _present_name(name) not in known):
        problem = "the file names objects that reading it would have to build or call"
        expected = "tensors and plain containers"
        raise UnsafeContentError(problem, file=file, found=", ".join(unknown), expected=expected, remedy=_REMEDY)
    bounds = _Bounds(_storages(pickle.kept_elsewhere, file), longest, file)
    for made in pickle.objects:
        if isinstance(made, Call) and made.name == "numpy.dtype" and not _item_bytes(made):
            problem = "an array is not of numbers as this machine has them"
            expected = "floats, integers or booleans in native byte order"
            raise UnsafeContentError(problem, file=file, found=_described(made), expected=expected, remedy=_REMEDY)
    for made in pickle.objects:
        if isinstance(made, Call) and not _is_ordinary(made, bounds):
            problem = "the file makes a call that no writer of plain data makes"
            raise UnsafeContentError(problem, file=file, found=_described(made), remedy=_REMEDY)
        if not all(_is_key(key) for key, _ in made.pairs):
            problem = "a dictionary has a key that is neither text nor a number nor a tuple of these"
            raise UnsafeContentError(problem, file=file, remedy=_REMEDY)
    return bounds.storages


def _storages(references: Iterable[PersistentId], file: object) -> dict[str, Storage]:
    found: dict[str, Storage] = {}
    for reference in references:
        match reference.key:
            case ("storage", Global(name), str(key), str(), int(length), *rest) if (
                length >= 0
                and rest in ([], [None])  # or how it was part of another, in files older than torch 0.4
                and (item_bytes := _STORAGE_BYTES.get(_present_name(name)))
            ):
                storage = Storage(length, item_bytes)
                if found.setdefault(key, storage) == storage:
                    continue
        problem = "the file refers to something outside its pickle that is not the numbers of a tensor"
        raise UnsafeContentError(problem, file=file, remedy=_REMEDY)
    return found


def _present_name(name: str) -> str:
    """What was named otherwise in Python 2, and where a GPU's numbers had classes of their own."""
    return name.replace("__builtin__.", "builtins.").replace("torch.cuda.", "torch.")


def _described(call: Call) -> str:
    """The call in short. Not the repr of its arguments, which may contain themselves."""
    name = call.name if isinstance(call.function, Global) else "a function that the file computes"
    match call.arguments:
        case (str(first), *_):
            return f"{name}({first[:40]!r}, ...)"
    return f"{name}(...)"


def _is_key(value: Any) -> bool:
    """Whether it can be hashed at once: the hash of nested tuples may take for ever, or all of the stack."""
    members = value if isinstance(value, tuple) else (value,)
    return all(isinstance(member, _Scalar) or _name_in_numpy_2(member) == _SCALAR for member in members)


def _name_in_numpy_2(value: Any) -> str:
    """The name of a call, which numpy 1 spells otherwise; empty for what is no call."""
    return value.name.replace("numpy.core.", "numpy._core.") if isinstance(value, Call) else ""


def _is_ordinary(call: Call, bounds: _Bounds) -> bool:
    """Whether the call has arguments, state and content as the writers of such files give them."""
    if call.members or (call.pairs and call.name not in _MAPPINGS):
        return False
    return _is_plain(call) or _is_tensor(call, bounds) or _is_array(call, bounds)


def _is_plain(call: Call) -> bool:
    match _present_name(call.name), call.arguments, call.state:
        case (
            ("_codecs.encode", (str(), "latin1"), None)  # bytes, as protocol 2 has them
            | ("builtins.bytearray", () | (Call(function=Global("_codecs.encode")),), None)
            | ("builtins.complex", (float(), float()), None)
            | ("collections.OrderedDict" | "collections.Counter", (), None | Pairs())
            | ("collections.Counter", (Pairs(),), None)
            | ("torch.device", (str(),) | (str(), int()), None)
        ):
            return True
        case "builtins.set", (list(members),), None:
            return all(map(_is_key, members))
        case "torch.Size", (tuple(size),), None:
            return _is_shape(size)
    return False


def _is_tensor(call: Call, bounds: _Bounds) -> bool:
    """A tensor or parameter, without hooks, that is a view inside the storage it names."""
    match call.name.removeprefix("torch._utils."), call.arguments, call.state:
        case "_rebuild_parameter", (Call(function=Global(inner)), bool(), hooks), None:
            return inner in _TENSORS and _is_empty(hooks)
        case ("_rebuild_tensor", (PersistentId() as reference, offset, size, strides), None) | (
            "_rebuild_tensor_v2",
            (PersistentId() as reference, offset, size, strides, bool(), _),
            None,
        ):
            storage = bounds.storages[reference.key[2]]
        case "_rebuild_tensor_v3", (PersistentId() as reference, offset, size, strides, bool(), _, Global(dtype)), None:
            n_bytes, item_bytes = bounds.storages[reference.key[2]].n_bytes, _DTYPE_BYTES.get(dtype, 0)
            if not item_bytes:
                return False
            storage = Storage(n_bytes // item_bytes, item_bytes)
        case _:
            return False
    return _is_inside(storage, offset, size, strides, bounds) and all(map(_is_empty, call.arguments[5:6]))


def _is_inside(storage: Storage, offset: object, size: object, strides: object, bounds: _Bounds) -> bool:
    """Whether a view ends before its storage does: torch would enlarge the storage, with whatever is in memory."""
    if not (
        isinstance(offset, int) and offset >= 0 and _is_shape(size) and _is_shape(strides) and len(size) == len(strides)
    ):
        return False
    steps = sum((axis - 1) * stride for axis, stride in zip(size, strides, strict=True))
    ends_inside = offset + (1 + steps if all(size) else 0) <= storage.length
    return ends_inside and _n_elements(size) <= max(storage.length, bounds.longest)


def _is_array(call: Call, bounds: _Bounds) -> bool:
    """A numpy array, scalar or type; as many bytes as the shape asks for."""
    match _name_in_numpy_2(call), call.arguments, call.state:
        case "numpy.dtype", _, _:  # looked at before
            return True
        case (
            "numpy._core.multiarray.scalar",
            (Call() as dtype, Call(function=Global("_codecs.encode"), arguments=(str(data), _))),
            None,
        ):
            return len(data) == _item_bytes(dtype)
        case (
            "numpy._core.multiarray._reconstruct",
            (Global("numpy.ndarray"), (0,), Call(function=Global("_codecs.encode"), arguments=("b", _))),
            (1, shape, Call() as dtype, bool(), Call(function=Global("_codecs.encode"), arguments=(str(data), _))),
        ) if _is_shape(shape):
            if _n_elements(shape) > bounds.longest:
                problem = "an array holds more numbers than allowed"
                remedy = "If you trust the file, pass limits= with a larger longest_array."
                found, expected = f"{_n_elements(shape):,}", f"at most {bounds.longest:,}"
                raise FormatError(problem, file=bounds.file, found=found, expected=expected, remedy=remedy)
            return len(data) == math.prod(shape) * _item_bytes(dtype)
    return False


def _item_bytes(dtype: Call) -> int:
    """Of a type of numbers; 0 if the call makes anything else, or numpy's own type instead of a copy to set up."""
    match dtype.name, dtype.arguments, dtype.state:
        case "numpy.dtype", (str(code), align, copy), (3, order, None, None, None, -1, -1, 0):
            if (align, copy) == (False, True) and order in _NATIVE and _DTYPE.fullmatch(code):
                return int(code[1:])
    return 0


def _is_empty(hooks: object) -> bool:
    """Whether there are none of the functions that a backward pass would call."""
    match hooks:
        case Call(function=Global("collections.OrderedDict"), arguments=(), state=None, pairs=[]):
            return True
    return False


def _is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        return False
    return all(type(axis) is int and axis >= 0 for axis in value)


def _n_elements(shape: tuple[int, ...]) -> int:
    """At least the numbers of that shape; one that is empty in one axis and huge in another is huge as nested lists."""
    return math.prod(max(axis, 1) for axis in shape)
