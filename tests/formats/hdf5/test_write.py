"""Writing HDF5: plain h5py finds what its own high-level calls would have written. Oracle: h5py."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_artifacts.formats.hdf5 import child_names, open_hdf5, read_scalars, read_strings, read_vectors
from circuit_artifacts.formats.hdf5.write import create_hdf5, write_scalars, write_strings, write_vectors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


def random_rows(count: int, width: int, dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 1000, (count, width)).astype(dtype)


@settings(max_examples=30)
@given(
    count=st.integers(0, 5),
    width=st.integers(1, 200),
    dtype=st.sampled_from(["bool", "float32", "int32", ">f4", "int64"]),
    level=st.sampled_from([None, 0, 1, 4, 9]),
    oldest_reader=st.sampled_from(["earliest", "v108", "v110"]),
    seed=st.integers(0, 1000),
)
def test_h5py_and_we_read_what_was_written(
    count: int, width: int, dtype: str, level: int | None, oldest_reader: str, seed: int
) -> None:
    rows = random_rows(count, width, dtype, seed)
    names = [f"{i}" for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        with create_hdf5(path, oldest_reader=oldest_reader) as file:
            write_vectors(file, names, rows, compression_level=level)
        with h5py.File(path) as file:
            assert sorted(file) == names
            for name, row in zip(names, rows, strict=True):
                assert file[name].dtype == row.dtype
                assert np.array_equal(file[name][()], row)
        with open_hdf5(path) as file:
            assert np.array_equal(read_vectors(file, names, dtype=rows.dtype, width=width), rows)


@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
def test_datasets_are_those_of_create_dataset(path: Path, dtype: str) -> None:
    rows = random_rows(3, 2048, dtype)
    with create_hdf5(path) as file:
        write_vectors(file, ["a", "b", "c"], rows)
        file.create_dataset("reference", data=rows[1], compression="gzip", compression_opts=4)
    with h5py.File(path) as file:
        ours, reference = file["b"], file["reference"]
        assert (ours.chunks, ours.compression, ours.compression_opts, ours.shuffle) == ((2048,), "gzip", 4, False)
        assert (ours.maxshape, ours.fletcher32, ours.scaleoffset) == ((2048,), False, None)
        assert ours.fillvalue == 0
        plists = [dataset.id.get_create_plist() for dataset in (ours, reference)]
        for plist in plists:
            plist.set_fill_time(
                h5py.h5d.FILL_TIME_IFSET
            )  # versions of h5py differ; it says nothing once data are written
        assert plists[0].equal(plists[1])
        assert ours.id.get_type().equal(reference.id.get_type())
        assert ours.id.read_direct_chunk((0,)) == reference.id.read_direct_chunk((0,))
        if dtype == "bool":
            assert ours.id.get_type().enum_nameof(1) == b"TRUE"


@pytest.mark.skipif(
    "track_times" not in inspect.signature(h5py.Group.create_group).parameters,
    reason="this h5py gives times to groups",
)
@pytest.mark.parametrize("oldest_reader", ["earliest", "v110"])
def test_same_content_gives_the_same_bytes(tmp_path: Path, oldest_reader: str) -> None:
    rows = random_rows(20, 64, "bool")
    contents = []
    for name in ("first", "second"):
        with create_hdf5(tmp_path / name, oldest_reader=oldest_reader) as file:
            write_vectors(file.create_group("masks/layer_0"), [f"{i}" for i in range(20)], rows)
            write_scalars(file.create_group("n_prompts"), ["a"], [50])
            write_strings(file.create_group("metadata"), "names", ["For"])
            file["metadata"].attrs["epsilon"] = 0.5
            times = [h5py.h5o.get_info(file[part].id).mtime for part in ("masks", "metadata/names", "masks/layer_0/3")]
        assert times == [0, 0, 0]
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_single_chunks_without_index_take_less_room(tmp_path: Path) -> None:
    for oldest_reader in ("earliest", "v110"):
        with create_hdf5(tmp_path / oldest_reader, oldest_reader=oldest_reader) as file:
            write_vectors(file, [f"{i}" for i in range(100)], random_rows(100, 64, "bool"))
    assert (tmp_path / "v110").stat().st_size < (tmp_path / "earliest").stat().st_size / 4


def test_rows_of_a_transposed_array(path: Path) -> None:
    rows = random_rows(8, 5, "int32").T
    with create_hdf5(path) as file:
        write_vectors(file, list("abcde"), rows)
        write_vectors(file.create_group("plain"), list("abcde"), rows, compression_level=None)
    with h5py.File(path) as file:
        assert np.array_equal([file[name][()] for name in "abcde"], rows)
        assert np.array_equal([file[f"plain/{name}"][()] for name in "abcde"], rows)
        assert file["plain/a"].chunks is None


def test_vectors_of_width_zero(path: Path) -> None:
    with create_hdf5(path) as file:
        write_vectors(file, ["a"], np.zeros((1, 0), bool))
    with open_hdf5(path) as file:
        assert read_vectors(file, ["a"], dtype=bool, width=0).shape == (1, 0)


def test_scalars_and_strings(path: Path) -> None:
    texts = ["ZeroDivisionError", "_isolated_", "naïve", ""]
    with create_hdf5(path) as file:
        write_scalars(file.create_group("n_prompts"), ["For__abs", "If__abs"], np.array([50, 7], np.int64))
        write_strings(file, "names", texts)
        write_strings(file, "none", [])
    with h5py.File(path) as file:
        assert file["n_prompts/If__abs"].shape == ()
        assert file["n_prompts/If__abs"].dtype == np.int64
        assert file["n_prompts/If__abs"][()] == 7
        assert file["names"].dtype == h5py.string_dtype()
        assert file["names"].asstr()[:].tolist() == texts
    with open_hdf5(path) as file:
        assert child_names(file["n_prompts"]) == ["For__abs", "If__abs"]
        assert read_scalars(file["n_prompts"], ["If__abs", "For__abs"], np.int64).tolist() == [7, 50]
        assert read_strings(file["names"]) == texts
        assert read_strings(file["none"]) == []


@pytest.mark.parametrize("name", ["", ".", "a/b", "/a", "a\0b"])
def test_names_that_would_leave_the_group(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a dataset"), create_hdf5(path) as file:
        write_vectors(file.create_group("g"), [name], np.zeros((1, 4), bool))
    assert not path.exists()


def test_shapes_that_do_not_fit(path: Path) -> None:
    with create_hdf5(path) as file:
        for rows in (np.zeros((2, 4), bool), np.zeros(4, bool)):
            with pytest.raises(ValueError, match="names for an array"):
                write_vectors(file, ["a"], rows)
        with pytest.raises(ValueError, match="names for an array"):
            write_scalars(file, ["a"], [1, 2])
        with pytest.raises(ValueError, match="null character"):
            write_strings(file, "t", ["a\0b"])


def test_a_name_that_is_taken(path: Path) -> None:
    with create_hdf5(path) as file:
        write_vectors(file, ["a"], np.ones((1, 4), bool))
        with pytest.raises(ValueError, match="name already exists"):
            write_vectors(file, ["a"], np.zeros((1, 4), bool))


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_half_written(path: Path, error: BaseException) -> None:
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with create_hdf5(path) as file:
            write_vectors(file, ["a"], np.ones((1, 4), bool))
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
