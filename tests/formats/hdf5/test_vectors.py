"""Reading HDF5: every storage gives the same values, every pathology a located error. Oracle: plain h5py and numpy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_artifacts.errors import (
    CircuitArtifactsError,
    FormatError,
    MissingArtifactError,
    SchemaError,
    SourceError,
    UnsafeContentError,
)
from circuit_artifacts.formats.hdf5 import (
    child_names,
    layer_groups,
    open_dataset,
    open_group,
    open_hdf5,
    open_object,
    read_attributes,
    read_scalars,
    read_strings,
    read_vectors,
)
from circuit_artifacts.formats.hdf5.chunks import read_alike

GZIP: dict[str, Any] = {"compression": "gzip", "compression_opts": 4}
LIBVERS = ["earliest", "v108", "v110", "latest"]
STORAGES: dict[str, dict[str, Any]] = {
    "gzip": GZIP,
    "gzip in several chunks": {**GZIP, "chunks": (3,)},
    "gzip in a chunk longer than the data": {**GZIP, "chunks": (256,), "maxshape": (None,)},
    "gzip and shuffle": {**GZIP, "shuffle": True},
    "gzip and checksum": {**GZIP, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "contiguous": {},
    "chunked and plain": {"chunks": True},
    "gzip with times": {**GZIP, "track_times": True},
}


def masks(count: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random((count, width)) < 0.2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


@pytest.fixture
def rows_without_library(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions that the fast path has delivered, template included."""
    delivered: list[int] = []

    def spy(*arguments: Any) -> Any:
        for position, data in read_alike(*arguments):
            delivered.append(position)
            yield position, data

    monkeypatch.setattr("circuit_artifacts.formats.hdf5.vectors.read_alike", spy)
    return delivered


def write_rows(path: Path, rows: np.ndarray[Any, Any], libver: str = "earliest", **storage: Any) -> list[str]:
    names = [f"row{i:04d}" for i in range(len(rows))]
    with h5py.File(path, "w", libver=(libver, "latest")) as file:
        for name, row in zip(names, rows, strict=True):
            file.create_dataset(name, data=row, **storage)
    return names


def read_rows(path: Path, **arguments: Any) -> np.ndarray[Any, Any]:
    with open_hdf5(path) as file:
        return read_vectors(file, child_names(file), **arguments)


# Values


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
def test_published_storage_is_read_by_the_fast_path(
    path: Path, rows_without_library: list[int], libver: str, dtype: str
) -> None:
    rows = np.random.default_rng(1).integers(0, 2, (30, 2048)).astype(dtype)
    rows[7] = 0
    write_rows(path, rows, libver, **GZIP)
    found = read_rows(path, dtype=dtype, width=2048)
    assert found.dtype == dtype
    assert np.array_equal(found, rows)
    assert found.flags.writeable
    assert rows_without_library == list(range(30))


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">f4", "<f4", ">i4", "<i4"])
def test_every_storage_gives_the_same_values(path: Path, libver: str, storage: str, dtype: str) -> None:
    rows = np.random.default_rng(2).integers(0, 2, (6, 40)).astype(dtype)
    write_rows(path, rows, libver, **STORAGES[storage])
    wanted = "bool" if rows.itemsize == 1 else np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(read_rows(path, dtype=wanted), rows.astype(wanted))


