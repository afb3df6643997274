"""Makes the stock `datasets.load_dataset` know our names, through one seam: a wrapper of `dataset_module_factory`.

The wrapper is put on when `datasets.load` is imported, at once if it already is. `datasets` has a table of packaged
modules too; entries there make it scan the working directory, so it stays as it is (hub_and_viewer spec 1.1).
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

import wrapt

__all__ = ["BUILDER_MODULES", "register", "unregister"]

logger = logging.getLogger(__name__)

BUILDER_MODULES = {
    "csp-atlas": "circuit_artifacts.builders.csp_atlas",
    "csp-atlas-mini": "circuit_artifacts.builders.csp_atlas_mini",
}
_SEAM = "dataset_module_factory"
_MARK = "__circuit_artifacts_wraps__"
_enabled = False
_hooked = False


def register() -> None:
    """Let `datasets.load_dataset` know our names; calling it again changes nothing."""
    global _enabled, _hooked  # noqa: PLW0603 - the state of one process-wide seam
    _enabled = True
    if not _hooked:
        _hooked = True
        wrapt.register_post_import_hook(_install, "datasets.load")
    elif "datasets.load" in sys.modules:
        _install(sys.modules["datasets.load"])


def unregister() -> None:
    """Give `datasets` its own factory back."""
    global _enabled  # noqa: PLW0603
    _enabled = False
    for module in _seam_modules():
        original = getattr(getattr(module, _SEAM, None), _MARK, None)
        if original is not None:
            setattr(module, _SEAM, original)


def _install(load: Any) -> None:
    """Wrap the factory of `datasets.load`, and its alias in `datasets.inspect`."""
    if not _enabled:
        return
    original = getattr(load, _SEAM, None)
    if original is None:
        logger.warning(
            "this version of datasets has no load.%s: use circuit_artifacts.load_dataset instead of datasets'", _SEAM
        )
        return
    if hasattr(original, _MARK):
        return
    wrapped = _wrap(original, load)
    for module in _seam_modules():
        if getattr(module, _SEAM, None) is original:
            setattr(module, _SEAM, wrapped)


def _seam_modules() -> list[Any]:
    return [sys.modules[name] for name in ("datasets.load", "datasets.inspect") if name in sys.modules]


def _wrap(original: Callable[..., Any], load: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path not in BUILDER_MODULES:
            return original(path, *args, **kwargs)
        revision = kwargs.get("revision", args[0] if args else None)
        builder_kwargs = {"dataset_name": path, **({"revision": revision} if revision else {})}
        return load.DatasetModule(BUILDER_MODULES[path], "circuit-artifacts", builder_kwargs)

    setattr(dataset_module_factory, _MARK, original)
    return dataset_module_factory
