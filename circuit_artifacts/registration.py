"""Makes the stock `datasets.load_dataset` know our names, through one seam: a wrapper of `dataset_module_factory`.

The wrapper is put on when `datasets.load` is imported, at once if it already is. `datasets` has a table of packaged
modules too; entries there make it scan the working directory, so it stays as it is (hub_and_viewer spec 1.1).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["BUILDER_MODULES", "GENERIC", "override_hdf5", "register", "restore_hdf5", "unregister"]

GENERIC = "circuit-hdf5"
"""The one name that is no mirror: it takes `data_files`, as the packaged loaders of `datasets` do."""

BUILDER_MODULES = {
    GENERIC: "circuit_artifacts.builders.hdf5",
    "csp-atlas": "circuit_artifacts.builders.csp_atlas",
    "csp-atlas-mini": "circuit_artifacts.builders.csp_atlas_mini",
    "sae-locality": "circuit_artifacts.builders.sae_locality",
    "sae-locality-mini": "circuit_artifacts.builders.sae_locality_mini",
    "causal-dimensionality": "circuit_artifacts.builders.causal_dimensionality",
    "causal-dimensionality-mini": "circuit_artifacts.builders.causal_dimensionality_mini",
}
_MODULE, _SEAM = "datasets.load", "dataset_module_factory"
_PACKAGED, _STOCK_HDF5 = "_PACKAGED_DATASETS_MODULES", "hdf5"
_enabled = False
_originals: dict[Callable[..., Any], Callable[..., Any]] = {}  # what each of our wrappers wraps
_stock_hdf5: list[tuple[str, str]] = []  # the entry that `override_hdf5` has replaced


def register() -> None:
    """Let `datasets.load_dataset` know our names; calling it again changes nothing."""
    global _enabled  # noqa: PLW0603 - the state of one process-wide seam
    _enabled = True
    if _MODULE in sys.modules:
        _install(sys.modules[_MODULE])
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def unregister() -> None:
    """Give `datasets` its own factory and its own `hdf5` back; where another package wraps ours, ours steps aside."""
    global _enabled  # noqa: PLW0603
    _enabled = False
    restore_hdf5()
    for module in _seam_modules():
        current = getattr(module, _SEAM, None)
        if current in _originals:
            setattr(module, _SEAM, _originals[current])


def override_hdf5() -> None:
    """Let `circuit-hdf5` take over the name `hdf5`, and with it every ``.h5`` file that `datasets` finds.

    That covers local folders and repositories on the Hub, and their cards' `configs:` with keys such as
    ``layout: leaves``. Calling it again changes nothing; :func:`restore_hdf5` and :func:`unregister` undo it.

    Raises:
        RuntimeError: this version of `datasets` knows no HDF5 (before 4.1), or keeps its loaders elsewhere.
    """
    if _stock_hdf5:
        return
    table = _packaged_modules()
    if _STOCK_HDF5 not in table:
        msg = (
            "this version of datasets has no loader 'hdf5' to take over: install datasets>=4.1, or load 'circuit-hdf5'"
        )
        raise RuntimeError(msg)
    _stock_hdf5.append(table[_STOCK_HDF5])
    table[_STOCK_HDF5] = (BUILDER_MODULES[GENERIC], "circuit-artifacts")


def restore_hdf5() -> None:
    """Give `datasets` its own `hdf5` back."""
    if _stock_hdf5:
        _packaged_modules()[_STOCK_HDF5] = _stock_hdf5.pop()


class _AfterImport:
    """A finder that finds nothing itself: it has the factory wrapped once `datasets.load` has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_wrap(module: ModuleType) -> None:
                execute(module)
                _install(module)

            spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


def _install(load: Any) -> None:
    """Wrap the factory of `datasets.load`, and its alias in `datasets.inspect`."""
    if not _enabled:
        return
    original = getattr(load, _SEAM, None)
    if original is None:
        warnings.warn(
            f"this version of datasets has no load.{_SEAM}: use circuit_artifacts.load_dataset instead of datasets'",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    if _holds_ours(original):
        return
    wrapped = _wrap(original, load)
    _originals[wrapped] = original
    for module in _seam_modules():
        if getattr(module, _SEAM, None) is original:
            setattr(module, _SEAM, wrapped)


def _packaged_modules() -> dict[str, Any]:
    # The only private name of `datasets` that is used, and only on request: nothing else covers files found by suffix.
    packaged = importlib.import_module("datasets.packaged_modules")
    table: dict[str, Any] = getattr(packaged, _PACKAGED, {})
    return table


def _seam_modules() -> list[Any]:
    return [sys.modules[name] for name in (_MODULE, "datasets.inspect") if name in sys.modules]


def _holds_ours(factory: Any) -> bool:
    while factory is not None:
        if factory in _originals:
            return True
        factory = getattr(factory, "__wrapped__", None)
    return False


def _wrap(original: Callable[..., Any], load: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if not _enabled or path not in BUILDER_MODULES:
            return original(path, *args, **kwargs)
        revision = kwargs.get("revision", args[0] if args else None)
        builder_kwargs = {"dataset_name": path, **({"revision": revision} if revision else {})}
        return load.DatasetModule(BUILDER_MODULES[path], "circuit-artifacts", builder_kwargs)

    return dataset_module_factory
