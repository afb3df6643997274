"""What a walk lists, for files that are graphs: cycles, links of every kind, names that are not text."""

from __future__ import annotations

import pickle  # noqa: TID251 - what datasets does to builders
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5g, h5o

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.hdf5 import open_hdf5, tree
from circuit_artifacts.formats.hdf5.tree import Node, Tree, natural_order, type_text, walk


def listed(path: Path) -> dict[str, Node]:
    with open_hdf5(path) as file:
        found = walk(file)
    assert pickle.loads(pickle.dumps(found)) == found
    return {node.path: node for node in found.nodes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


def test_datasets_are_described_without_reading_them(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("g/x", data=np.zeros((4, 3), ">f4"), chunks=(2, 3))
        data.attrs["units"] = "bits"
        file["g/empty"] = h5py.Empty("i8")
        file["g/scalar"] = "text"
        file["t"] = np.dtype("u2")
    nodes = listed(path)
    assert list(nodes) == ["/", "/g", "/g/empty", "/g/scalar", "/g/x", "/t"]
    x = nodes["/g/x"]
    assert (x.kind, x.shape, x.dtype, x.n_attributes, x.storage_bytes) == ("dataset", (4, 3), ">f4", 1, 48)
    assert (x.name, x.parent, nodes["/g"].parent, nodes["/"].name) == ("x", "/g", "/", "")
    assert (nodes["/g/empty"].shape, nodes["/g/empty"].dtype) == (None, "int64")
    assert (nodes["/g/scalar"].shape, nodes["/g/scalar"].dtype) == ((), "string")
    assert (nodes["/t"].kind, nodes["/t"].dtype) == ("type", "uint16")


def test_a_group_inside_itself_is_cut_and_says_what_it_repeats(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["g/x"] = 1
        file["g/again"] = file["g"]
        file["g/root"] = h5py.SoftLink("/")
    nodes = listed(path)
    assert list(nodes) == ["/", "/g", "/g/again", "/g/root", "/g/x"]
    assert (nodes["/g/again"].kind, nodes["/g/again"].target) == ("repeated", "/g")
    assert (nodes["/g/root"].kind, nodes["/g/root"].target) == ("repeated", "/")


def test_an_object_with_two_names_is_there_twice(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a/x"] = np.arange(3)
        file["b"] = file["a"]
        file["y"] = file["a/x"]
    nodes = listed(path)
    assert [p for p, node in nodes.items() if node.kind == "dataset"] == ["/a/x", "/b/x", "/y"]
    assert len({nodes[p].address for p in ("/a/x", "/b/x", "/y")}) == 1


def test_soft_links_lead_to_what_they_name_from_where_they_are(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a/b/x"] = np.arange(3)
        file["a/near"] = h5py.SoftLink("b/./x")
        file["a/chain"] = h5py.SoftLink("/far")
        file["far"] = h5py.SoftLink("/a/b")
        file["nothing"] = h5py.SoftLink("/a/b/x/deeper")
        file["circle"] = h5py.SoftLink("circle")
    nodes = listed(path)
    assert (nodes["/a/near"].kind, nodes["/a/near"].target, nodes["/a/near"].shape) == ("dataset", "b/./x", (3,))
    assert nodes["/a/chain/x"].shape == nodes["/far/x"].shape == (3,)
    assert nodes["/nothing"].kind == nodes["/circle"].kind == "dangling link"


def test_nothing_outside_the_file_is_followed(path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["x"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(path.with_name("other.h5"), "x", (3,), "i8")
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/x")
        file["through"] = h5py.SoftLink("/link/deeper")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("stored", (3,), "i8", external=[(str(path.with_name("raw.bin")), 0, 24)])
    nodes = listed(path)
    assert {p: node.target for p, node in nodes.items() if node.kind == "external link"} == {
        "/link": "other.h5:/x",
        "/through": "/link/deeper -> other.h5:/x",
    }
    assert (nodes["/virtual"].foreign, nodes["/stored"].foreign) == ("a virtual dataset", "external storage")


def test_names_that_are_not_utf8_are_kept(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1
        file.id.links.create_hard(b"n\xff", file.id, b"x")
    assert list(listed(path)) == ["/", "/n\udcff", "/x"]


def test_a_name_with_a_slash_is_refused(path: Path) -> None:
    """It would be resolved as a path, through whatever link is on the way."""
    with h5py.File(path, "w") as file:
        file["aXb"] = 1
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a/b"))
    with open_hdf5(path) as file, pytest.raises(FormatError, match="'a/b'"):
        walk(file)


def test_each_object_is_opened_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "w") as file:
        for number in range(20):
            file[f"g{number % 2}/x{number}"] = number
        file["again"] = file["g0"]
        file["g1/up"] = file["/"]
    opened: list[bytes] = []
    open_object = h5o.open
    monkeypatch.setattr(h5o, "open", lambda group, name, **how: opened.append(name) or open_object(group, name, **how))
    nodes = listed(path)
    assert len(nodes) == 1 + 3 + 30 + 1  # the root, three groups, their datasets, the root again
    assert len([name for name in opened if name != b"/"]) == 22


def test_groups_that_multiply_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty groups, each twice in the one before: a trillion paths in a file of some kilobytes."""
    with h5py.File(path, "w") as file:
        group = file.create_group("g")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    monkeypatch.setattr(tree, "_MOST_PATHS", 1000)
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="too many"):
        walk(file)


def test_long_names_that_multiply_are_refused(path: Path) -> None:
    """Ten groups, each ten times in the one before under long names: the paths would take hundreds of gigabytes."""
    with h5py.File(path, "w", libver="latest") as file:
        group: h5py.Group = file
        for _ in range(10):
            inner = group.create_group("0" * 20_000)
            for number in range(1, 10):
                group[str(number) * 20_000] = inner
            group = inner
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="too long") as caught:
        walk(file)
    assert (caught.value.file, len(str(caught.value)) < 500) == (str(path), True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_no_path_is_lost_at_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "w") as file:
        file["g/x"], file["g/y"] = 1, 2
    monkeypatch.setattr(tree, "_MOST_PATHS", 4)
    monkeypatch.setattr(tree, "_MOST_CHARACTERS", len("/" + "/g" + "/g/x" + "/g/y"))
    assert list(listed(path)) == ["/", "/g", "/g/x", "/g/y"]
    for limit in ("_MOST_PATHS", "_MOST_CHARACTERS"):
        with monkeypatch.context() as less, open_hdf5(path) as file:
            less.setattr(tree, limit, getattr(tree, limit) - 1)
            with pytest.raises(SchemaError, match="too many"):
                walk(file)


def test_groups_nested_without_end_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(300):
            group = group.create_group("g")
    with open_hdf5(path) as file, pytest.raises(SchemaError, match="256 levels"):
        walk(file)


def test_a_damaged_object_is_named(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["group/x"] = np.arange(1000)
        address = h5o.get_info(file["group/x"].id).addr
    damaged = bytearray(path.read_bytes())
    damaged[address : address + 16] = b"\xff" * 16
    path.write_bytes(damaged)
    with open_hdf5(path) as file, pytest.raises(FormatError, match="group") as caught:
        walk(file)
    assert caught.value.file == str(path)


def test_a_damaged_object_below_a_name_that_is_not_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000))
        group = h5g.create(file.id, b"group\xff")
        group.links.create_hard(b"x", file.id, b"x")
        address = h5o.get_info(file["x"].id).addr
        del file["x"]
    damaged = bytearray(path.read_bytes())
    damaged[address : address + 16] = b"\xff" * 16
    path.write_bytes(damaged)
    with open_hdf5(path) as file, pytest.raises(FormatError) as caught:
        walk(file)
    assert caught.value.where == r"/group\xff"


def test_numbers_in_names_are_ordered_by_value() -> None:
    names = ["layer_10", "layer_9", "layer_09", "a", "layer_" + "9" * 5000, "10", "9", "x2y10", "x2y9"]
    assert sorted(names, key=natural_order) == [
        "9", "10", "a", "layer_09", "layer_9", "layer_10", "layer_" + "9" * 5000, "x2y9", "x2y10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (np.dtype("f2"), "float16"),
        (np.dtype("bool"), "bool"),
        (h5py.string_dtype(), "string"),
        (h5py.string_dtype("ascii", 5), "string[5]"),
        (h5py.enum_dtype({"b": 1, "a": 0}, "i1"), "enum<int8>{a=0, b=1}"),
        (h5py.vlen_dtype(np.dtype("i4")), "list<int32>"),
        (h5py.vlen_dtype(h5py.string_dtype()), "list<string>"),
        (h5py.ref_dtype, "reference"),
        (h5py.regionref_dtype, "region reference"),
        (np.dtype("V5"), "opaque[5]"),
        (h5py.opaque_dtype(np.dtype("M8[ns]")), "datetime64[ns]"),
        (np.dtype([("a", "i4", (2, 3)), ("b", h5py.string_dtype())]), "{a: int32[2, 3], b: string}"),
    ],
)
def test_types_as_text(dtype: np.dtype, text: str) -> None:
    assert type_text(dtype) == text


def test_kinds_are_selected_in_order() -> None:
    found = Tree("x.h5", (Node("/", "group"), Node("/a", "dataset"), Node("/b", "group")))
    assert [node.path for node in found.of_kind("group")] == ["/", "/b"]
