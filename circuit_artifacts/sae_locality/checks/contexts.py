"""Top contexts, and the corpus that was put together from them (spec 8, "Top contexts + corpus_tokens")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from circuit_artifacts.sae_locality.checks.contents import Contents, attempt, error, limited
from circuit_artifacts.sae_locality.events import event_starts, top_contexts
from circuit_artifacts.sae_locality.files import RepositoryFile, companion
from circuit_artifacts.sae_locality.torch_files import load_tensor
from circuit_artifacts.validation import Finding

__all__ = ["check_contexts"]


def check_contexts(contents: Contents) -> Iterator[Finding]:
    """Every list of contexts, and the corpus beside it."""
    for file in contents.of_kind("top_contexts"):
        findings: list[Finding] = []
        table = attempt(top_contexts, file, findings=findings)
        corpus_file = companion(file, contents.beside(file), "corpus_tokens")
        corpus = attempt(_read_corpus, corpus_file, findings=findings) if corpus_file else None
        yield from findings
        if table is None:
            continue
        rows = table.to_pandas()
        rows["n_tokens"] = rows["tokens"].str.len()
        yield from limited(_check_token_index(file, rows))
        is_assembled = event_starts(file) is not None and len(rows)
        if corpus_file is not None and corpus is not None and is_assembled:
            yield from _check_corpus(file, corpus_file, rows, corpus)


def _read_corpus(file: RepositoryFile) -> npt.NDArray[np.int64]:
    return load_tensor(file, n_dims=1)


def _check_token_index(file: RepositoryFile, rows: pd.DataFrame) -> Iterator[Finding]:
    for row in rows[(rows["token_idx"] < 0) | (rows["token_idx"] >= rows["n_tokens"])].itertuples():
        message = f"token_idx {row.token_idx} in a list of {row.n_tokens} tokens"
        yield error("token-index", file, f"{row.feature_id}.examples[{row.rank}]", message)


def _check_corpus(
    file: RepositoryFile, corpus_file: RepositoryFile, rows: pd.DataFrame, corpus: npt.NDArray[np.int64]
) -> Iterator[Finding]:
    """A corpus of events holds each of them once, and a BOS at the start of each."""
    total = int(rows["n_tokens"].sum())
    if total != len(corpus):
        message = f"{len(corpus):,} tokens, but the events of {file.name} have {total:,}"
        yield error("corpus-length", corpus_file, "", message)
        return
    starts = rows["window_start_token"].to_numpy()
    inside = (starts >= 0) & (starts < len(corpus))
    is_start = inside & (corpus[np.where(inside, starts, 0).astype(np.int64)] == corpus[0])
    yield from limited(
        error(
            "event-start",
            file,
            f"{rows['feature_id'].iloc[index]}.examples[{rows['rank'].iloc[index]}]",
            f"the corpus has no BOS (token {corpus[0]}) at window_start_token {starts[index]}",
        )
        for index in np.flatnonzero(~is_start)
    )
