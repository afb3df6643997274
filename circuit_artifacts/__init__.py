"""Load, stream, check, convert and regenerate the artifacts that interpretability papers publish.

``from circuit_artifacts import load_dataset``, or import this package and use `datasets.load_dataset`: both know
the names in `circuit_artifacts.catalog`. Importing this package loads neither `datasets` nor torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a checkout, schemas/ and builders/ lie beside this folder; an installed package has them inside.
if not (Path(__file__).parent / "schemas").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

from circuit_artifacts.registration import override_hdf5, register, restore_hdf5, unregister

if TYPE_CHECKING:
    from circuit_artifacts.loading import load_dataset

__all__ = ["__version__", "load_dataset", "override_hdf5", "register", "restore_hdf5", "unregister"]

__version__ = importlib.metadata.version("circuit-artifacts")

_LAZY = {"load_dataset": "circuit_artifacts.loading"}
_SUBMODULES = {"catalog", "csp_atlas", "sources"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


register()
