"""Kinds 42 to 54, 58 to 61, 78 to 81 and 86: links, storage, filters, names, and what is no HDF5 file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

from circuit_artifacts.errors import FormatError, UnsafeContentError
from hdf5_zoo.specimen import Refusal, Specimen, kind

__all__ = ["CANARY"]

CANARY = 8675309
"""The number in every file that must not be read."""


def _text(path: Path) -> None:
    path.write_text("layer,feature\n0,1\n", encoding="utf-8")


def _halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@kind("42_external_link", Refusal(UnsafeContentError, ("/l", "ext_target.h5")))
def _external_link(made: Specimen) -> None:
    with h5py.File(made.folder / "ext_target.h5", "w") as target:
        target["x"] = np.full(5, CANARY)
    made.put("x", np.arange(5))
    made.file["l"] = h5py.ExternalLink("ext_target.h5", "/x")


@kind("43_external_storage", Refusal(UnsafeContentError, ("/x", "external storage")))
def _external_storage(made: Specimen) -> None:
    (made.folder / "raw.bin").write_bytes(np.full(5, CANARY).tobytes())
    made.file.create_dataset("x", (5,), "i8", external=[("raw.bin", 0, 40)])  # found from the working directory


@kind("44_soft_link", "rows")
def _soft_link(made: Specimen) -> None:
    made.put("x", np.arange(5))
    made.file["l"] = h5py.SoftLink("/x")
    made.see("l", np.arange(5))


@kind("45_soft_dangling", "rows")
def _dangling_link(made: Specimen) -> None:
    made.put("x", np.arange(5))
    made.file["l"] = h5py.SoftLink("/nowhere")


@kind("46_hard_link_cycle", "rows")
def _group_inside_itself(made: Specimen) -> None:
    made.put("g/x", np.arange(5))
    made.file["g/again"] = made.file["g"]


@kind("47_hard_link_dup", "rows")
def _two_names(made: Specimen) -> None:
    made.file["y"] = made.put("x", np.arange(5))
    made.see("y", np.arange(5))


@kind("48_soft_link_cycle", "rows")
def _soft_link_to_the_root(made: Specimen) -> None:
    made.put("x", np.arange(5))
    made.file["root"] = h5py.SoftLink("/")


@kind("49_virtual", Refusal(UnsafeContentError, ("/v", "virtual")))
def _virtual_dataset(made: Specimen) -> None:
    with h5py.File(made.folder / "source.h5", "w") as source:
        source["x"] = np.full(5, CANARY)
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource("source.h5", "x", (5,), "i8")
    made.file.create_virtual_dataset("v", layout)


@kind("50_gzip_chunk", "rows")
def _gzip(made: Specimen) -> None:
    made.put("x", made.random.random(100), chunks=(30,), compression="gzip", shuffle=True, fletcher32=True)


@kind("51_lzf", "rows")
def _lzf(made: Specimen) -> None:
    made.put("x", made.random.integers(0, 5, 100), compression="lzf")


@kind("52_szip", "rows")
def _szip(made: Specimen) -> None:
    made.put("x", made.random.integers(0, 5, 100), chunks=(50,), compression="szip")


@kind("53_blosc", Refusal(FormatError, ("/x", "hdf5plugin")))
def _blosc(made: Specimen) -> None:
    _foreign_filter(made, 32001)


@kind("54_zstd", Refusal(FormatError, ("/x", "hdf5plugin")))
def _zstd(made: Specimen) -> None:
    _foreign_filter(made, 32015)


@kind("58_resizable", "rows")
def _resized(made: Specimen) -> None:
    x = made.file.create_dataset("x", (0, 2), "f8", maxshape=(None, 2), chunks=(2, 2))
    x.resize((5, 2))
    x[:] = made.random.random((5, 2))
    made.see("x", x[:])


@kind("59_nonascii_names", "rows")
def _foreign_letters(made: Specimen) -> None:
    made.put("größe", np.arange(3))
    made.put("層/数", np.arange(3) * 2)


@kind("60_odd_names", "rows")
def _odd_names(made: Specimen) -> None:
    for number, name in enumerate(["a b", "c.d", "e[0]", "f'\"{g}\\"]):
        made.put(name, np.arange(3) + number)


@kind("61_empty_group", "rows")
def _empty_group(made: Specimen) -> None:
    made.put("x", np.arange(3))
    made.file.create_group("nothing")


@kind("78_userblock", "rows", userblock_size=512)
def _user_block(made: Specimen) -> None:
    made.put("x", np.arange(4))


@kind("79_track_order", "rows", track_order=True)
def _creation_order(made: Specimen) -> None:
    made.put("z", np.arange(3))
    made.put("a", np.arange(3) * 2)


@kind("80_not_hdf5", Refusal(FormatError, ("not a complete HDF5 file",)), damage=_text)
def _text_file(_: Specimen) -> None:
    pass


@kind("81_truncated", Refusal(FormatError, ("not a complete HDF5 file",)), damage=_halve)
def _half_a_file(made: Specimen) -> None:
    made.put("x", made.random.random(100))


@kind("86_quantized_scaleoffset", "rows")
def _scale_offset(made: Specimen) -> None:
    made.put("x", made.random.integers(0, 1000, 50), scaleoffset=0)


def _foreign_filter(made: Specimen, number: int) -> None:
    """One chunk that only a plug-in could decode: bytes of no meaning, under the number of its filter."""
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk((100,))
    plist.set_filter(number, h5z.FLAG_OPTIONAL, ())
    dataset = h5d.create(made.file.id, b"x", h5t.IEEE_F64LE, h5s.create_simple((100,)), plist)
    dataset.write_direct_chunk((0,), made.random.bytes(60))
