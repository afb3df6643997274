"""Torch files made to do harm: each is refused before anything in it is made, in both forms of the format."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_files import (
    APPEND,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    FALSE,
    FORMS,
    NEWOBJ,
    NONE,
    REDUCE,
    REFERENCE,
    SET_ITEM,
    TRUE,
    Form,
    array,
    call,
    dtype,
    encoded,
    get,
    list_of,
    named,
    number,
    put,
    storage,
    tensor,
    text,
    tuple_of,
    with_state,
    write,
)

from circuit_artifacts.errors import FormatError, UnsafeContentError
from circuit_artifacts.formats.torch_pickle import NUMPY_ARRAYS, Limits, load_torch

FOUR_BYTES = {"0": b"\0\0\x80?"}
HUGE = 1 << 40
SCALAR = "numpy._core.multiarray.scalar"
EMPTY_ARRAY = call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), tuple_of(number(0)), encoded("b"))

forms = pytest.mark.parametrize("form", FORMS)


def running(function: str, marker: Path) -> bytes:
    """Opcodes that would make the marker."""
    if function.endswith("system"):
        return call(function, text(f"touch {marker}"))
    if function.endswith(("eval", "exec")):
        return call(function, text(f"open({str(marker)!r}, 'w')"))
    if function.endswith("mkdir"):
        return call(function, text(str(marker)))
    return call(function, text(str(marker)), text("w"))


@forms
@pytest.mark.parametrize(
    "function",
    ["os.system", "posix.system", "os.mkdir", "builtins.eval", "builtins.exec", "builtins.open", "__builtin__.eval"],
)
def test_functions_are_named_and_not_called(tmp_path: Path, form: Form, function: str) -> None:
    path = write(tmp_path / "a.pt", list_of(array(), running(function, tmp_path / "marker")), form)
    with pytest.raises(UnsafeContentError) as caught:
        load_torch(path, allowed=NUMPY_ARRAYS)
    assert caught.value.found == function
    assert not (tmp_path / "marker").exists()


def trap(marker: Path) -> bytes:
    return running("os.system", marker)


@forms
@pytest.mark.parametrize(
    "nested",
    [
        lambda trap: call("numpy.dtype", trap, FALSE, TRUE),
        lambda trap: array(of=trap),
        lambda trap: array(kind=trap),
        lambda trap: with_state(call("numpy.dtype", text("f4"), FALSE, TRUE), trap),
        lambda trap: call("numpy.core.multiarray.scalar", trap, encoded("abcd")),
        lambda trap: call("_codecs.encode", trap, text("latin1")),
        lambda trap: call("collections.OrderedDict", trap),
        lambda trap: EMPTY_DICT + trap + NONE + SET_ITEM,
        lambda trap: tuple_of(trap) + REFERENCE,
        lambda trap: trap + EMPTY_TUPLE + REDUCE,
        lambda trap: trap + EMPTY_TUPLE + NEWOBJ,
        lambda trap: trap + tuple_of(NONE) + BUILD,
        lambda trap: trap + NONE,  # left on the stack, no part of the value
        lambda trap: b"(" + trap + b"1" + NONE,  # made, and popped
        lambda trap: b"Vos\nVsystem\n\x93" + tuple_of(text("true")) + REDUCE + trap,
    ],
)
def test_a_call_inside_an_allowed_call_is_found(tmp_path: Path, form: Form, nested: object) -> None:
    assert callable(nested)
    path = write(tmp_path / "a.pt", nested(trap(tmp_path / "marker")), form)
    with pytest.raises(UnsafeContentError, match=r"os\.system"):
        load_torch(path, allowed=NUMPY_ARRAYS)
    assert not (tmp_path / "marker").exists()


@forms
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x82\x01", "copyreg extension 1"),
        (b"\x83\x01\x01", "copyreg extension 257"),
        (text("os") + text("system") + b"\x93", "os.system"),
        (text("os") + EMPTY_LIST + b"\x93", "a name that the file computes"),
        (call("builtins.getattr", named("numpy.ndarray"), text("__class__")), "builtins.getattr"),
        (named("numpy.dtypes.ObjectDType"), "numpy.dtypes.ObjectDType"),
        (named("numpy.dtypes.StrDType"), "numpy.dtypes.StrDType"),
        (named("torch.storage._load_from_bytes"), "torch.storage._load_from_bytes"),
        (named("torch.load"), "torch.load"),
        (named("torch._utils._rebuild_wrapper_subclass"), "torch._utils._rebuild_wrapper_subclass"),
        (named("numpy.memmap"), "numpy.memmap"),
        (b"(ios\nsystem\n", "os.system"),
        (b"(" + named("os.system") + b"o", "os.system"),
    ],
)
def test_names_beyond_the_allowed_are_listed(tmp_path: Path, form: Form, content: bytes, found: str) -> None:
    with pytest.raises(UnsafeContentError, match="names objects") as caught:
        load_torch(write(tmp_path / "a.pt", content, form), allowed=NUMPY_ARRAYS)
    assert caught.value.found == found


@forms
@pytest.mark.parametrize(
    "content",
    [
        call("numpy.ndarray", tuple_of(number(HUGE))),
        named("numpy.ndarray") + tuple_of(tuple_of(number(HUGE))) + NEWOBJ,
        call("torch.FloatStorage", number(HUGE)),
        call("torch.storage.UntypedStorage", number(HUGE)),
        call("builtins.bytearray", number(HUGE)),
        call("builtins.bytearray", list_of(number(1))),
        call("_codecs.encode", text("a" * 64), text("rot13")),
        call("_codecs.encode", text("a" * 64), text("idna")),
        call("_codecs.encode", encoded("x\x9c"), text("zip")),
        call("builtins.set", array()),
        call("collections.Counter", text("abc")),
        call("collections.OrderedDict", list_of(tuple_of(NONE, NONE))),
        call("torch.Size", tuple_of(number(-1))),
        with_state(call("builtins.complex", b"G" + bytes(8), b"G" + bytes(8)), NONE),
        call("numpy.dtypes.Float32DType"),
        array(kind=named("numpy.dtype")),
        call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), tuple_of(number(HUGE)), encoded("b")),
        array(shape=(2,)),
        array(shape=(-1,)),
        array(of=dtype("f8")),
        array(of=named("numpy.dtypes.Float32DType")),
        array(data=""),
        with_state(EMPTY_ARRAY, number(1), tuple_of(number(1)), dtype(), FALSE, list_of(NONE)),
        with_state(EMPTY_ARRAY, number(1), tuple_of(number(1)), dtype(), FALSE, encoded("abcd"), NONE),
        EMPTY_ARRAY,
        call(SCALAR, dtype(), encoded("abcde")),
        call(SCALAR, dtype(), list_of(NONE)),
        call(SCALAR, dtype(), call("_codecs.encode")),
        dtype() + EMPTY_TUPLE + REDUCE,
        call("torch._utils._rebuild_parameter", array(), TRUE, call("collections.OrderedDict")),
    ],
)
def test_calls_that_no_writer_makes_are_refused(tmp_path: Path, form: Form, content: bytes) -> None:
    with pytest.raises(UnsafeContentError, match="makes a call that no writer"):
        load_torch(write(tmp_path / "a.pt", content, form), allowed=NUMPY_ARRAYS)


@forms
@pytest.mark.parametrize(
    "form_of_array", [lambda of: array(of=of), lambda of: call(SCALAR, of, encoded("abcd")), list_of]
)
@pytest.mark.parametrize(
    "of",
    [
        call("numpy.dtype", text("O8"), FALSE, TRUE),  # the state that would name ObjectDType is left out
        dtype("O8", "|"),
        dtype("U1"),
        dtype("S4", "|"),
        dtype("V4", "|"),
        dtype("c8"),
        dtype("M8"),
        dtype("f4,O"),
        dtype("f9"),
        call("numpy.dtype", named("numpy.ndarray")),
        call("numpy.dtype", list_of(tuple_of(text("a"), text("O")))),
        call("numpy.dtype", EMPTY_DICT),
        call("numpy.dtype", text("f4"), FALSE, TRUE),
        dtype("f4", copy=FALSE),
        with_state(call("numpy.dtype", text("f4"), FALSE, TRUE), number(3), text("<"), NONE, EMPTY_DICT),
    ],
)
def test_types_other_than_numbers_are_refused(tmp_path: Path, form: Form, of: bytes, form_of_array: Callable) -> None:
    with pytest.raises(UnsafeContentError, match=r"not of numbers as this machine has them \(found numpy\.dtype\("):
        load_torch(write(tmp_path / "a.pt", form_of_array(of), form), allowed=NUMPY_ARRAYS)


@forms
def test_an_array_whose_type_is_changed_after_it_was_looked_at(tmp_path: Path, form: Form) -> None:
    """A second state, and a state on what the file keeps outside: no writer sets these, torch would."""
    twice = dtype() + tuple_of(number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(63)) + BUILD
    for content in (array(of=twice), storage() + EMPTY_DICT + BUILD):
        with pytest.raises(FormatError, match="a state is set on what cannot have one"):
            load_torch(write(tmp_path / "a.pt", content, form, storages=FOUR_BYTES), allowed=NUMPY_ARRAYS)


@forms
def test_another_byte_order_is_refused(tmp_path: Path, form: Form) -> None:
    other = ">" if sys.byteorder == "little" else "<"
    with pytest.raises(UnsafeContentError, match=r"not of numbers.*expected .* native byte order"):
        load_torch(write(tmp_path / "a.pt", array(of=dtype("f4", other)), form), allowed=NUMPY_ARRAYS)


@forms
@pytest.mark.parametrize("shape", [(HUGE,), (HUGE, 0), (1 << 20, 1 << 20, 0), (1 << 21,)])
def test_huge_arrays_are_refused_for_their_length(tmp_path: Path, form: Form, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match=r"expected at most 1,048,576\)\. .*longest_array"):
        load_torch(write(tmp_path / "a.pt", array(shape=shape), form), allowed=NUMPY_ARRAYS)


@forms
def test_the_ordinary_forms_of_these_calls_load(tmp_path: Path, form: Form) -> None:
    """The same opcodes with nothing wrong about them, so that what is refused above is refused for its reason."""
    numbers = storage("0", 1, "torch.FloatStorage", *[NONE] * (form == "legacy"))
    ordinary = [array(), call(SCALAR, dtype(), encoded("\0\0\x80?")), tensor(numbers), tensor(numbers, (0,), (1,))]
    plain = [call("builtins.bytearray", encoded("ab")), call("builtins.set", list_of(number(5)))]
    path = write(tmp_path / "a.pt", list_of(*ordinary, *plain), form, storages=FOUR_BYTES)
    loaded = load_torch(path, allowed=NUMPY_ARRAYS)
    assert loaded[0].tolist() == [0.0]
    assert loaded[1] == np.float32(1)
    assert loaded[2].tolist() == [1.0]
    assert loaded[3].shape == (0,)
    assert loaded[4:] == [bytearray(b"ab"), {5}]


@forms
@pytest.mark.parametrize(
    "content",
    [
        tensor(size=(2,)),
        tensor(size=(HUGE,)),
        tensor(size=(HUGE,), strides=(0,)),
        tensor(size=(HUGE, 0), strides=(1, 1)),
        tensor(size=(2, 2), strides=(1, 0)),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(size=(2,), strides=(-1,)),
        tensor(size=(1,), strides=()),
        tensor(size=(1,) * 33, strides=(1,) * 33),
        tensor(hooks=NONE),
        tensor(hooks=call("collections.OrderedDict") + number(1) + named("torch.Size") + SET_ITEM),
        tensor(array()),
        call(
            "torch._utils._rebuild_tensor_v3",
            *[storage(), number(0), tuple_of(number(1)), tuple_of(number(1)), FALSE],
            call("collections.OrderedDict"),
            named("torch.float64"),
        ),
        call(
            "torch._utils._rebuild_tensor_v3",
            *[storage(), number(0), tuple_of(number(1)), tuple_of(number(1)), FALSE],
            call("collections.OrderedDict"),
            named("torch.Size"),
        ),
    ],
)
def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path: Path, form: Form, content: bytes) -> None:
    with pytest.raises(
        UnsafeContentError, match=r"no writer of plain data makes \(found torch\._utils\._rebuild_tensor"
    ):
        load_torch(write(tmp_path / "a.pt", content, form, storages=FOUR_BYTES), allowed=NUMPY_ARRAYS)


@forms
@pytest.mark.parametrize(
    "reference",
    [
        storage(length=-1),
        storage(kind="torch.Size"),
        storage(kind="torch.float32"),
        storage("0", 1, "torch.FloatStorage", tuple_of(text("1"), number(0), number(1))),
        tuple_of(text("module"), named("torch.FloatStorage"), text("0"), text("cpu"), number(1)) + REFERENCE,
        text("/etc/passwd") + REFERENCE,
        number(7) + REFERENCE,
        EMPTY_TUPLE + REFERENCE,
        b"P/etc/passwd\n",
        list_of(storage(), storage(kind="torch.DoubleStorage")),
        list_of(storage(), storage(length=2)),
    ],
)
def test_references_to_anything_but_numbers_of_the_file_are_refused(
    tmp_path: Path, form: Form, reference: bytes
) -> None:
    with pytest.raises(UnsafeContentError, match="refers to something outside its pickle"):
        load_torch(write(tmp_path / "a.pt", reference, form, storages=FOUR_BYTES))


@forms
@pytest.mark.parametrize("key", ["1", "../data.pkl", "../../etc/passwd", "/etc/passwd", "", "0/"])
def test_storages_that_are_not_in_the_file_are_not_looked_for(tmp_path: Path, form: Form, key: str) -> None:
    path = write(tmp_path / "a.pt", tensor(storage(key)), form, storages=FOUR_BYTES)
    with pytest.raises(FormatError, match="the numbers"):
        load_torch(path)


@forms
def test_storages_longer_than_the_file_are_refused(tmp_path: Path, form: Form) -> None:
    path = write(tmp_path / "a.pt", tensor(storage(length=1 << 60)), form, storages=FOUR_BYTES)
    with pytest.raises(FormatError, match=r"not as long as|truncated"):
        load_torch(path)


@forms
@pytest.mark.parametrize("opener", [b"]", b"}K\x01", b")"])
def test_deep_nesting_is_refused(tmp_path: Path, form: Form, opener: bytes) -> None:
    closer = {b"]": APPEND, b"}K\x01": SET_ITEM, b")": b""}[opener]
    depth = 50_000
    content = EMPTY_TUPLE + b"\x85" * depth if opener == b")" else opener * depth + NONE + closer * depth
    with pytest.raises(FormatError, match="more than 64 levels"):
        load_torch(write(tmp_path / "a.pt", content, form))


DEEP_TUPLE = EMPTY_TUPLE + b"\x85" * 100_000
WIDE_TUPLE = EMPTY_TUPLE + b"".join(put(slot) + get(slot) + b"\x86" for slot in range(60))


@forms
@pytest.mark.parametrize("key", [DEEP_TUPLE, WIDE_TUPLE, tensor(), array(), EMPTY_LIST, list_of(NONE)])
def test_keys_that_cannot_be_hashed_at_once_are_refused(tmp_path: Path, form: Form, key: bytes) -> None:
    """Hashing the first of these would end the process, hashing the second would never end."""
    entry = key + NONE + SET_ITEM
    for content in (EMPTY_DICT + entry, call("collections.OrderedDict") + entry):
        with pytest.raises(UnsafeContentError, match="has a key that is neither"):
            load_torch(write(tmp_path / "a.pt", content, form, storages=FOUR_BYTES), allowed=NUMPY_ARRAYS)
    with pytest.raises(UnsafeContentError, match=r"found (__)?builtins?(__)?\.set"):
        load_torch(write(tmp_path / "a.pt", call("builtins.set", list_of(key)), form), allowed=NUMPY_ARRAYS)


@forms
def test_containers_that_contain_themselves_are_refused(tmp_path: Path, form: Form) -> None:
    with pytest.raises(FormatError, match="a list contains itself"):
        load_torch(write(tmp_path / "a.pt", EMPTY_LIST + put(0) + get(0) + APPEND, form))


@forms
def test_lists_doubled_forty_times_are_refused(tmp_path: Path, form: Form) -> None:
    doubled = b"".join(put(slot) + EMPTY_LIST + b"(" + get(slot) * 2 + b"e" for slot in range(40))
    with pytest.raises(FormatError, match="more entries than allowed"):
        load_torch(write(tmp_path / "a.pt", list_of(number(1)) + doubled, form))


@forms
def test_the_number_of_opcodes_is_limited(tmp_path: Path, form: Form) -> None:
    path = write(tmp_path / "a.pt", list_of(*[NONE] * 1000), form)
    assert load_torch(path, limits=Limits(entries=1010)) == [None] * 1000
    with pytest.raises(FormatError, match=r"at most 500\).*Limits\(entries=\.\.\.\)"):
        load_torch(path, limits=Limits(entries=500))


PIECES = [
    *(NONE, TRUE, FALSE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT, b"(", b"t", b"e", b"u", b"\x85", b"\x86", b"\x87"),
    *(REDUCE, NEWOBJ, BUILD, SET_ITEM, APPEND, REFERENCE, put(0), get(0), number(1), text("f4"), text("latin1")),
    *(array(), dtype(), encoded("abcd"), tensor(), storage(), EMPTY_ARRAY, call("collections.OrderedDict")),
    *map(named, ("numpy.ndarray", "numpy.dtype", SCALAR, "_codecs.encode", "builtins.set", "torch.Size")),
    *map(named, ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "collections.Counter")),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from(FORMS))
def test_any_row_of_opcodes_loads_or_is_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], form: Form
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.pt", b"".join(pieces), form, storages=FOUR_BYTES)
    with contextlib.suppress(FormatError):
        load_torch(path, allowed=NUMPY_ARRAYS)


CHILD = """
    import resource, sys
    from pathlib import Path
    from circuit_artifacts.errors import FormatError
    from circuit_artifacts.formats.torch_pickle import NUMPY_ARRAYS, load_torch

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (256 << 20),) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            load_torch(path, allowed=NUMPY_ARRAYS)
        except FormatError as error:
            print(path.name, error.problem, sep=": ")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_files_that_ask_for_much_memory_get_none(tmp_path: Path) -> None:
    """Each asks for gigabytes or more. The process may have 256 MiB beyond what its imports take, and uses few."""
    contents = {
        "ndarray": call("numpy.ndarray", tuple_of(number(1 << 30))),
        "reconstruct": array(shape=(1 << 30,)),
        "tensor": call("torch.Tensor", number(1 << 30)),
        "storage": tensor(storage(length=1 << 30)),
        "view": tensor(size=(1 << 30,)),
        "expanded": tensor(size=(1 << 30,), strides=(0,)),
        "text": b"X\xff\xff\xff\xff",
        "bytes": b"B\xff\xff\xff\x7f",
        "long bytes": b"\x8e" + (1 << 40).to_bytes(8, "little"),
        "buffer": b"\x96" + (1 << 40).to_bytes(8, "little"),
        "integer": b"\x8b\xff\xff\xff\x7f",
        "frame": b"\x95" + (1 << 40).to_bytes(8, "little"),
        "bytearray": call("builtins.bytearray", number(1 << 32)),
    }
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in contents.items():
        for form in FORMS:
            write(folder / f"{name} {form}", content, form, storages=FOUR_BYTES)
    zeros = text("0" * (130 << 20))
    write(folder / "deflated", zeros, compression=zipfile.ZIP_DEFLATED)
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(folder)], capture_output=True, text=True, check=True
    )
    *refused, grown = ran.stdout.splitlines()
    assert [line.split(":")[0] for line in refused] == sorted(
        [f"{name} {form}" for name in contents for form in FORMS] + ["deflated"]
    )
    assert "deflated: the file asks for more than is allowed" in refused
    assert int(grown) < 64
