"""Any HDF5 file as rows: nothing cut to fit, nothing dropped without a word, one layout for all files."""

from __future__ import annotations

import itertools
import json
import logging
import pickle  # noqa: TID251 - what datasets does to builders
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from circuit_artifacts.errors import FormatError, SchemaError, UnknownNameError, UnsafeContentError
from circuit_artifacts.formats.hdf5 import layouts, parts
from circuit_artifacts.formats.hdf5.layouts import Options, plan_files, schema_of, shards_of

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of the given datasets; attributes are keyed by ``path@name``."""

    def write_one(name: str, content: dict[str, Any]) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            for path, value in content.items():
                owner, at, key = path.partition("@")
                if at:
                    (file[f"/{owner}"] if f"/{owner}" in file else file.create_group(owner)).attrs[key] = value
                else:
                    file[path] = value
        return tmp_path / name

    return write_one


def table(*files: Path, **options: Any) -> pa.Table:
    """All rows, read in shards by plans that went through a pickle."""
    plans = pickle.loads(pickle.dumps(plan_files(files, Options(**options))))
    schema = schema_of(plans)
    tables = [t for plan, start, stop in shards_of(plans) for t in plans[plan].tables(start, stop, schema)]
    return pa.concat_tables([schema.empty_table(), *tables])


def rows(*files: Path, **options: Any) -> list[dict[str, Any]]:
    return table(*files, **options).to_pylist()


UNEQUAL = {"x": np.arange(6), "y": np.arange(9)}
DEMOS = {
    "data/demo_0/actions": np.ones((2, 2)),
    "data/demo_0/obs/state": np.arange(2, dtype="f4"),
    "data/demo_1/actions": np.zeros((3, 2)),
    "data/demo_1/obs/state": np.arange(3, dtype="f4"),
}
SAMPLES = {"s0/signal": np.arange(3), "s0/label": 1, "s1/signal": np.arange(3) * 2, "s1/label": 0}


# rows


def test_scalars_and_null_dataspaces_are_the_same_in_all_rows(write: Write) -> None:
    path = write("x.h5", {"g/x": [1, 2], "g/scale": 0.5, "name": "a", "nothing": h5py.Empty("f4")})
    assert rows(path) == [
        {"g": {"scale": 0.5, "x": 1}, "name": "a", "nothing": None},
        {"g": {"scale": 0.5, "x": 2}, "name": "a", "nothing": None},
    ]
    assert table(path).schema.field("nothing").type == pa.float32()


def test_unequal_lengths_are_refused_with_every_length(write: Write) -> None:
    path = write("x.h5", UNEQUAL)
    with pytest.raises(SchemaError, match="/x: 6, /y: 9") as caught:
        rows(path, layout="rows")
    assert caught.value.file == str(path)
    assert "leaves" in str(caught.value.remedy)


def test_no_rows_keep_their_types(write: Write) -> None:
    path = write("x.h5", {"x": np.zeros((0, 3), "f4"), "scale": 1})
    assert table(path).schema == pa.schema({"scale": pa.int64(), "x": pa.list_(pa.float32(), 3)})
    assert rows(path) == []


def test_tables_are_cut_between_chunks(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parts, "TABLE_BYTES", 1 << 12)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.arange(2000.0), chunks=(150,))
    (plan,) = plan_files([tmp_path / "x.h5"], Options())
    assert {span.start % 150 for span in plan.spans} == {0}
    assert max(span.stop - span.start for span in plan.spans) == 450
    tables = list(plan.tables(0, len(plan), schema_of([plan])))
    assert [len(t) for t in tables] == [450, 450, 450, 450, 200]
    assert pa.concat_tables(tables)["x"].to_pylist() == list(range(2000))


def test_absurd_numbers_of_rows_are_refused_at_once(write: Write) -> None:
    # Holds down: a file of two kilobytes that took all memory, for a list of the pieces it declares.
    path = write("x.h5", {})
    with h5py.File(path, "a") as file:
        file.create_dataset("x", (1 << 60,), "i1", chunks=(1 << 20,))
    with pytest.raises(SchemaError, match=r"x\.h5:/: more rows are declared than can be read"):
        rows(path)


def test_columns_nested_too_deep_for_arrow_become_leaves(write: Write) -> None:
    path = write("x.h5", {"g/" * 40 + "x": [1, 2]})
    with pytest.raises(SchemaError, match="nested"):
        rows(path, layout="rows")
    with pytest.warns(UserWarning, match="nested"):
        assert [row["value"] for row in rows(path)] == [[1, 2]]


def test_what_only_matlab_reads_is_left_out_and_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("x.mat", {"x": [1, 2], "#refs#/a": np.arange(7)})
    assert rows(path) == [{"x": 1}, {"x": 2}]
    assert "/#refs#/a" in caplog.text


def test_dangling_links_are_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("x.h5", {"x": [1], "l": h5py.SoftLink("/nowhere")})
    assert rows(path) == [{"x": 1}]
    assert caplog.text.count("/l (dangling link)") == 1
    assert rows(path, layout="leaves")[0]["note"] == "dangling link to /nowhere, not read"


# stack and records


def test_groups_of_unequal_length_are_stacked(write: Write) -> None:
    path = write("x.h5", DEMOS)
    found = rows(path)
    assert [row["group"] for row in found] == ["demo_0"] * 2 + ["demo_1"] * 3
    assert found[1] == {"group": "demo_0", "actions": [1.0, 1.0], "obs": {"state": 1.0}}
    assert found[4] == {"group": "demo_1", "actions": [0.0, 0.0], "obs": {"state": 2.0}}


def test_groups_come_in_the_order_of_their_numbers(write: Write) -> None:
    path = write("x.h5", {f"demo_{n}/x": np.arange(n) for n in (10, 9, 1)})
    assert list(dict.fromkeys(row["group"] for row in rows(path))) == ["demo_1", "demo_9", "demo_10"]


def test_groups_may_differ_in_the_width_of_numbers(write: Write) -> None:
    path = write("x.h5", {"a/x": np.arange(2, dtype="i2"), "b/x": np.arange(3, dtype="f4")})
    assert table(path).schema.field("x").type == pa.float32()


def test_a_sample_per_group_is_a_record(write: Write) -> None:
    """Also as rows it would fit: five columns of groups and three rows, which nobody means."""
    found = rows(write("x.h5", SAMPLES))
    assert found == [
        {"group": "s0", "label": 1, "signal": [0, 1, 2]},
        {"group": "s1", "label": 0, "signal": [0, 2, 4]},
    ]


def test_one_group_alone_can_be_stacked_or_a_record(write: Write) -> None:
    path = write("x.h5", {"data/demo_0/x": [1, 2], "data/demo_0/obs/y": [3, 4]})
    assert rows(path, layout="stack") == [
        {"group": "demo_0", "obs": {"y": 3}, "x": 1},
        {"group": "demo_0", "obs": {"y": 4}, "x": 2},
    ]
    assert rows(path, layout="records") == [{"group": "demo_0", "obs": {"y": [3, 4]}, "x": [1, 2]}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"x": [1]}, "no sibling groups"),
        ({"a/x": [1], "b/y": [1]}, "/b: sibling groups hold different datasets: x"),
        ({"a/x": [1], "b/x": ["text"]}, "/b: sibling groups hold different datasets: x"),
        ({"a/x": [1], "b/x": [[1]]}, "rank 2"),
        ({"a/x": [1], "b/x": [2], "b/y": [1, 2]}, "y"),
        ({"a/x": [1], "a/y": [1, 2], "b/x": [1], "b/y": [1]}, "/a/x: 1, /a/y: 2"),
        ({"a/x": [1], "b/x": [2], "c@note": "no dataset"}, "/c: a sibling group holds no dataset"),
    ],
)
def test_groups_that_are_no_siblings_are_refused(write: Write, content: dict[str, Any], problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        rows(write("x.h5", content), layout="stack")


def test_a_dataset_called_group_keeps_its_name(write: Write) -> None:
    path = write("x.h5", {"a/group": [1], "b/group": [2, 3]})
    assert rows(path)[0] == {"group": 1, "group_": "a"}


# leaves


def test_leaves_lists_everything_with_its_type_and_shape(write: Write) -> None:
    path = write("x.h5", UNEQUAL | {"x@units": "bits"})
    with pytest.warns(UserWarning, match="layout 'leaves'.*/x: 6, /y: 9"):
        found = rows(path)
    assert found[0] == {
        "path": "x",
        "dtype": "int64",
        "shape": [6],
        "attrs": '{"units": "bits"}',
        "note": None,
        "value": [0, 1, 2, 3, 4, 5],
    }


def test_each_type_of_values_has_its_column(write: Write) -> None:
    content = {
        "a": np.float32(1),
        "b": ["x", "y"],
        "c": np.zeros((2, 2), bool),
        "d": np.zeros(1, [("k", "i1")]),
        "e": np.zeros(1, [("k", "i2")]),
        "f": h5py.Empty("i4"),
        "g": np.zeros(1, h5py.enum_dtype({"no": 0, "yes": 1}, "i1")),
        "h": np.zeros(1, h5py.enum_dtype({"a": 0, "b": 1}, "i1")),
    }
    found = rows(write("x.h5", content), layout="leaves")
    values = [{k: v for k, v in row.items() if k.startswith("value") and v is not None} for row in found]
    assert values == [
        {"value_float32": [1.0]},
        {"value_string": ["x", "y"]},
        {"value_bool": [False] * 4},
        {"value_struct": [{"k": 0}]},
        {"value_struct_2": [{"k": 0}]},
        {},
        {"value_int8": [0]},
        {"value_int8_2": [0]},
    ]
    assert [row["shape"] for row in found] == [[], [2], [2, 2], [1], [1], None, [1], [1]]
    assert found[5]["note"] == "empty"


def test_a_file_of_attributes_alone_has_a_row_per_group(write: Write) -> None:
    path = write("x.h5", {"@model": "csp", "run@seed": 7, "run/empty@rates": [0.5, 0.25]})
    found = rows(path)
    assert {row["path"]: json.loads(row["attrs"]) for row in found} == {
        "/": {"model": "csp"},
        "run": {"seed": 7},
        "run/empty": {"rates": [0.5, 0.25]},
    }


def test_paths_become_columns(write: Write) -> None:
    content = {f"pair_masks/layer_{n}/{key}": [n == 9] for n in (10, 9) for key in ("Add__abs", "Call____import__")}
    path = write("x.h5", content | {"names": ["a", "b"], "pair_masks/layer_x/Add__abs": [True]})
    found = rows(path, layout="leaves", select="pair_masks/layer_{layer:int}/{ast}__{builtin}")
    assert [(row["layer"], row["ast"], row["builtin"], row["value"]) for row in found] == [
        (9, "Add", "abs", [True]),
        (9, "Call", "__import__", [True]),
        (10, "Add", "abs", [False]),
        (10, "Call", "__import__", [False]),
    ]


@pytest.mark.parametrize(
    ("select", "paths"),
    [
        ("*", ["x"]),
        ("**", ["a/b/x", "a/x", "x"]),
        ("**/x", ["a/b/x", "a/x", "x"]),
        ("/a/*", ["a/x"]),
        ("a/**", ["a/b/x", "a/x"]),
        ("{any}/x", ["a/x"]),
    ],
)
def test_patterns(write: Write, select: str, paths: list[str]) -> None:
    path = write("x.h5", {"x": [1], "a/x": [1], "a/b/x": [1]})
    assert [row["path"] for row in rows(path, layout="leaves", select=select)] == paths


@pytest.mark.parametrize("select", ["a{", "{a:float}", "{a}{a}", "{}", "}"])
def test_what_is_no_pattern_is_refused(write: Write, select: str) -> None:
    with pytest.raises(SchemaError, match="not a pattern"):
        rows(write("x.h5", {"x": [1]}), select=select)


def test_a_pattern_that_selects_nothing_names_paths_that_are_there(write: Write) -> None:
    with pytest.raises(SchemaError, match="paths such as x, y"):
        rows(write("x.h5", UNEQUAL), select="pair_masks/*")


def test_a_pattern_filters_other_layouts_too(write: Write) -> None:
    assert rows(write("x.h5", UNEQUAL), layout="rows", select="x")[5] == {"x": 5}
    masked = write("y.h5", DEMOS | {"mask/train": ["demo_0"]})
    assert len(rows(masked, layout="stack", select="data/**")) == 5


# attributes


ATTRIBUTES = {"@total": 5, "data@env": "lift", "data/demo_0@success": True, "data/demo_1@success": False}


@pytest.mark.parametrize(("content", "n"), [({"x": [1], "x@units": "K", "@eps": 0.5}, 2), (DEMOS | ATTRIBUTES, 4)])
def test_attributes_left_out_are_said(
    write: Write, content: dict[str, Any], n: int, caplog: pytest.LogCaptureFixture
) -> None:
    rows(write("x.h5", content))
    assert [f" {n} attributes" in r.message for r in caplog.records if "attrs=" in r.message] == [True]


def test_attributes_as_columns(write: Write) -> None:
    path = write("x.h5", {"g/x": [1, 2], "g/x@units": "K", "@eps": 0.5})
    assert rows(path, attrs="columns")[1] == {"@eps": 0.5, "g/x@units": "K", "g": {"x": 2}}
    stacked = rows(write("y.h5", DEMOS | ATTRIBUTES), attrs="columns")
    assert [row["@success"] for row in stacked] == [True] * 2 + [False] * 3
    assert (stacked[0]["/@total"], stacked[0]["/data@env"]) == (5, "lift")


def test_attributes_as_json(write: Write) -> None:
    path = write("x.h5", DEMOS | ATTRIBUTES)
    assert json.loads(rows(path, attrs="json")[4]["attrs"]) == {
        "/": {"total": 5},
        "/data": {"env": "lift"},
        "/data/demo_1": {"success": False},
    }
    leaves = rows(path, layout="leaves", attrs="json")
    assert [row["path"] for row in leaves if row["note"] == "group"] == ["/", "data", "data/demo_0", "data/demo_1"]


# several files


def test_columns_of_all_files_with_nulls_where_missing(write: Write) -> None:
    one = write("1.h5", {"x": np.arange(2, dtype="i2"), "g/a": ["p", "q"]})
    two = write("2.h5", {"x": np.array([0.5], "f4"), "g/b": [7], "late": [1.0]})
    assert rows(one, two) == [
        {"g": {"a": "p", "b": None}, "x": 0.0, "late": None},
        {"g": {"a": "q", "b": None}, "x": 1.0, "late": None},
        {"g": {"a": None, "b": 7}, "x": 0.5, "late": 1.0},
    ]
    assert table(one, two).schema.field("x").type == pa.float32()


@pytest.mark.parametrize(
    ("one", "two", "common"),
    [
        (np.int32(1), np.int64(1), pa.int64()),
        (np.uint8(1), np.int8(1), pa.int16()),
        (np.int64(1), np.float64(1), pa.float64()),
        (np.zeros(2), np.zeros(3, "f4"), pa.list_(pa.float64())),
    ],
)
def test_types_widen(write: Write, one: Any, two: Any, common: pa.DataType) -> None:
    files = write("1.h5", {"x": [one]}), write("2.h5", {"x": [two]})
    assert table(*files).schema.field("x").type == common


@pytest.mark.parametrize("two", [["text"], np.array([True]), np.array([1], np.uint64), np.zeros(1, [("k", "i1")])])
def test_types_that_no_type_holds_are_refused_with_both_files(write: Write, two: Any) -> None:
    files = write("1.h5", {"x": [1]}), write("2.h5", {"x": two})
    with pytest.raises(SchemaError, match=r"2\.h5:x.*int64 as in .*1\.h5"):
        table(*files)


def test_labels_that_mean_different_things_are_refused(write: Write) -> None:
    """Code 1 is not the same answer in both; also inside lists and structs, where Arrow does not compare it."""
    one, two = (
        h5py.enum_dtype({name: n for n, name in enumerate(names)}, "i1") for names in (["no", "yes"], ["a", "b"])
    )
    for shape, kind in ((3, lambda enum: enum), ((3, 2), lambda enum: enum), (3, lambda enum: np.dtype([("k", enum)]))):
        files = write("1.h5", {"x": np.zeros(shape, kind(one))}), write("2.h5", {"x": np.zeros(shape, kind(two))})
        with pytest.raises(SchemaError, match=r"2\.h5:x"):
            table(*files)
        assert len(table(files[0], write("3.h5", {"x": np.zeros(shape, kind(one))}))) == 6


def test_a_value_that_does_not_fit_is_refused_not_rounded(write: Write) -> None:
    files = write("1.h5", {"x": [2**53 + 1]}), write("2.h5", {"x": [0.5]})
    with pytest.raises(SchemaError, match=r"1\.h5:x.*9007199254740993"):
        table(*files)


def test_one_layout_for_all_files(write: Write) -> None:
    table_like, unequal = write("1.h5", {"x": [1], "y": [2]}), write("2.h5", UNEQUAL)
    with pytest.warns(UserWarning, match=r"2\.h5.*layout 'leaves'"):
        assert [row["path"] for row in rows(table_like, unequal)] == ["x", "y", "x", "y"]


def test_an_empty_file_among_others_has_no_rows(write: Write) -> None:
    assert rows(write("1.h5", {}), write("2.h5", {"x": [1]})) == [{"x": 1}]
    with pytest.raises(SchemaError, match="no dataset"):
        rows(write("3.h5", {}), layout="rows")


def test_a_dataset_here_and_a_group_there_are_refused(write: Write) -> None:
    with pytest.raises(SchemaError, match="name of a group"):
        rows(write("1.h5", {"x": [1]}), write("2.h5", {"x/y": [1]}))


def test_each_file_is_walked_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    walk = layouts.walk
    monkeypatch.setattr(layouts, "walk", lambda file: walked.append(file.filename) or walk(file))
    files = [write(f"{n}.h5", {"x": [1]}) for n in range(3)]
    rows(*files)
    assert walked == [str(path) for path in files]


def test_shards_are_few_and_complete(write: Write) -> None:
    many = plan_files([write("x.h5", {f"g{n}/x": np.arange(n) for n in range(1, 41)})], Options())
    shards = shards_of(many)
    assert len(shards) == 14
    assert [shards[0][1], shards[-1][2]] == [0, 40]
    assert all(one[2] == next_one[1] for one, next_one in itertools.pairwise(shards))
    assert len(shards_of(many * 40)) == 40


# nothing outside


def outside(path: Path, how: str) -> None:
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["x"] = np.full(5, 8675309)
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource(other, "x", (5,), "i8")
    with h5py.File(path, "a") as file:
        if how == "link":
            file["bad"] = h5py.ExternalLink("other.h5", "/x")
        elif how == "virtual":
            file.create_virtual_dataset("bad", layout)
        else:
            file.create_dataset("bad", (5,), "i8", external=[(str(other), 0, 40)])


@pytest.mark.parametrize("how", ["link", "virtual", "storage"])
def test_data_outside_the_file_are_refused_by_name_or_listed_unread(write: Write, how: str) -> None:
    path = write("x.h5", {"x": np.arange(5)})
    outside(path, how)
    for layout in ("auto", "rows", "stack", "records"):
        with pytest.raises(UnsafeContentError, match="/bad"):
            rows(path, layout=layout)
    found = rows(path, layout="leaves")
    assert [(row["path"], row["value"]) for row in found] == [("bad", None), ("x", [0, 1, 2, 3, 4])]
    assert "not read" in found[0]["note"]
    assert rows(path, select="x") == [{"x": n} for n in range(5)]


def test_auto_says_what_it_chose(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="circuit_artifacts")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows(write("x.h5", DEMOS))
    assert [r.message for r in caplog.records] == ["layout 'stack' for 1 file"]


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="auto, rows, stack"):
        Options(layout="tree")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="none, columns"):
        Options(attrs="all")  # type: ignore[arg-type]


def test_what_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("layer,feature\n")
    with pytest.raises(FormatError, match="not a complete HDF5 file"):
        rows(tmp_path / "x.h5")


def test_names_that_are_not_text_are_shown_and_still_read(write: Write) -> None:
    path = write("x.h5", {"x": [1]})
    with h5py.File(path, "a") as file:
        file.id.links.create_hard(b"n\xff", file.id, b"x")
    assert rows(path) == [{r"n\xff": 1, "x": 1}]
    assert [row["path"] for row in rows(path, layout="leaves")] == [r"n\xff", "x"]
