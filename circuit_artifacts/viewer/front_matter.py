"""The YAML at the head of a dataset card, read without trusting it.

Anchors let a few lines stand for billions of values, and tags can name Python objects. Both are found in the stream of
parser events, before any value is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from circuit_artifacts.errors import FormatError, SourceError, UnsafeContentError

__all__ = ["CARD_NAME", "read_front_matter"]

CARD_NAME = "README.md"
_MAX_BYTES, _MAX_DEPTH, _MAX_VALUES = 10 << 20, 100, 1_000_000
# libyaml, where PyYAML was built with it: a card of hundreds of configs takes seconds without.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_front_matter(folder: Path) -> dict[str, Any]:
    """The front matter of a folder's card.

    Raises:
        SourceError: there is no card, or it is a link out of the folder.
        FormatError: it is too large, not UTF-8, or its front matter is missing or does not parse.
        UnsafeContentError: its front matter has tags, is nested deeply, or grows when its anchors are followed.
    """
    path = folder / CARD_NAME
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        problem = "the folder has no dataset card"
        remedy = f"Write {CARD_NAME} with a front matter that has `configs:`."
        raise SourceError(problem, file=CARD_NAME, expected="a file inside the folder", remedy=remedy)
    if (size := path.stat().st_size) > _MAX_BYTES:
        problem = "the card is too large"
        remedy = "Shorten it."
        raise FormatError(
            problem, file=CARD_NAME, found=f"{size:,} bytes", expected=f"<= {_MAX_BYTES:,}", remedy=remedy
        )
    try:
        match = REGEX_YAML_BLOCK.search(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        problem = f"the card is not UTF-8: {error}"
        raise FormatError(problem, file=CARD_NAME, remedy="Write it as UTF-8.") from error
    if match is None:
        problem = "the card has no front matter"
        remedy = "Begin it with a line `---`, the YAML, and a line `---`."
        raise FormatError(problem, file=CARD_NAME, remedy=remedy)
    try:
        _require_tame(match.group(2))
        data = yaml.load(match.group(2), Loader=_Loader)  # noqa: S506  a safe loader
    except UnsafeContentError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-45
        problem = f"the front matter is not YAML: {' '.join(str(error).split())}"
        raise FormatError(problem, file=CARD_NAME, remedy="Correct it.") from error
    if not isinstance(data, dict):
        problem, found = "the front matter is not a mapping", type(data).__name__
        raise FormatError(problem, file=CARD_NAME, found=found, expected="names and values", remedy="Correct it.")
    return data


def _require_tame(text: str) -> None:
    """Refuse tags, deep nesting, and anchors that multiply.

    Raises:
        UnsafeContentError: what is refused, and where.
    """
    growth = _Growth()
    for event in _events(text):
        growth.follow(event)
        where = None if event.start_mark is None else f"line {event.start_mark.line + 2}"
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in yaml.SafeLoader.yaml_constructors:
            problem = "the front matter has a tag that only unsafe loaders know"
            raise UnsafeContentError(problem, file=CARD_NAME, where=where, found=tag, remedy="Remove it.")
        if growth.depth > _MAX_DEPTH:
            raise _too_deep(where)
        if growth.values > _MAX_VALUES:
            problem = "the front matter has too many values when its anchors are followed"
            expected, remedy = f"<= {_MAX_VALUES:,}", "Write the values out."
            raise UnsafeContentError(problem, file=CARD_NAME, where=where, expected=expected, remedy=remedy)


def _events(text: str) -> Iterator[yaml.Event]:
    """The parser's events. Newer versions of libyaml have a limit of their own, which they meet while looking ahead."""
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in (error.problem or ""):
            raise
        raise _too_deep(None if error.problem_mark is None else f"line {error.problem_mark.line + 2}") from error


def _too_deep(where: str | None) -> UnsafeContentError:
    problem, expected = "the front matter is nested too deeply", f"<= {_MAX_DEPTH} levels"
    return UnsafeContentError(problem, file=CARD_NAME, where=where, expected=expected, remedy="Flatten it.")


class _Growth:
    """How many values a document would have if every alias were written out."""

    def __init__(self) -> None:
        self._values_by_anchor: dict[str, int] = {}
        # The anchor and the values so far of each collection that is open, around all of them the document.
        self._open: list[tuple[str | None, int]] = [(None, 0)]

    @property
    def depth(self) -> int:
        """The number of collections around the present place."""
        return len(self._open) - 1

    @property
    def values(self) -> int:
        """The values so far in the innermost of them."""
        return self._open[-1][1]

    def follow(self, event: yaml.Event) -> None:
        """Take in the next event of the parser."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, 1))
            self._remember(event.anchor, _MAX_VALUES)  # for an alias inside of it, which has no end
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values = self._open.pop()
            self._remember(anchor, values)
            self._add(values)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._values_by_anchor.get(event.anchor or "", 0))
        elif isinstance(event, yaml.ScalarEvent):
            self._remember(event.anchor, 1)
            self._add(1)

    def _remember(self, anchor: str | None, values: int) -> None:
        if anchor is not None:
            self._values_by_anchor[anchor] = values

    def _add(self, values: int) -> None:
        anchor, so_far = self._open[-1]
        self._open[-1] = (anchor, so_far + values)
