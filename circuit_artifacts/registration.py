"""Makes the stock `datasets.load_dataset` know our names, through one seam: a wrapper of `dataset_module_factory`.

The wrapper is put on when `datasets.load` is imported, at once if it already is. `datasets` has a table of packaged
modules too; entries there make it scan the working directory, so it stays as it is (hub_and_viewer spec 1.1).
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["BUILDER_MODULES", "register", "unregister"]

BUILDER_MODULES = {
    "csp-atlas": "circuit_artifacts.builders.csp_atlas",
    "csp-atlas-mini": "circuit_artifacts.builders.csp_atlas_mini",
}
_MODULE, _SEAM = "datasets.load", "dataset_module_factory"
_enabled = False
_originals: dict[Callable[..., Any], Callable[..., Any]] = {}  # what each of our wrappers wraps


def register() -> None:
    """Let `datasets.load_dataset` know our names; calling it again changes nothing."""
    global _enabled  # noqa: PLW0603 - the state of one process-wide seam
    _enabled = True
    if _MODULE in sys.modules:
        _install(sys.modules[_MODULE])
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def unregister() -> None:
    """Give `datasets` its own factory back; where another package has wrapped ours, ours only steps aside."""
    global _enabled  # noqa: PLW0603
    _enabled = False
    for module in _seam_modules():
        current = getattr(module, _SEAM, None)
        if current in _originals:
            setattr(module, _SEAM, _originals[current])


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
