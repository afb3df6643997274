"""Prompt tables: numbering, losses, and texts that parse and hold what they should (csp_atlas spec 1.1, 1.2, 3)."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from circuit_artifacts.compute.csp.checkers import CheckerKind, concept_absent, generate_checker_candidates
from circuit_artifacts.compute.csp.prompts import generate_object_prompts
from circuit_artifacts.csp_atlas.checks.contents import Contents, error, limited, note
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, pair_key
from circuit_artifacts.schemas.declaration import Config
from circuit_artifacts.validation import Finding

__all__ = ["check_prompts"]

_LOSS_LIMITS = {"pair_mean": 3.0, "best": 10.0}  # nats (spec 3.4)
_WHOLE_PAIRS = 1_200  # of 1,297: fewer pairs are part of the published set, or another one
_WHOLE_OBJECTS = 58
_VARIATIONS = 50


def check_prompts(contents: Contents) -> Iterator[Finding]:
    """Check every prompt table that could be read."""
    for config in contents.configs_of("object_prompts", "checker_prompts", "token_checker_prompts"):
        frame = contents.tables.get(config.name)
        if frame is None:
            continue
        if config.family.name == "object_prompts":
            pairs = frame["ast_node"].str.cat(frame["builtin_obj"], sep="__")
            yield from _check_numbering(contents, config, frame, pairs)
            yield from _check_pairs(contents, config, pairs)
            yield from _check_losses(contents, config, frame, pairs)
            yield from _check_object_texts(config, frame)
            yield from _compare_with_stream(contents, config, frame, pairs)
        else:
            yield from _check_numbering(contents, config, frame, frame["object"])
            yield from _check_checker_texts(config, frame)
            yield from _compare_with_candidates(contents, config, frame)


def _check_numbering(
    contents: Contents, config: Config, frame: pd.DataFrame, group: pd.Series[str]
) -> Iterator[Finding]:
    sizes = group.groupby(group, sort=False).size()
    contents.prompts_per_group[config.family.name] = {str(key): int(size) for key, size in sizes.items()}
    expected = frame.groupby(group).cumcount()
    wrong = np.flatnonzero(frame["variation_id"] != expected)
    yield from limited(
        [
            error(
                "variation-id",
                config.file,
                f"variation_id, row {row}",
                f"{frame['variation_id'].iloc[row]} for {group.iloc[row]}, expected {expected.iloc[row]}: "
                "variations are numbered from 0 in row order",
            )
            for row in wrong.tolist()
        ]
    )
    odd = sizes[sizes != _VARIATIONS]
    if contents.published and config.family.name == "object_prompts" and len(odd):
        message = f"{len(odd)} of {len(sizes)} pairs have other than {_VARIATIONS} prompts, such as {odd.index[0]}: "
        yield note("variations", config.file, "", message + f"{odd.iloc[0]}")


def _check_pairs(contents: Contents, config: Config, pairs: pd.Series[str]) -> Iterator[Finding]:
    known = contents.vocabulary(config).pairs
    first = {pair: row for row, pair in reversed(list(enumerate(pairs)))}
    yield from limited(
        [
            error("vocabulary", config.file, f"row {first[pair]}", f"{pair} is not a pair that is attempted")
            for pair in sorted(first.keys() - known)
        ]
    )


def _check_losses(contents: Contents, config: Config, frame: pd.DataFrame, pairs: pd.Series[str]) -> Iterator[Finding]:
    losses, lengths = frame["sequence_loss"], frame["token_length"]
    for column, wrong, expected in (
        ("sequence_loss", ~np.isfinite(losses) | (losses < 0), "a finite number of nats, 0 or more"),
        ("token_length", lengths < 2, "2 or more"),
    ):
        yield from limited(
            [
                error(column.replace("_", "-"), config.file, f"{column}, row {row}", f"{value}, expected {expected}")
                for row, value in zip(np.flatnonzero(wrong).tolist(), frame[column][wrong].tolist(), strict=True)
            ]
        )
    parameters = contents.parameters(config)
    if parameters is None:
        yield note("loss-filter", config.file, "sequence_loss", "the filter rule is unknown, so means are not checked")
        return
    limit = parameters.loss_threshold or _LOSS_LIMITS[parameters.filter_rule]
    means = losses.groupby(pairs).mean()
    above = means[means > limit]
    yield from limited(
        [
            error(
                "loss-filter", config.file, str(pair), f"mean sequence_loss {mean:.3f} nats, expected at most {limit}"
            )
            for pair, mean in above.items()
        ]
    )


def _check_object_texts(config: Config, frame: pd.DataFrame) -> Iterator[Finding]:
    """Each text parses and holds its node; ``ast_verified`` says so."""
    texts, first = np.unique(frame["prompt_text"].to_numpy(dtype=object), return_inverse=True)
    nodes = [_node_names(text) for text in texts]
    faults = []
    columns = zip(first.tolist(), frame["ast_node"].tolist(), frame["ast_verified"].tolist(), strict=True)
    for row, (text, node, verified) in enumerate(columns):
        occurring = nodes[text]
        if occurring is None:
            faults.append(error("text-parses", config.file, f"prompt_text, row {row}", "this is not Python"))
        elif node not in occurring:
            faults.append(
                error("text-node", config.file, f"prompt_text, row {row}", f"there is no {node} in this text")
            )
        elif not verified:
            message = f"False, although the text holds {node}; unverified prompts are not kept"
            faults.append(error("ast-verified", config.file, f"ast_verified, row {row}", message))
    for rule in ("text-parses", "text-node", "ast-verified"):
        yield from limited([fault for fault in faults if fault.rule == rule])


def _node_names(text: str) -> frozenset[str] | None:
    try:
        return frozenset(type(node).__name__ for node in ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return None


def _check_checker_texts(config: Config, frame: pd.DataFrame) -> Iterator[Finding]:
    """Each text holds the keyword and does not use the concept."""
    used, without = [], []
    rows = zip(frame["object"].tolist(), frame["keyword"].tolist(), frame["prompt_text"].tolist(), strict=True)
    for row, (concept, keyword, text) in enumerate(rows):
        where = f"prompt_text, row {row}"
        if concept in KEYWORDS and not concept_absent(text, concept):
            used.append(error("concept-absent", config.file, where, f"the text does not parse, or uses {concept}"))
        if keyword not in text:
            without.append(error("keyword-present", config.file, where, f"the text does not hold {keyword!r}"))
    yield from limited(used)
    yield from limited(without)


def _compare_with_stream(
    contents: Contents, config: Config, frame: pd.DataFrame, pairs: pd.Series[str]
) -> Iterator[Finding]:
    """Whether a published file is the stream that the generator gives, by its hash (csp_atlas spec 3.1, 11.8)."""
    if not contents.published or pairs.nunique() < _WHOLE_PAIRS:
        return
    present = frozenset(pairs)
    predicted = [
        (pair_key(prompt.ast_node, prompt.builtin_obj), prompt.prompt_text)
        for prompt in generate_object_prompts()
        if pair_key(prompt.ast_node, prompt.builtin_obj) in present
    ]
    found = list(zip(pairs.tolist(), frame["prompt_text"].tolist(), strict=True))
    here, there = _digest(found), _digest(predicted)
    if here == there:
        message = f"the texts are those that the published generator gives with seed 42 (sha256 {here})"
    else:
        row = next((i for i, (a, b) in enumerate(zip(found, predicted, strict=False)) if a != b), len(predicted))
        message = f"the texts are not those of the published generator: sha256 {here}, not {there}, from row {row} on"
    yield note("prompt-stream", config.file, "prompt_text", message)


def _digest(rows: list[tuple[str, str]]) -> str:
    return hashlib.sha256("\x1e".join("\x1f".join(row) for row in rows).encode()).hexdigest()


def _compare_with_candidates(contents: Contents, config: Config, frame: pd.DataFrame) -> Iterator[Finding]:
    """Whether published checker prompts are among the candidates that the generator gives (csp_atlas spec 11.8)."""
    if not contents.published or frame["object"].nunique() < _WHOLE_OBJECTS:
        return
    kind: CheckerKind = "checker" if config.family.name == "checker_prompts" else "token_checker"
    candidates = {(c.object, c.prompt_text) for c in generate_checker_candidates(kind)}
    rows = list(zip(frame["object"].tolist(), frame["prompt_text"].tolist(), strict=True))
    strange = [row for row, text in enumerate(rows) if text not in candidates]
    message = f"{len(rows) - len(strange):,} of {len(rows):,} texts are candidates of the published generator"
    yield note("prompt-candidates", config.file, f"row {strange[0]}" if strange else "prompt_text", message)
