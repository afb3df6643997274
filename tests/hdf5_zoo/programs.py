"""Kinds 55 to 57 and 68 to 77: attributes, and files as programs write them; only h5py is needed to make them."""

from __future__ import annotations

import h5py
import numpy as np

from hdf5_zoo.specimen import Specimen, kind, objects

_TEXT = h5py.string_dtype()


@kind("55_attrs_only", "leaves")
def _only_attributes(made: Specimen) -> None:
    made.file.create_group("run")
    made.note("run", {"seed": 7, "rates": np.array([0.5, 0.25])})
    made.note("/", {"model": "csp"})


@kind("56_attrs_plus_data", "rows")
def _attributes_beside_data(made: Specimen) -> None:
    made.put("x", np.arange(4))
    made.note("x", {"units": "bits"})
    made.note("/", {"version": 2})


@kind("57_big_attr", "rows", libver="latest")
def _long_attribute(made: Specimen) -> None:
    made.put("x", np.arange(4))
    made.note("x", {"history": made.random.integers(0, 9, 100_000)})


@kind("68_dim_scales", "leaves")
def _dimension_scales(made: Specimen) -> None:
    temperature = made.put("temp", made.random.random((4, 3)))
    for axis, (name, length) in enumerate({"lat": 4, "lon": 3}.items()):
        made.put(name, np.arange(length)).make_scale(name)
        temperature.dims[axis].attach_scale(made.file[name])
    _note_dimensions(made, "temp", "lat", "lon")


@kind("69_netcdf4", "leaves")
def _netcdf4(made: Specimen) -> None:
    made.note("/", {"_NCProperties": "version=2,netcdf=4.9.2,hdf5=1.14.2", "Conventions": "CF-1.8"})
    values = made.put("x", made.random.random((4, 3, 2), np.float32))
    made.note("x", {"units": "K"})
    for axis, (name, length) in enumerate({"time": 4, "lat": 3, "lon": 2}.items()):
        made.put(name, np.arange(length) / 2, maxshape=(None if name == "time" else length,)).make_scale(name)
        values.dims[axis].attach_scale(made.file[name])
        made.note(name, {"_Netcdf4Dimid": axis})
    _note_dimensions(made, "x", "time", "lat", "lon")


@kind("70_matlab73", "leaves", userblock_size=512)
def _matlab(made: Specimen) -> None:
    targets = [made.put(f"#refs#/{name}", np.full((1, size), float(size))).ref for size, name in enumerate("ab", 1)]
    cells = np.array(targets, object).reshape(2, 1)
    made.put("cells", cells, dtype=h5py.ref_dtype, seen=objects("/#refs#/a", "/#refs#/b").reshape(2, 1))
    made.note("cells", {"MATLAB_class": np.bytes_("cell")})
    made.put("name", np.array([[ord(letter)] for letter in "For"], np.uint16))
    made.put("x", made.random.random((4, 1)))
    made.note("x", {"MATLAB_class": np.bytes_("double")})


@kind("71_pandas_table", "leaves")
def _pandas_table(made: Specimen) -> None:
    columns = [("index", "<i8"), ("values_block_0", "<f8", (2,))]
    table = np.zeros(5, [*columns, ("values_block_1", "S3")])
    table["index"], table["values_block_0"], table["values_block_1"] = np.arange(5), made.random.random((5, 2)), b"for"
    seen = table.astype([*columns, ("values_block_1", object)])
    seen["values_block_1"] = "for"
    made.put("frame/table", table, maxshape=(None,), chunks=(4,), seen=seen)
    made.note("frame", {"pandas_type": "frame_table", "table_type": "appendable_frame", "data_columns": ["x"]})
    made.note("frame/table", {"CLASS": "TABLE", "FIELD_0_NAME": "index", "NROWS": 5})
    for name in ("abounds", "bounds", "indices", "sorted"):
        made.put(f"frame/_i_table/index/{name}", np.zeros((0, 2) if name == "bounds" else 0))
    made.put("frame/_i_table/index/indicesLR", np.arange(8))


