"""Torch files: tensors, arrays and containers load; anything that would run code is named and refused unrun."""

import collections
import contextlib
import os
import re
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_files import FORMS, LEGACY_HEADER, NONE, Form, array, storage, tensor, write

from circuit_artifacts.errors import FormatError, MissingArtifactError, UnsafeContentError
from circuit_artifacts.formats.torch_pickle import NUMPY_ARRAYS, Limits, load_torch

Save = Callable[[object], Path]

CONTENT = {"weight": torch.arange(6.0).reshape(2, 3), "steps": [1, 2], "name": "x", 5: (None, True)}


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.fixture(params=FORMS)
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    def write(content: object) -> Path:
        torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=request.param == "zip")
        return tmp_path / "file.pt"

    return write


def window(index: int, real: Any) -> dict[str, Any]:
    """One entry of ``batch_results``, with entropies of the type that a generation of scipy gave."""
    influence = np.linspace(0, 1, 64, dtype=np.float32)
    return {
        "batch_idx": index,
        "start_idx": 4736,
        "feature_entropies": {3: real(1.5), 700: real(2.25)},
        "token_vector_entropy": real(5.5),
        "num_active_features": 2,
        "feature_influences": {3: influence, 700: influence**2},
        "feature_activations": {3: 0.5, 700: np.ones(1, np.float32)},
        "token_vector_influence": influence + 1,
    }


def archive(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members:
            file.writestr(name, data, compression)
    return path


def written_by(core: str, path: Path) -> Path:
    """The file as the numpy whose module has this name would have written it, whichever is installed."""

    def renamed(data: bytes) -> bytes:
        return re.sub(rb"(?<=cnumpy\.)_?core(?=\.multiarray\n)", core.encode(), data)

    if not zipfile.is_zipfile(path):
        path.write_bytes(renamed(path.read_bytes()))
        return path
    with zipfile.ZipFile(path) as file:
        members = [(name, renamed(file.read(name))) for name in file.namelist()]
    return archive(path, *members)


def test_plain_content_comes_back(save: Save) -> None:
    content = load_torch(save(CONTENT))
    assert torch.equal(content.pop("weight"), CONTENT["weight"])
    assert content == {key: value for key, value in CONTENT.items() if key != "weight"}


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("core", ["core", "_core"], ids=["numpy 1", "numpy 2"])
def test_arrays_of_both_generations_of_numpy_load(save: Save, real: Any, core: str) -> None:
    """The dataset card says that weights-only loading cannot read these files. It can."""
    expected = [window(0, real), window(2, real)]
    found = load_torch(written_by(core, save({"batch_results": expected})), allowed=NUMPY_ARRAYS)["batch_results"]
    assert [one["batch_idx"] for one in found] == [0, 2]
    for one, other in zip(found, expected, strict=True):
        assert one["feature_entropies"] == other["feature_entropies"]
        assert type(one["token_vector_entropy"]) is real
        for part in ("feature_influences", "feature_activations"):
            assert list(one[part]) == [3, 700]
            assert all(np.array_equal(one[part][key], other[part][key]) for key in other[part])
        assert one["token_vector_influence"].dtype == np.float32
        assert np.array_equal(one["token_vector_influence"], other["token_vector_influence"])


@pytest.mark.parametrize("core", ["core", "_core"], ids=["numpy 1", "numpy 2"])
def test_feature_ids_may_be_integers_of_numpy(save: Save, core: str) -> None:
    path = written_by(core, save({np.int64(3): 1.5, (np.int64(4), "x"): 2.5}))
    assert load_torch(path, allowed=NUMPY_ARRAYS) == {3: 1.5, (4, "x"): 2.5}


def test_arrays_of_every_allowed_type_load(save: Save) -> None:
    arrays = [np.array([[1, 0], [3, 4]], dtype) for dtype in ("f4", "f8", "i4", "i8", "?")]
    arrays += [arrays[0].T, np.array(2.5), np.zeros((2, 1, 3), "f4")]
    found = load_torch(save(arrays), allowed=NUMPY_ARRAYS)
    assert all(np.array_equal(one, other) for one, other in zip(found, arrays, strict=True))
    assert [one.dtype for one in found] == [one.dtype for one in arrays]


def test_builtins_and_tensors_load_without_permission(save: Save) -> None:
    """Sweeps, corpora and decoder vectors need no list of names (sae-locality spec 7.1)."""
    sweep = {"results_by_context_len": {8: {"feature_influences": {1: [0.5] * 8}}, 16: {"feature_influences": {}}}}
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = [torch.tensor([2, 5]), shared, shared[1:], shared.T, torch.zeros(0, 4), torch.tensor(3), shared.half()]
    tensors += [torch.tensor([True]), shared.bfloat16(), torch.ones(1, 3).expand(5, 3)]
    assert load_torch(save(sweep)) == sweep
    found = load_torch(save(tensors))
    assert all(torch.equal(one, other) for one, other in zip(found, tensors, strict=True))
    assert [one.dtype for one in found] == [one.dtype for one in tensors]
    assert found[1].data_ptr() == found[3].data_ptr()


def test_types_without_a_storage_of_their_own_load(tmp_path: Path) -> None:
    """Torch keeps these as bytes; it cannot read its own legacy files of them."""
    tensors = [torch.arange(4).to(torch.uint16), torch.arange(4.0).to(torch.float8_e4m3fn)]
    torch.save(tensors, tmp_path / "a.pt")
    found = load_torch(tmp_path / "a.pt")
    assert [one.dtype for one in found] == [torch.uint16, torch.float8_e4m3fn]
    assert [one.to(torch.int64).tolist() for one in found] == [[0, 1, 2, 3]] * 2


def test_modules_and_other_plain_objects_load(save: Save) -> None:
    module = torch.nn.Linear(2, 3)
    content = {"state": module.state_dict(), "bias": module.bias, "size": torch.Size([2]), "type": torch.float16}
    content |= {"device": torch.device("cpu"), "bytes": b"ab", "set": {1, "x"}, "array": bytearray(b"z"), "c": 1 + 2j}
    found = load_torch(save(content))
    assert found["state"]._metadata == content["state"]._metadata
    assert torch.equal(found["state"].pop("weight"), module.weight)
    assert isinstance(found["bias"], torch.nn.Parameter)
    for name in ("size", "type", "device", "bytes", "set", "array", "c"):
        assert found[name] == content[name]


def test_content_that_runs_code_is_refused_by_name_and_not_run(save: Save, tmp_path: Path) -> None:
    path = save({"weight": torch.ones(2), "trap": Trap(tmp_path / "made")})
    with pytest.raises(UnsafeContentError, match=r"posix\.mkdir|nt\.mkdir") as caught:
        load_torch(path)
    assert caught.value.file == str(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [np.array([Trap(Path("made"))]), np.array([{}]), np.array(["a"]), np.array([b"a"])])
def test_arrays_of_objects_and_text_are_refused(save: Save, content: object, tmp_path: Path) -> None:
    with pytest.raises(UnsafeContentError):
        load_torch(save({"array": content}), allowed=NUMPY_ARRAYS)


def test_globals_are_allowed_by_the_caller_only(save: Save) -> None:
    path = save({"array": np.arange(3.0)})
    with pytest.raises(UnsafeContentError, match=r"numpy.*_reconstruct"):
        load_torch(path)
    assert load_torch(path, allowed=NUMPY_ARRAYS)["array"].tolist() == [0, 1, 2]
    with pytest.raises(UnsafeContentError):
        load_torch(path)


def test_what_the_program_has_allowed_for_itself_stays_and_does_not_count(save: Save) -> None:
    path = save({"array": np.arange(3.0), "path": Path("x")})
    mine = [np.dtype, Path, type(Path())]
    with torch.serialization.safe_globals(mine):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(UnsafeContentError, match=r"PosixPath|WindowsPath"):
            load_torch(path, allowed=NUMPY_ARRAYS)
        load_torch(save([np.arange(3.0)]), allowed=NUMPY_ARRAYS)
        assert set(torch.serialization.get_safe_globals()) == before >= set(mine)


def test_threads_do_not_take_each_others_permission_away(save: Save) -> None:
    path = save([window(0, np.float32) for _ in range(20)])
    failures: list[Exception] = []

    def load() -> None:
        try:
            for _ in range(5):
                load_torch(path, allowed=NUMPY_ARRAYS)
        except FormatError as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_counters_load_without_permission(save: Save) -> None:
    assert load_torch(save(collections.Counter(a=2))) == {"a": 2}


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.98, -1])
def test_truncated_files_are_format_errors(save: Save, keep: float) -> None:
    path = save(CONTENT)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(FormatError) as caught:
        load_torch(path)
    assert caught.value.file == str(path)


