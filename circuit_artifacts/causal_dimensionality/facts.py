"""The published numbers, with the intervals that their printed digits leave open (causal-dimensionality spec 4).

They come with the package, as the file behind the config ``headline``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from circuit_artifacts.formats.tabular import read_csv
from circuit_artifacts.schemas.causal_dimensionality import Headline
from circuit_artifacts.schemas.causal_dimensionality_mirror import FACTS_FILE, FACTS_FOLDER
from circuit_artifacts.schemas.common import arrow_schema

__all__ = ["published_facts"]


@cache
def published_facts() -> Mapping[str, Headline]:
    """Every published number by its id, in the order of the card and then of the abstract."""
    file = Path(str(resources.files("circuit_artifacts.data") / FACTS_FOLDER / FACTS_FILE))
    rows = read_csv(file, arrow_schema(Headline)).to_pylist()
    return MappingProxyType({row["id"]: Headline.model_validate(row) for row in rows})
