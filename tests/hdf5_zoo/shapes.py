"""Kinds 01 to 13, 30 to 34, 63 to 66, 84 and 85: how long the arrays are, and how they are grouped."""

from __future__ import annotations

import h5py
import numpy as np

from hdf5_zoo.specimen import Specimen, kind


@kind("01_plain", "rows")
def _plain(made: Specimen) -> None:
    made.put("id", np.arange(10))
    made.put("x", made.random.random(10))
    made.put("vector", made.random.random((10, 3), np.float32))


@kind("02_scalar_num_only", "rows")
def _scalar_number(made: Specimen) -> None:
    made.put("x", np.float64(1.5))


@kind("03_scalar_str_only", "rows")
def _scalar_string(made: Specimen) -> None:
    made.put("name", "résumé")


@kind("04_scalar_root_plus_arrays", "rows")
def _scalar_after_array(made: Specimen) -> None:
    made.put("a", np.arange(5))
    made.put("scale", np.float32(0.5))


@kind("05_scalar_first_then_arrays", "rows")
def _scalar_before_array(made: Specimen) -> None:
    made.put("a_scale", np.int16(-7))
    made.put("x", made.random.random(5))


@kind("06_scalar_in_group", "rows")
def _scalar_in_group(made: Specimen) -> None:
    made.put("meta/version", np.int64(3))
    made.put("meta/x", np.arange(5))
    made.put("y", made.random.random(5))


@kind("07_empty_dataspace", "rows")
def _null_dataspace(made: Specimen) -> None:
    made.put("x", np.arange(5))
    made.file.create_dataset("nothing", data=h5py.Empty("f4"))
    made.see("nothing", None)


@kind("08_groups_same_len", "rows")
def _groups_of_one_length(made: Specimen) -> None:
    for group in "ab":
        made.put(f"{group}/x", made.random.random(6))
        made.put(f"{group}/y", made.random.integers(0, 9, 6))


@kind("09_groups_mismatched", "stack")
def _first_group_shorter(made: Specimen) -> None:
    made.put("a/x", np.arange(6))
    made.put("b/x", np.arange(9))


@kind("10_groups_mismatched_rev", "stack")
def _first_group_longer(made: Specimen) -> None:
    made.put("a/x", np.arange(9))
    made.put("b/x", np.arange(6))


@kind("11_root_mismatched", "leaves")
def _lengths_differ(made: Specimen) -> None:
    made.put("x", np.arange(6))
    made.put("y", np.arange(9))


@kind("12_nested_groups", "rows")
def _nested_groups(made: Specimen) -> None:
    made.put("a/b/c", np.arange(4))
    made.put("a/b/d/e", made.random.random((4, 2)))
    made.put("a/f", made.random.random(4))


@kind("13_group_per_sample", "records")
def _group_per_sample(made: Specimen) -> None:
    for sample in range(5):
        made.put(f"sample_{sample}/label", np.int64(sample % 2))
        made.put(f"sample_{sample}/signal", made.random.random(4))


@kind("30_zero_rows", "rows")
def _no_rows(made: Specimen) -> None:
    made.put("x", np.zeros(0, np.float32))
    made.put("y", np.zeros((0, 3), np.int32))


@kind("31_zero_dim", "rows")
def _no_columns(made: Specimen) -> None:
    made.put("x", np.arange(4))
    made.put("y", np.zeros((4, 0)))


@kind("32_zero_dim_3d", "rows")
def _no_columns_inside(made: Specimen) -> None:
    made.put("x", np.arange(4))
    made.put("y", np.zeros((4, 0, 3)))


@kind("33_6d", "rows")
def _six_dimensions(made: Specimen) -> None:
    made.put("x", made.random.random((4, 2, 1, 2, 1, 2)))


@kind("34_7d", "rows")
def _seven_dimensions(made: Specimen) -> None:
    made.put("x", made.random.random((3, 2, 1, 2, 1, 2, 1)))


@kind("63_fillvalue_unwritten", "rows")
def _never_written(made: Specimen) -> None:
    made.file.create_dataset("x", (5,), "i4", fillvalue=-1, chunks=(2,))
    made.see("x", np.full(5, -1))


@kind("64_scalar_dim1", "leaves")
def _constant_of_length_one(made: Specimen) -> None:
    made.put("c", np.array([3.5]))
    made.put("x", np.arange(5.0))


@kind("65_uint64_big", "rows")
def _largest_integers(made: Specimen) -> None:
    made.put("x", np.array([2**64 - 1, 2**63], np.uint64))


@kind("66_int8_2d", "rows")
def _small_integers(made: Specimen) -> None:
    made.put("x", made.random.integers(-128, 128, (4, 3), np.int8))


@kind("84_wide_10k_datasets", "rows")
def _three_thousand_datasets(made: Specimen) -> None:
    for number in range(3000):
        made.put(f"x{number:04d}", np.arange(4) + number)


@kind("85_huge_row", "rows")
def _long_rows(made: Specimen) -> None:
    made.put("x", made.random.random((2, 100_000), np.float32))