@settings(max_examples=40)
@given(
    width=st.integers(1, 200),
    count=st.integers(0, 12),
    dtype=st.sampled_from(["bool", "float32", "int32", ">f4"]),
    libver=st.sampled_from(LIBVERS),
    kinds=st.lists(st.sampled_from([name for name in STORAGES if "longer" not in name]), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_round_trip_of_mixed_storages(
    width: int, count: int, dtype: str, libver: str, kinds: list[str], seed: int
) -> None:
    bits = np.random.default_rng(seed).integers(0, 256, (count, width * 4), np.uint8)
    rows = bits[:, :width] > 127 if dtype == "bool" else bits.view(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.h5"
        with h5py.File(path, "w", libver=(libver, "latest")) as file:
            for i, row in enumerate(rows):
                storage = dict(STORAGES[kinds[i % len(kinds)]])
                if "chunks" in storage:
                    storage["chunks"] = (min(width, 3),)
                file.create_dataset(f"{i:02d}", data=row, **storage)
        found = read_rows(path, dtype=np.dtype(dtype).newbyteorder("="), width=width)
    assert found.dtype.isnative
    assert found.astype(dtype).tobytes() == rows.tobytes()  # bytes: random floats may be NaN


def test_one_odd_dataset_does_not_slow_or_spoil_the_others(path: Path, rows_without_library: list[int]) -> None:
    rows = masks(50, 64)
    names = write_rows(path, rows, **GZIP)
    with h5py.File(path, "r+") as file:
        for odd, storage in ((0, {}), (20, {"shuffle": True, **GZIP}), (30, GZIP)):
            del file[names[odd]]
            file.create_dataset(names[odd], data=rows[odd], **storage)
        file[names[30]].attrs["note"] = "an attribute changes the object header"
    assert np.array_equal(read_rows(path, dtype=bool), rows)
    # 1 to 49 without 20 and 30; then 30 is tried as the model of others and finds itself.
    assert len(rows_without_library) == 48


def test_chunk_that_was_never_written_holds_the_fill_value(path: Path) -> None:
    write_rows(path, masks(3, 16), **GZIP)
    with h5py.File(path, "r+") as file:
        file.create_dataset("row9999", (16,), bool, **GZIP)
    assert not read_rows(path, dtype=bool)[3].any()


def test_chunk_stored_without_its_filter(path: Path) -> None:
    rows = masks(3, 16)
    names = write_rows(path, rows, "v110", **GZIP)
    with h5py.File(path, "r+") as file:
        del file[names[1]]
        file.create_dataset(names[1], (16,), bool, **GZIP).id.write_direct_chunk((0,), rows[1].tobytes(), filter_mask=1)
    assert np.array_equal(read_rows(path, dtype=bool), rows)


def test_user_block_before_the_superblock(path: Path) -> None:
    rows = masks(5, 64)
    with h5py.File(path, "w", userblock_size=1024) as file:
        for i, row in enumerate(rows):
            file.create_dataset(str(i), data=row, **GZIP)
    assert np.array_equal(read_rows(path, dtype=bool), rows)


def test_file_in_memory_is_read_by_the_library(path: Path) -> None:
    rows = masks(3, 16)
    write_rows(path, rows, **GZIP)
    with path.open("rb") as raw, h5py.File(raw, "r") as file:
        assert np.array_equal(read_vectors(file, sorted(file), dtype=bool), rows)


def test_unflushed_changes_are_seen(path: Path) -> None:
    rows = masks(3, 16)
    names = write_rows(path, rows, **GZIP)
    with h5py.File(path, "r+") as file:
        file[names[2]][...] = ~rows[2]
        assert np.array_equal(read_vectors(file, names, dtype=bool)[2], ~rows[2])


def test_names_in_the_order_asked_for(path: Path) -> None:
    rows = masks(4, 16)
    names = write_rows(path, rows, **GZIP)
    with open_hdf5(path) as file:
        found = read_vectors(file, [names[2], names[0], names[2]], dtype=bool)
        assert read_vectors(file, [], dtype=bool, width=16).shape == (0, 16)
    assert np.array_equal(found, rows[[2, 0, 2]])


# Vectors that are not what was declared

PATHOLOGIES: dict[str, tuple[Any, str, str]] = {
    "mask of floats": (np.zeros(16, "f4"), "float32 (16,)", "bool (16,)"),
    "mask of 32-bit integers": (np.zeros(16, "i4"), "int32 (16,)", "bool (16,)"),
    "mask that is too short": (np.zeros(15, bool), "bool (15,)", "bool (16,)"),
    "empty mask": (np.zeros(0, bool), "bool (0,)", "bool (16,)"),
    "scalar": (np.True_, "bool ()", "bool (16,)"),
    "matrix": (np.zeros((1, 16), bool), "bool (1, 16)", "bool (16,)"),
    "null dataspace": (h5py.Empty(bool), "bool None", "bool (16,)"),
    "value two": (np.full(16, 2, "i1"), "the value 2", "0 and 1"),
    "value minus one": (np.full(16, -1, "i1"), "the value 255", "0 and 1"),
    "strings": (["a"] * 16, "object (16,)", "bool (16,)"),
}


@pytest.mark.parametrize("position", ["row0000", "row0001", "row9999"])
@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_wrong_vector_is_located(path: Path, pathology: str, position: str) -> None:
    data, found, expected = PATHOLOGIES[pathology]
    write_rows(path, masks(3, 16), **GZIP)
    with h5py.File(path, "r+") as file:
        if position in file:
            del file[position]
        file[position] = data
    with pytest.raises(SchemaError) as caught:
        read_rows(path, dtype=bool, width=16)
    assert (caught.value.file, caught.value.where) == (str(path), f"/{position}")
    assert (caught.value.found, caught.value.expected) == (found, expected)


def test_wrong_numeric_types_are_refused(path: Path) -> None:
    for stored, wanted in (("f8", "f4"), ("f2", "f4"), ("i8", "i4"), ("u4", "i4"), ("i4", "f4"), ("bool", "i4")):
        write_rows(path, np.zeros((2, 4), stored), **GZIP)
        with pytest.raises(SchemaError, match="not the declared vector"):
            read_rows(path, dtype=wanted)
    with h5py.File(path, "w") as file:
        codes = h5py.enum_dtype({"a": 0, "b": 1}, basetype="i4")
        file.create_dataset("codes", data=np.zeros(4, "i4"), dtype=codes)
    with pytest.raises(SchemaError, match="not the declared vector"):
        read_rows(path, dtype="i4")


def test_enum_of_two_bytes_is_no_boolean(path: Path) -> None:
    with h5py.File(path, "w") as file:
        codes = h5py.enum_dtype({"FALSE": 0, "TRUE": 1}, basetype="i2")
        file.create_dataset("codes", data=np.zeros(4, "i2"), dtype=codes)
    with pytest.raises(SchemaError, match="not the declared vector"):
        read_rows(path, dtype=bool)


def test_boolean_enum_holding_another_code(path: Path) -> None:
    rows = masks(4, 16)
    names = write_rows(path, rows, **GZIP)
    with h5py.File(path, "r+") as file:
        dataset = file[names[2]].id
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.full(16, 7, np.int8), dataset.get_type())
    with pytest.raises(SchemaError, match="the value 7"):
        read_rows(path, dtype=bool)


def test_zero_floats_of_the_same_byte_count_are_not_taken_for_a_mask(path: Path) -> None:
    write_rows(path, masks(3, 64), **GZIP)
    with h5py.File(path, "r+") as file:
        file.create_dataset("row9999", data=np.zeros(16, "f4"), **GZIP)
    with pytest.raises(SchemaError, match=r"float32 \(16,\)"):
        read_rows(path, dtype=bool)


def test_all_problems_are_collected_and_their_rows_left_zero(path: Path) -> None:
    rows = masks(6, 16)
    names = write_rows(path, rows, **GZIP)
    with h5py.File(path, "r+") as file:
        for name, data in ((names[0], np.zeros(3, bool)), (names[3], np.full(16, 9, "u1")), (names[5], 1.0)):
            del file[name]
            file[name] = data
    problems: list[CircuitArtifactsError] = []
    with open_hdf5(path) as file:
        found = read_vectors(file, [*names, "absent"], dtype=bool, width=16, on_error=problems.append)
    assert sorted(str(problem.where) for problem in problems) == [
        "/absent",
        f"/{names[0]}",
        f"/{names[3]}",
        f"/{names[5]}",
    ]
    assert np.array_equal(found[[1, 2, 4]], rows[[1, 2, 4]])
    assert not found[[0, 3, 5, 6]].any()


def test_all_rows_wrong_and_no_width_given(path: Path) -> None:
    problems: list[CircuitArtifactsError] = []
    with h5py.File(path, "w") as file:
        file["a"] = 1.0
    with open_hdf5(path) as file:
        assert read_vectors(file, ["a", "b"], dtype=bool, on_error=problems.append).shape == (2, 0)
    assert len(problems) == 2


def test_group_in_place_of_a_vector(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("a")
    with pytest.raises(SchemaError, match="not a dataset"):
        read_rows(path, dtype=bool)


# Nothing outside the file


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A file that reaches for its neighbours in every way HDF5 has."""
    (tmp_path / "secret.bin").write_bytes(b"\1" * 16)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["mask"] = np.ones(16, bool)
    path = tmp_path / "hostile.h5"
    with h5py.File(path, "w") as file:
        good = file.create_group("good")
        good["mask"] = np.ones(16, bool)
        good["soft"] = h5py.SoftLink("/good/mask")
        file.create_group("link")["away"] = h5py.ExternalLink("other.h5", "/mask")
        file.create_group("detour")["soft"] = h5py.SoftLink("/link/away")
        file["group_away"] = h5py.ExternalLink("other.h5", "/")
        file.create_group("storage").create_dataset("raw", (16,), "u1", external=[("secret.bin", 0, 16)])
        layout = h5py.VirtualLayout((16,), bool)
        layout[:] = h5py.VirtualSource("other.h5", "mask", (16,))
        file.create_group("virtual").create_virtual_dataset("mask", layout)
        file.create_group("dangling")["soft"] = h5py.SoftLink("/nowhere")
        circle = file.create_group("circle")
        circle["a"], circle["b"] = h5py.SoftLink("/circle/b"), h5py.SoftLink("a")
        file["root_again"] = h5py.SoftLink("/")
    return path


@pytest.mark.parametrize(
    ("group", "name", "found"),
    [
        ("link", "away", "an external link to 'other.h5'"),
        ("detour", "soft", "an external link to 'other.h5'"),
        ("storage", "raw", "external storage"),
        ("virtual", "mask", "a virtual dataset"),
    ],
)
def test_data_outside_the_file_are_refused(hostile: Path, group: str, name: str, found: str) -> None:
    with open_hdf5(hostile) as file:
        with pytest.raises(UnsafeContentError) as caught:
            read_vectors(file[group], [name], dtype=bool)
        assert caught.value.found == found
        with pytest.raises(UnsafeContentError):
            open_dataset(file, f"{group}/{name}")
        with pytest.raises(UnsafeContentError):
            read_scalars(file[group], [name], bool)


def test_listing_refuses_links_that_leave(hostile: Path) -> None:
    with open_hdf5(hostile) as file:
        for group in ("link", "detour"):
            with pytest.raises(UnsafeContentError, match="/link/away"):
                child_names(file[group])
        with pytest.raises(UnsafeContentError, match="/group_away"):
            open_group(file, "group_away/x")


def test_soft_links_are_resolved_inside_the_file(hostile: Path) -> None:
    with open_hdf5(hostile) as file:
        assert child_names(file["good"]) == ["mask", "soft"]
        assert read_vectors(file["good"], ["mask", "soft"], dtype=bool).all()
        assert open_dataset(file, "root_again/root_again/good/soft")[()].all()


@pytest.mark.parametrize(
    ("name", "problem"),
    [("dangling/soft", "a soft link that leads nowhere"), ("circle/a", "in a circle"), ("good/mask/x", "nothing")],
)
def test_links_that_lead_nowhere_are_located(hostile: Path, name: str, problem: str) -> None:
    with open_hdf5(hostile) as file:
        with pytest.raises(SchemaError, match=problem) as caught:
            open_object(file, name)
        assert caught.value.where == f"/{name}"
        with pytest.raises(SchemaError):
            read_vectors(file, [name], dtype=bool)


# Layers, scalars, strings, attributes


def test_twelve_layers_come_in_numeric_order(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for layer in range(12):
            file.create_group(f"layer_{layer}").attrs["index"] = layer
    with open_hdf5(path) as file:
        groups = layer_groups(file)
        assert list(groups) == list(range(12))
        assert [group.attrs["index"] for group in groups.values()] == list(range(12))
        assert child_names(file)[:4] == ["layer_0", "layer_1", "layer_10", "layer_11"]


@pytest.mark.parametrize("name", ["layer_01", "layer_", "layer_x", "layer_-1", "layer_1 ", "layer_²", "metadata"])
def test_what_is_not_a_layer_is_refused(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("layer_0")
        file.create_group(name)
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="not the name of a layer"):
        layer_groups(file)


def test_dataset_in_place_of_a_layer(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layer_0"] = 1
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="not a group"):
        layer_groups(file)


def test_names_in_ascii_order(path: Path) -> None:
    with h5py.File(path, "w", track_order=True) as file:
        for name in ("abs", "_isolated_", "ZeroDivisionError", "é"):
            file[name] = 1
    with open_hdf5(path) as file:
        assert child_names(file) == ["ZeroDivisionError", "_isolated_", "abs", "é"]


def test_scalars(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"], file["b"], file["c"] = np.int64(50), np.array([2**40], ">i8"), np.int32(-3)
        file["list"], file["float"], file["text"], file["null"] = [1, 2], 1.5, "x", h5py.Empty("i8")
    with open_hdf5(path) as file:
        values = read_scalars(file, ["c", "a", "b"], np.int64)
        assert values.dtype == np.int64
        assert values.tolist() == [-3, 50, 2**40]
        for name in ("list", "float", "text", "null", "absent"):
            with pytest.raises(SchemaError, match=f"/{name}"):
                read_scalars(file, [name], np.int64)


def test_strings(path: Path) -> None:
    texts = ["For", "_isolated_", "", "naïve"]
    with h5py.File(path, "w") as file:
        file.create_dataset("variable", data=texts, dtype=h5py.string_dtype())
        file.create_dataset("fixed", data=[text.encode() for text in texts], dtype=h5py.string_dtype(length=12))
        file.create_dataset("ascii", data=np.array([b"For", b"If"]))
        file["null"] = h5py.Empty(h5py.string_dtype())
        file["numbers"], file["one"] = [1, 2], "one"
        file.create_dataset("latin", data=[b"\xe9"], dtype=h5py.string_dtype())
    with open_hdf5(path) as file:
        assert read_strings(file["variable"]) == texts
        assert read_strings(file["fixed"]) == texts
        assert read_strings(file["ascii"]) == ["For", "If"]
        assert read_strings(file["null"]) == []
        for name in ("numbers", "one"):
            with pytest.raises(SchemaError, match="not a list of strings"):
                read_strings(file[name])
        with pytest.raises(FormatError, match="/latin"):
            read_strings(file["latin"])


def test_attributes_become_plain_values(path: Path) -> None:
    expected = {
        "bytes": "abc", "empty": None, "epsilon": 0.5, "flag": True, "matrix": [[1, 2], [3, 4]], "n_pairs": 1276,
        "target": "/target", "text": "csp-yolo2", "texts": ["a", "b"],
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        target = file.create_group("target")
        file.attrs.update(
            epsilon=np.float64(0.5), n_pairs=np.int64(1276), flag=np.True_, text="csp-yolo2", bytes=np.bytes_("abc"),
            texts=["a", "b"], matrix=np.array([[1, 2], [3, 4]], ">i2"), empty=h5py.Empty("f4"), target=target.ref,
        )  # fmt: skip
    with open_hdf5(path) as file:
        found = read_attributes(file)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


# Files that cannot be opened, or not read


def test_missing_file(path: Path) -> None:
    with pytest.raises(MissingArtifactError, match=r"file\.h5"), open_hdf5(path):
        pass


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError), open_hdf5(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x89HDF\r\n\x1a\n", b"PK\3\4"]
)
def test_not_an_hdf5_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match="download") as caught, open_hdf5(path):
        pass
    assert caught.value.file == str(path)


def test_errors_of_the_caller_pass_unchanged(path: Path) -> None:
    write_rows(path, masks(1, 4))
    with pytest.raises(ZeroDivisionError), open_hdf5(path):
        _ = 1 / 0


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_truncated_file_is_refused(path: Path, libver: str) -> None:
    write_rows(path, masks(8, 256), libver, **GZIP)
    content = path.read_bytes()
    for length in np.random.default_rng(0).integers(0, len(content), 40).tolist():
        path.write_bytes(content[:length])
        with pytest.raises(FormatError):
            read_rows(path, dtype=bool)


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_damaged_bytes_give_an_error_or_the_same_as_the_library(path: Path, libver: str) -> None:
    rows = masks(8, 256)
    names = write_rows(path, rows, libver, **GZIP)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    with h5py.File(path) as file:  # the chunks only: damaged metadata are the library's own affair
        places = [file[name].id.get_chunk_info(0) for name in names]
    for place in places * 3:
        damaged = bytearray(content)
        damaged[place.byte_offset + int(random.integers(place.size))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises((FormatError, SchemaError)) as caught:
            read_rows(path, dtype=bool, width=256)
        assert str(caught.value.where).startswith("/row")


def test_chunk_that_inflates_to_more_than_declared(path: Path) -> None:
    import zlib

    rows = masks(3, 16)
    names = write_rows(path, rows, "v110", **GZIP)
    with h5py.File(path, "r+") as file:
        file[names[1]].id.write_direct_chunk((0,), zlib.compress(bytes(100_000)))
    problems: list[CircuitArtifactsError] = []
    found = read_rows(path, dtype=bool, on_error=problems.append)
    assert not found[1].any()
    assert np.array_equal(found[[0, 2]], rows[[0, 2]])