def test_bytes_behind_the_end_are_format_errors(save: Save) -> None:
    for rest in (b"\0", b"garbage" * 100):
        path = save(CONTENT)
        with path.open("ab") as file:
            file.write(rest)
        with pytest.raises(FormatError, match="belong"):
            load_torch(path)


@pytest.mark.parametrize("position", range(0, 1400, 35))
def test_damaged_files_load_or_are_format_errors(save: Save, position: int) -> None:
    path = save({"array": np.arange(3.0), "tensor": torch.ones(3)})
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x55
    path.write_bytes(data)
    with contextlib.suppress(FormatError):
        load_torch(path, allowed=NUMPY_ARRAYS)


def test_other_files_are_format_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        load_torch(tmp_path / "absent.pt")
    path = tmp_path / "text.pt"
    path.write_text("<!doctype html>")
    with pytest.raises(FormatError, match="not a torch file"):
        load_torch(path)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(file_bytes=500), "file_bytes"),
        (Limits(entries=10), "entries"),
        (Limits(longest_array=63), "longest_array"),
    ],
)
def test_limits_are_named_and_can_be_raised(save: Save, limits: Limits, name: str) -> None:
    path = save({"batch_results": [window(0, np.float32)]})
    load_torch(path, allowed=NUMPY_ARRAYS)
    with pytest.raises(FormatError, match=f"{name}.*expected at most.*If you trust the file|expected at most.*{name}"):
        load_torch(path, allowed=NUMPY_ARRAYS, limits=limits)


