"""Which optional dependency brings which package, so that its absence is one line that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from circuit_artifacts.errors import MissingExtraError

__all__ = ["EXTRAS", "extras_named"]

EXTRAS = (
    dict.fromkeys(("safetensors", "scipy", "tokenizers", "torch", "transformers"), "compute")
    | dict.fromkeys(("jinja2", "matplotlib", "plotly"), "reports")
    | {"PIL": "reports", "ray": "ray"}
)
"""Extra by package."""


@contextmanager
def extras_named() -> Iterator[None]:
    """Turn the failing import of a package that an extra brings into an error that names the extra.

    Raises:
        MissingExtraError: such a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        problem = f"this needs {package}"
        raise MissingExtraError(problem, remedy=f"pip install 'circuit-artifacts[{EXTRAS[package]}]'") from error
