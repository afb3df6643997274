"""What the Hub's dataset viewer does with a folder, checked before anything is uploaded.

A page is complete when every split of every config has viewer, preview, search, filter and statistics. The rules were
measured on the viewer's own functions; each is one entry in a list of `Rule`s:

- `card`: the configs of the card, their splits and patterns; `dataset_info`: what the card declares about the data;
- `files`: parquet; `columns`: preview, search, Croissant; `statistics`: the histograms.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from circuit_artifacts.errors import SourceError
from circuit_artifacts.validation import Finding
from circuit_artifacts.viewer import card, columns, dataset_info, files, statistics
from circuit_artifacts.viewer.repository import Repository
from circuit_artifacts.viewer.rule import findings

__all__ = ["check_viewer"]

_REPOSITORY_RULES = (*card.RULES, *dataset_info.RULES)
_SPLIT_RULES = (*dataset_info.SPLIT_RULES, *files.RULES, *columns.RULES, *statistics.RULES)


def check_viewer(folder: Path) -> Iterator[Finding]:
    """Everything in a folder that would keep the viewer from showing it whole, and what else is remarkable.

    Args:
        folder: the folder as it would be uploaded: the card and the files it names.

    Raises:
        SourceError: not a folder.
    """
    if not folder.is_dir():
        problem = "there is no such folder"
        raise SourceError(problem, file=folder)
    repository = Repository(folder)
    if broken := list(card.READABLE.findings(repository)):
        yield from broken
        return
    yield from findings(_REPOSITORY_RULES, [repository])
    splits = list(itertools.chain.from_iterable(repository.splits.values()))
    yield from findings([files.READABLE], splits)
    yield from findings(_SPLIT_RULES, (split for split in splits if not split.faults))
    yield from findings(files.CONFIG_RULES, repository.splits.values())
    yield from findings(files.DATASET_RULES, [splits])
