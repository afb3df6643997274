"""Sparse weights in a safetensors file: the nonzero values and the gaps between them instead of all the zeros.

A packed tensor NAME is stored as ``NAME.values`` (float16) and ``NAME.gaps`` (uint16); the file's metadata key
``packed_shapes`` maps each NAME to its shape. Other tensors lie beside them unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from circuit_artifacts.errors import FormatError

__all__ = ["PACKED_SHAPES", "pack", "unpack"]

PACKED_SHAPES = "packed_shapes"
_LARGEST_GAP = 65535
# A packed nonzero takes two float16's room, so that denser tensors are smaller as they are.
_DENSITY_LIMIT = 0.5


def pack(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Round tensors to float16 and pack those that are mostly zeros.

    Args:
        tensors: by name, any float dtype and shape.

    Returns:
        The tensors and the metadata to store.
    """
    stored: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        half = tensor.detach().to(torch.float16).contiguous()
        flat = half.flatten()
        positions = flat.nonzero().squeeze(1)
        if len(positions) >= _DENSITY_LIMIT * flat.numel():
            stored[name] = half
            continue
        gaps = positions.diff(prepend=positions.new_tensor([-1]))
        # A gap too wide for 16 bits is bridged by stored zeros.
        bridges = (gaps - 1) // _LARGEST_GAP
        last = (bridges + 1).cumsum(0) - 1
        all_gaps = positions.new_full((int((bridges + 1).sum()),), _LARGEST_GAP)
        all_gaps[last] = gaps - bridges * _LARGEST_GAP
        values = flat.new_zeros(len(all_gaps))
        values[last] = flat[positions]
        stored[f"{name}.values"], stored[f"{name}.gaps"] = values, all_gaps.to(torch.uint16)
        shapes[name] = list(tensor.shape)
    return stored, {PACKED_SHAPES: json.dumps(shapes)} if shapes else {}


def unpack(stored: Mapping[str, Tensor], metadata: Mapping[str, str], *, file: object = None) -> dict[str, Tensor]:
    """Undo `pack`; a file without packed tensors comes back as it is.

    Args:
        stored: every tensor of the file.
        metadata: the file's metadata.
        file: for error messages.

    Raises:
        FormatError: the parts of a packed tensor are missing, or do not fit its shape.
    """
    if PACKED_SHAPES not in metadata:
        return dict(stored)
    try:
        shapes: dict[str, list[int]] = json.loads(metadata[PACKED_SHAPES])
        sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    except (ValueError, TypeError, AttributeError) as error:
        problem = "the shapes of the packed tensors are unreadable"
        raise FormatError(problem, file=file, where=PACKED_SHAPES) from error
    tensors = dict(stored)
    for name, size in sizes.items():
        values, gaps = tensors.pop(f"{name}.values", None), tensors.pop(f"{name}.gaps", None)
        if values is None or gaps is None or values.shape != gaps.shape or values.ndim != 1:
            problem = "a packed tensor lacks its values or gaps, or they differ in length"
            raise FormatError(problem, file=file, where=name)
        positions = gaps.to(torch.int64).cumsum(0) - 1
        if len(positions) and (int(positions[0]) < 0 or int(positions[-1]) >= size):
            problem = "a packed tensor reaches beyond its shape"
            raise FormatError(problem, file=file, where=name, found=int(positions[-1]) + 1, expected=f"at most {size}")
        tensors[name] = values.new_zeros(size).index_put_((positions,), values).view(shapes[name])
    return tensors
