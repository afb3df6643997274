"""Npz files: exact arrays of plain types; pickles, bombs and damage are refused before anything is inflated."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError, UnsafeContentError
from circuit_artifacts.formats.npz import read_header, read_npz

ARRAYS = {
    "weight": np.arange(6, dtype=">f4").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "scalar": np.array(True),
    "empty": np.zeros((0, 4), dtype=np.complex64),
    "text": np.array(["a", "längste"]),
    "named": np.array([(1, 2.5)], dtype=[("größe", "i2"), ("y", "f8", (1,))]),
    "dates": np.array(["2024-02-29"], dtype="datetime64[D]"),
}


LIE = 50 << 20


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_exactly(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


@given(
    st.dictionaries(
        st.text("abcäß_ ", min_size=1, max_size=5),
        arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
        max_size=3,
    )
)
def test_any_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, **content)
    found = read_npz(path)
    assert list(found) == list(content)
    assert all(found[name].tobytes() == array.tobytes() for name, array in content.items())
    assert all((found[name].dtype, found[name].shape) == (array.dtype, array.shape) for name, array in content.items())


def test_only_what_is_named_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"good.npy": npy(np.arange(3)), "broken.npy": b"no array"})
    assert read_npz(path, ["good"])["good"].tolist() == [0, 1, 2]
    with pytest.raises(SchemaError, match=r"absent.*expected good, broken"):
        read_npz(path, ["good", "absent"])
    with pytest.raises(FormatError, match=r"broken\.npy"):
        read_npz(path)


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    """They are pickles."""
    np.savez(tmp_path / "a.npz", plain=np.arange(3), objects=np.array([print, None]))
    with pytest.raises(UnsafeContentError, match=r"a\.npz:objects\.npy: .*pickle"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(UnsafeContentError):
        read_npz(tmp_path / "a.npz", ["objects"])
    assert list(read_npz(tmp_path / "a.npz", ["plain"])) == ["plain"]


def test_objects_inside_records_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", records=np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")]))
    with pytest.raises(UnsafeContentError):
        read_npz(tmp_path / "a.npz")


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    """100 MB of zeros in 100 kB: the headers tell."""
    zeros = np.zeros(50 << 20, dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", a=zeros, b=zeros)
    assert (tmp_path / "a.npz").stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"104,857,600 bytes, expected at most 104,857,599"):
        read_npz(tmp_path / "a.npz", largest=(100 << 20) - 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20
    assert read_npz(tmp_path / "a.npz", ["b"], largest=50 << 20)["b"].sum() == 0


def test_a_member_larger_than_declared_is_refused(tmp_path: Path) -> None:
    """The directory says 1,128 bytes; fifty million follow. No more than declared is ever inflated."""
    honest = npy(np.zeros(1000, dtype=np.uint8))
    path = archive(tmp_path / "a.npz", {"a.npy": honest + bytes(LIE)})
    data = path.read_bytes()
    path.write_bytes(data.replace((LIE + len(honest)).to_bytes(4, "little"), len(honest).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"a\.npy.*CRC"):
        read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    """Nothing of the promised size is allocated."""
    content = npy(np.zeros(8)).replace(b"(8,), }" + b" " * 11, b"(88888888888,), } ")
    path = archive(tmp_path / "a.npz", {"a.npy": content})
    with pytest.raises(FormatError, match=r"found 192 bytes, expected 711,111,111,232"):
        read_npz(path)


@pytest.mark.parametrize("name", ["../x.npy", "/etc/x.npy", "a/../../x.npy", "..\\x.npy", "C:\\x.npy"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.npz", {name: npy(np.arange(3))})
    with pytest.raises(UnsafeContentError, match="leads out of the archive"):
        read_npz(path)


def test_other_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.arange(3)), "run.py": b"print()"})
    with pytest.raises(FormatError, match=r"run\.py: a member is not an \.npy array"):
        read_npz(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Which of them is meant depends on the reader."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy(np.arange(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", npy(np.arange(4)))
    with pytest.raises(FormatError, match=r"a\.npy: two members"):
        read_npz(path)


@pytest.mark.parametrize("keep", [0, 3, 60, 200, -1, -30])
def test_truncated_files_are_format_errors(tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(30))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(FormatError, match="truncated or damaged") as caught:
        read_npz(tmp_path / "a.npz")
    assert caught.value.file == str(tmp_path / "a.npz")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(30))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[250] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.npy: .*CRC"):
        read_npz(tmp_path / "a.npz")


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_damage_is_always_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, damage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, **ARRAYS)
    data = path.read_bytes()
    path.write_bytes(data[:position] + damage + data[position + len(damage) :])
    with contextlib.suppress(FormatError):
        read_npz(path, largest=1 << 20)


def test_methods_that_expand_without_bounds_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.arange(3))}, zipfile.ZIP_BZIP2)
    with pytest.raises(FormatError, match="compressed by method 12"):
        read_npz(path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.arange(3))})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"found encrypted"):
        read_npz(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        read_npz(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{",
        b"\x93NUMPY\x01\x00\x08\x00__import",
        b"\x93NUMPY\x01\x00\x02\x00[]",
        b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000,
        b"\x93NUMPY\x01\x00\x39\x00{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        b"\x93NUMPY\x01\x00\x38\x00{'descr': 'what', 'fortran_order': False, 'shape': (1,), }",
    ],
)
def test_broken_headers_are_format_errors(content: bytes) -> None:
    with pytest.raises(FormatError, match=r"x\.npy: not a complete header"):
        read_header(io.BytesIO(content), file="x.npy")
