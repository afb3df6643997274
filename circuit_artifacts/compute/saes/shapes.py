"""Shapes of an autoencoder's tensors, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from circuit_artifacts.errors import ModelError

__all__ = ["check_shapes"]

_AXES: Final = {"d": "d_in", "s": "d_sae"}


def check_shapes(tensors: Mapping[str, Tensor], axes: Mapping[str, str]) -> tuple[int, int]:
    """The two widths of an autoencoder, on which all its tensors must agree.

    Vectors cannot be transposed, so they are believed first, and a matrix the wrong way round is told from a wrong one.

    Args:
        tensors: by name; further ones are not looked at.
        axes: for each tensor the letters of its axes: "d" is the width of the input, "s" the number of features.

    Returns:
        d_in and d_sae.

    Raises:
        ModelError: a tensor with another number of axes, a transposed matrix, or sizes that disagree.
    """
    sizes: dict[str, int] = {}
    for name, letters in sorted(axes.items(), key=lambda item: len(item[1])):
        shape = tuple(tensors[name].shape)
        words = f"({', '.join(_AXES[letter] for letter in letters)}{',' * (len(letters) == 1)})"
        if len(shape) != len(letters):
            problem = "the tensor has another number of axes"
            raise ModelError(problem, where=name, found=shape, expected=words)
        expected = tuple(sizes.setdefault(letter, size) for letter, size in zip(letters, shape, strict=True))
        if shape != expected:
            problem = "the matrix is transposed" if shape == expected[::-1] else "the widths of the tensors disagree"
            raise ModelError(problem, where=name, found=shape, expected=f"{expected}, {words} of the others")
        if not all(shape):
            problem = "the tensor is empty"
            raise ModelError(problem, where=name, found=shape)
    return sizes["d"], sizes["s"]
