"""An autoencoder's tensors as its file holds them, by container; and what every format's reader does with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from circuit_artifacts.compute.saes.description import SaeOrigin
from circuit_artifacts.compute.saes.shapes import check_shapes
from circuit_artifacts.errors import FormatError, MissingArtifactError, ModelError
from circuit_artifacts.formats.archives import open_archive
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.formats.npz import SUFFIX, read_npz
from circuit_artifacts.formats.torch_pickle import load_torch

__all__ = ["Container", "SaeConfig", "StoredSae", "read_tensors"]

Container = Literal["npz", "safetensors", "torch"]

_LARGEST_NPZ: Final = 32 << 30  # bytes; a million features of width 3,584 are 30 GB
_LARGEST_CONFIG: Final = 1 << 20
_ZIP, _SAFETENSORS_HEADER = b"PK", b"{"


class SaeConfig(BaseModel):
    """Base of what is read from configuration files; most of their keys are about training and do not matter here."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


Config = TypeVar("Config", bound=SaeConfig)


@dataclass(frozen=True, kw_only=True)
class StoredSae:
    """An autoencoder's files, opened.

    Attributes:
        weights: the file with the tensors.
        folder: the folder that its format is about, where configurations lie.
        tensors: by their names in the file; as far as the container allows, not yet read into memory.
        address: on the Hub; None for local files.
        device: where tensors are to go.
        dtype: what they are to be.
    """

    weights: Path
    folder: Path
    tensors: Mapping[str, Tensor]
    address: str | None
    device: str | torch.device
    dtype: torch.dtype

    def take(self, axes: Mapping[str, str]) -> dict[str, Tensor]:
        """All tensors of the file, checked and converted.

        Args:
            axes: the names that there must be, each with the letters of its axes (see `check_shapes`).

        Raises:
            ModelError: a tensor is missing, unknown, of another shape, or not of finite floating-point numbers.
        """
        names = ", ".join(self.tensors) or "none"
        if missing := [name for name in axes if name not in self.tensors]:
            problem = f"tensors are missing: {', '.join(missing)}"
            raise ModelError(problem, file=self.weights, found=names, expected=", ".join(axes))
        if unknown := [name for name in self.tensors if name not in axes]:
            problem = f"tensors are not part of the format, and may change what it computes: {', '.join(unknown)}"
            raise ModelError(problem, file=self.weights, expected=", ".join(axes))
        for name, tensor in self.tensors.items():
            if not tensor.dtype.is_floating_point:
                problem = "the tensor holds no floating-point numbers"
                raise ModelError(problem, file=self.weights, where=name, found=tensor.dtype)
        check_shapes(self.tensors, axes)
        return {name: self._converted(name) for name in axes}

    def _converted(self, name: str) -> Tensor:
        tensor = self.tensors[name].to(device=self.device, dtype=self.dtype)
        # Without a second array: a NaN anywhere is the least and the greatest value.
        if not all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor)):
            problem = f"the tensor holds values that are not finite in {self.dtype}"
            raise ModelError(problem, file=self.weights, where=name, remedy="Download or make the file again.")
        return tensor

    def config(self, name: str, kind: type[Config]) -> Config:
        """A configuration file beside the weights.

        Raises:
            MissingArtifactError: there is no such file.
            FormatError: it is not JSON, or lacks a key, or has a value of another type.
        """
        file = self.folder / name
        if not file.is_file():
            problem = "the autoencoder's configuration is missing"
            remedy = "Without it the weights cannot be used as they were trained: fetch it from where they came from."
            raise MissingArtifactError(problem, file=file, remedy=remedy)
        with open_bounded(file, largest=_LARGEST_CONFIG) as stream:
            text = stream.read()
        try:
            return kind.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = "the configuration cannot be used"
            where = ".".join(map(str, first["loc"]))
            found = None if first["type"] == "missing" else repr(first["input"])
            raise FormatError(problem, file=file, where=where, found=found, expected=first["msg"]) from error
        except (ValueError, RecursionError) as error:
            problem = "the configuration is not JSON"
            raise FormatError(problem, file=file, found=error) from error

    def expect_widths(self, taken: Mapping[str, Tensor], axes: Mapping[str, str], **stated: int | None) -> None:
        """Hold the widths that a configuration states against those of the tensors.

        Args:
            taken: tensors of the file.
            axes: as given to `take`.
            stated: "d_in" and "d_sae", None where the configuration is silent.

        Raises:
            ModelError: they differ.
        """
        actual = dict(zip(("d_in", "d_sae"), check_shapes(taken, axes), strict=True))
        for name, width in stated.items():
            if width is not None and width != actual[name]:
                problem = "the configuration and the tensors have different widths"
                raise ModelError(problem, file=self.weights, where=name, found=actual[name], expected=width)

    def layout(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The end of the path of the weights, if it is laid out as published."""
        return pattern.search(self.weights.absolute().as_posix())

    def origin(self, name: str, layout: re.Match[str] | None = None, **facts: Any) -> SaeOrigin:
        """Where this file came from, without folders of this machine.

        Args:
            name: of the format.
            layout: the part of the path that is published, if it is; its groups ``site`` and ``layer`` are taken over.
            facts: further fields of `SaeOrigin`.
        """
        named = layout.groupdict() if layout else {}
        layer = named.get("layer")
        facts = {"hook_point": named.get("site"), "layer": layer and int(layer)} | facts
        file = self.weights.relative_to(self.folder).as_posix()
        local = layout[0] if layout else f"{self.folder.absolute().name}/{file}"
        dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in self.tensors.values()})
        return SaeOrigin(format=name, source=self.address or local, dtype=", ".join(dtypes), **facts)


def read_tensors(file: Path) -> tuple[Container, dict[str, Tensor]]:
    """The container of a file, told by its first bytes, and its tensors by name; no code in it is ever run.

    Raises:
        MissingArtifactError: there is no such file.
        UnsafeContentError: it would have to run code.
        FormatError: it is damaged, or holds something else than tensors.
    """
    with open_bounded(file, largest=_LARGEST_NPZ) as stream:
        head = stream.read(9)
        if head.startswith(_ZIP):
            with open_archive(stream, file=file) as archive:
                is_npz = all(name.endswith(SUFFIX) for name in archive.namelist())
            return ("npz", _read_npz(file)) if is_npz else ("torch", _read_torch(file))
    if head[8:] == _SAFETENSORS_HEADER:
        return "safetensors", _read_safetensors(file)
    return "torch", _read_torch(file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        problem = "the weights file is truncated or not safetensors"
        raise FormatError(problem, file=file, found=error) from error


def _read_npz(file: Path) -> dict[str, Tensor]:
    tensors = {}
    for name, array in read_npz(file, largest=_LARGEST_NPZ).items():
        if array.dtype.kind not in "fiub":
            problem = "the array holds no numbers"
            raise FormatError(problem, file=file, where=name, found=array.dtype)
        tensors[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return tensors


def _read_torch(file: Path) -> dict[str, Tensor]:
    found = load_torch(file)
    if not isinstance(found, Mapping):
        problem = "the file is not a state dict"
        raise FormatError(problem, file=file, found=type(found).__name__, expected="a mapping of names to tensors")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            problem = "the file is not a state dict"
            expected = "names with tensors"
            raise FormatError(problem, file=file, where=f"{name!r:.80}", found=type(value).__name__, expected=expected)
    return dict(found)
