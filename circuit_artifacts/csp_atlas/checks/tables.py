"""CSV and parquet files: columns, types and nulls, and what a table must obey on its own (csp_atlas spec 1.8)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from circuit_artifacts.compute.csp.decomposition import parse_target_checker
from circuit_artifacts.csp_atlas.checks.contents import Contents, error, limited, note
from circuit_artifacts.csp_atlas.tables import read_target_checker
from circuit_artifacts.errors import CircuitArtifactsError, FormatError, located
from circuit_artifacts.formats.reader import read_table
from circuit_artifacts.schemas.csp_atlas import SETTINGS
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.validation import Finding

__all__ = ["check_tables"]

_KEYS = {
    "object_prompts": ["ast_node", "builtin_obj", "variation_id"],
    "checker_prompts": ["object", "variation_id"],
    "token_checker_prompts": ["object", "variation_id"],
    "summary": ["epsilon", "consistency"],
    "target_checker": ["target"],
    "modularity_scores": ["concept"],
    "modularity_detail": ["layer", "object", "p_trim"],
    "token_independence_summary": ["object"],
    "token_independence_detail": ["object", "layer"],
    "token_independence_no_keyword": ["object"],
}
"""The columns that tell the rows of a family apart."""

_COMPLETE = {"modularity_detail", "token_independence_detail"}  # tables with a row for every combination of the keys

_PUBLISHED_ROWS = {
    "object_prompts": 63_800,
    "checker_prompts": 2_848,
    "token_checker_prompts": 2_861,
    "summary": 9,
    "target_checker": 58,
    "modularity_scores": 106,
    "modularity_detail": 3_392,
    "token_independence_summary": 58,
    "token_independence_detail": 464,
    "token_independence_no_keyword": 48,
}


def check_tables(contents: Contents) -> Iterator[Finding]:
    """Read every table, and check what needs no other file."""
    for config in contents.configs:
        if not config.file.endswith((".csv", ".parquet")):
            continue
        try:
            frame = _read(contents, config)
        except CircuitArtifactsError as fault:
            yield Finding.of(fault, "readable" if isinstance(fault, FormatError) else "schema", config.file)
            continue
        contents.tables[config.name] = frame
        yield from _check_rows(contents, config, frame)
        yield from _check_concepts(contents, config, frame)


def _read(contents: Contents, config: Config) -> pd.DataFrame:
    path = contents.path(config)
    if config.family.name != "target_checker":
        frame: pd.DataFrame = read_table(contents.mirror, config, path).to_pandas()
        return frame
    frame = read_target_checker(path, contents.shape(config).n_layers)
    with located(path):
        contents.decompositions[config.name] = parse_target_checker(frame)
    return frame


def _check_rows(contents: Contents, config: Config, frame: pd.DataFrame) -> Iterator[Finding]:
    """No row twice, none missing between them; the published number is only noted, since other files may explain it."""
    keys = _KEYS.get(config.family.name)
    if keys is None:
        return
    repeated = np.flatnonzero(frame.duplicated(keys))
    yield from limited(
        [
            error("duplicate-rows", config.file, f"row {row}", f"an earlier row has the same {', '.join(keys)}")
            for row in repeated.tolist()
        ]
    )
    combinations = int(np.prod([frame[key].nunique() for key in keys]))
    if config.family.name in _COMPLETE and not len(repeated) and len(frame) != combinations:
        message = f"{len(frame):,} rows, but {combinations:,} combinations of {', '.join(keys)}"
        yield error("rows", config.file, "", message)
    published = _PUBLISHED_ROWS[config.family.name]
    if contents.published and len(frame) != published:
        yield note("published-count", config.file, "", f"{len(frame):,} rows; {published:,} were published")
    if config.family.name == "summary":
        grid = {(setting["eps"], setting["cons"]) for setting in SETTINGS}
        settings = list(zip(frame["epsilon"].tolist(), frame["consistency"].tolist(), strict=True))
        for row, setting in enumerate(settings):
            if setting not in grid:
                yield error("rows", config.file, f"row {row}", f"{setting} is no setting of the grid")


def _check_concepts(contents: Contents, config: Config, frame: pd.DataFrame) -> Iterator[Finding]:
    """Concepts are of the vocabulary, and what is said of them agrees with it."""
    column = next((name for name in ("concept", "object", "target") if name in frame), None)
    if column is None or config.family.name.startswith("packed_"):
        return
    names = frame[column]
    concepts = contents.vocabulary(config).concepts
    needs_keyword = "keyword" in frame or config.family.name == "target_checker"
    known = KEYWORDS.keys() & concepts if needs_keyword else concepts
    if config.family.name == "token_independence_no_keyword":
        known = concepts - KEYWORDS.keys()
    strange = np.flatnonzero(~names.isin(list(known)))
    what = "a concept with a keyword" if needs_keyword else "a concept of this table"
    yield from limited(
        [
            error("vocabulary", config.file, f"{column}, row {row}", f"{names.iloc[row]!r} is not {what}")
            for row in strange.tolist()
        ]
    )
    expected = {
        "type": names.str.partition("__")[0],
        "keyword": names.map({concept: keyword.keyword for concept, keyword in KEYWORDS.items()}),
    }
    for name, values in expected.items():
        if name not in frame:
            continue
        wrong = np.setdiff1d(np.flatnonzero(frame[name] != values), strange)
        yield from limited(
            [
                error(
                    f"concept-{name}",
                    config.file,
                    f"{name}, row {row}",
                    f"{frame[name].iloc[row]!r} for {names.iloc[row]}, expected {values.iloc[row]!r}",
                )
                for row in wrong.tolist()
            ]
        )
