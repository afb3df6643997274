"""Our errors, as they are, out of the machinery of `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets

from circuit_artifacts.errors import CircuitArtifactsError

__all__ = ["ShowsOwnErrors"]


class ShowsOwnErrors(datasets.ArrowBasedBuilder):
    """Lets errors that say file, place and remedy through, where `datasets` would wrap them into its own."""

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        # Here, and not around all shards: with num_proc, the cause of an error is lost on its way to the parent.
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except datasets.exceptions.DatasetGenerationError as error:
            if isinstance(error.__cause__, CircuitArtifactsError):
                raise error.__cause__ from None
            raise