def test_a_pickle_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", array(shape=(50_000,), data="\0" * 200_000))
    with pytest.raises(FormatError, match=r"found 200,\d+ pickle_bytes, expected at most 100\)"):
        load_torch(path, allowed=NUMPY_ARRAYS, limits=Limits(pickle_bytes=100))


def test_a_compressed_pickle_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", array(shape=(1000,), data="\0" * 4000), compression=zipfile.ZIP_DEFLATED)
    assert load_torch(path, allowed=NUMPY_ARRAYS).sum() == 0
    with pytest.raises(FormatError, match=r"pickle_bytes, expected at most 4,000"):
        load_torch(path, allowed=NUMPY_ARRAYS, limits=Limits(pickle_bytes=4000))


PICKLE = ("a/data.pkl", b"\x80\x02" + tensor(storage()) + b".")
NUMBERS, VERSION = ("a/data/0", b"\0\0\x80?"), ("a/version", b"3\n")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([PICKLE, PICKLE, NUMBERS, VERSION], "two members have the same name"),
        ([PICKLE, ("a/DATA.pkl", b"N."), NUMBERS, VERSION], "two members have the same name"),
        ([PICKLE, NUMBERS, ("a/data/0", b"\0\0\0\0"), VERSION], "two members have the same name"),
        ([PICKLE, NUMBERS, VERSION, ("a/../../x", b"")], "leads out of the archive"),
        ([PICKLE, NUMBERS, VERSION, ("/etc/passwd", b"")], "leads out of the archive"),
        ([PICKLE, NUMBERS, VERSION, ("b/data.pkl", b"N.")], "not in one folder"),
        ([("readme.txt", b"x")], "no pickle"),
        ([NUMBERS, VERSION], "no pickle"),
        ([PICKLE, VERSION], "not in the file"),
        ([PICKLE, NUMBERS, ("a/version", b"3" * 5000)], "not as long as"),
        ([PICKLE, ("a/data/0", b"\0\0"), VERSION], "not as long as"),
        ([PICKLE, ("a/data/0", b"\0" * 8), VERSION], "not as long as"),
        ([("a/data.pkl", b""), VERSION], "not a complete pickle"),
        ([], "not a torch file"),
    ],
)
def test_archives_that_torch_would_not_write_are_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], problem: str
) -> None:
    with pytest.raises(FormatError, match=problem) as caught:
        load_torch(archive(tmp_path / "a.pt", *members))
    assert isinstance(caught.value, UnsafeContentError) == ("leads out" in problem)


def test_compressed_numbers_are_refused_as_torch_would_map_them_as_they_are(tmp_path: Path) -> None:
    assert load_torch(archive(tmp_path / "a.pt", PICKLE, NUMBERS, VERSION)).tolist() == [1.0]
    numbers = ("a/data/0", b"\0" * 4)
    with pytest.raises(FormatError, match="compressed"):
        load_torch(archive(tmp_path / "a.pt", PICKLE, numbers, VERSION, compression=zipfile.ZIP_DEFLATED))


def test_a_second_archive_in_front_is_refused(tmp_path: Path) -> None:
    """Python would read the second of them; what torch reads is another matter."""
    first = archive(tmp_path / "first", PICKLE, NUMBERS, VERSION).read_bytes()
    path = archive(tmp_path / "a.pt", ("a/data.pkl", b"N."), VERSION)
    path.write_bytes(first + path.read_bytes())
    with pytest.raises(FormatError, match="do not belong to it"):
        load_torch(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    members = [("a/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81."), ("a/constants.pkl", b"N."), VERSION]
    with pytest.raises(UnsafeContentError, match=r"__torch__\.Net"):
        load_torch(archive(tmp_path / "a.pt", *members))


@pytest.mark.parametrize(
    "keys", [b"]", b"](X\1\0\0\x000X\1\0\0\x000e", b"](X\1\0\0\x001e", b"N", b"](K\0e", b"X\1\0\0\x000"]
)
def test_legacy_storages_other_than_those_of_the_tensors_are_refused(tmp_path: Path, keys: bytes) -> None:
    content = tensor(storage("0", 1, "torch.FloatStorage", NONE))
    numbers = struct.pack("<q", 1) + b"\0\0\x80?"
    path = tmp_path / "a.pt"
    for found, loads in ((b"](X\1\0\0\x000e", True), (keys, False)):
        path.write_bytes(LEGACY_HEADER + b"\x80\x02" + content + b".\x80\x02" + found + b"." + numbers)
        if loads:
            assert load_torch(path).tolist() == [1.0]
            continue
        with pytest.raises(FormatError, match="not those of its tensors"):
            load_torch(path)


@pytest.mark.parametrize("form", FORMS)
def test_other_pickle_protocols_are_format_errors(tmp_path: Path, form: Form) -> None:
    """Torch warns that it may not understand them, and does not understand what makes them differ."""
    with pytest.raises(FormatError):
        load_torch(write(tmp_path / "a.pt", b"\x8c\x01x", form, protocol=4))