@kind("72_pandas_fixed", "leaves")
def _pandas_fixed(made: Specimen) -> None:
    made.file.create_group("frame")
    made.note("frame", {"pandas_type": "frame", "nblocks": 2, "axis0_variety": "regular"})
    made.put("frame/axis0", np.array([b"x", b"y", b"name"]), seen=["x", "y", "name"])
    made.put("frame/axis1", np.arange(5))
    made.put("frame/block0_items", np.array([b"x", b"y"]), seen=["x", "y"])
    made.put("frame/block0_values", made.random.random((5, 2)))
    made.put("frame/block1_items", np.array([b"name"]), seen=["name"])
    # What PyTables keeps of a column of Python objects: the bytes of a pickle, which stay bytes.
    pickled = np.frombuffer(b"\x80\x04cos\nsystem\n.", np.uint8)
    made.put("frame/block1_values", objects(pickled), dtype=h5py.vlen_dtype("u1"))


@kind("73_keras_weights", "leaves")
def _keras_weights(made: Specimen) -> None:
    for layer, (inputs, outputs) in {"dense": (4, 3), "dense_1": (3, 2)}.items():
        made.put(f"layers/{layer}/vars/0", made.random.random((inputs, outputs), np.float32))
        made.put(f"layers/{layer}/vars/1", made.random.random(outputs, np.float32))
    made.file.create_group("optimizer/vars")
    made.note("layers/dense", {"name": "dense"})


@kind("74_anndata", "leaves")
def _anndata(made: Specimen) -> None:
    made.put("X/data", made.random.random(5, np.float32))
    made.put("X/indices", np.array([0, 2, 1, 0, 2], np.int32))
    made.put("X/indptr", np.array([0, 2, 3, 4, 5], np.int32))
    made.note("X", {"encoding-type": "csr_matrix", "shape": np.array([4, 3])})
    made.put("obs/_index", objects("c0", "c1", "c2", "c3"), dtype=_TEXT)
    made.put("obs/kind/categories", objects("B", "T"), dtype=_TEXT)
    made.put("obs/kind/codes", np.array([0, 1, -1, 0], np.int8))
    made.note("obs/kind", {"encoding-type": "categorical", "ordered": False})
    made.put("var/_index", objects("g0", "g1", "g2"), dtype=_TEXT)
    made.put("uns/version", "0.12")
    made.note("/", {"encoding-type": "anndata", "encoding-version": "0.1.0"})


@kind("75_csp_atlas", "leaves")
def _atlas(made: Specimen) -> None:
    made.note("/", {"eps": 0.5})
    for layer in range(2):
        made.put(f"universal_masks/layer_{layer}/ast__For", made.random.random(32) < 0.2, compression="gzip")
        made.put(f"pair_masks/layer_{layer}/For__len", made.random.random(32) < 0.2, compression="gzip")
        made.put(f"pair_masks/layer_{layer}/If__abs", made.random.random(32) < 0.2, compression="gzip")
    made.put("keywords", objects("for", "if"), dtype=_TEXT)
    made.put("pair_counts/For__len", np.int64(17))


@kind("76_masks_only", "rows")
def _masks_only(made: Specimen) -> None:
    for layer in range(2):
        for name in ("For__len", "If__abs"):
            made.put(f"pair_masks/layer_{layer}/{name}", made.random.random(32) < 0.2, compression="gzip")


@kind("77_lerobot_like", "stack")
def _demonstrations(made: Specimen) -> None:
    for demo, length in enumerate((5, 7)):
        made.put(f"data/demo_{demo}/actions", made.random.random((length, 2)))
        made.put(f"data/demo_{demo}/obs/state", made.random.random((length, 3), np.float32))


def _note_dimensions(made: Specimen, array: str, *scales: str) -> None:
    """What the library wrote to attach scales: references, seen as the paths that they lead to."""
    made.attributes.setdefault(array, {})["DIMENSION_LIST"] = [[f"/{scale}"] for scale in scales]
    for axis, scale in enumerate(scales):
        made.attributes.setdefault(scale, {}).update(
            CLASS="DIMENSION_SCALE", NAME=scale, REFERENCE_LIST=[{"dataset": f"/{array}", "dimension": axis}]
        )
