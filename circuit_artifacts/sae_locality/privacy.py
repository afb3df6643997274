"""Takes host names and absolute paths out of what the files say of the machines that wrote them (spec 11, item 9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Any

__all__ = ["stripped", "stripped_text"]

_HOST_KEYS = frozenset({"host", "hostname", "node", "user", "username"})
_CONTENT_KEYS = frozenset(
    {"description", "explanation", "tokens", "peak_token_str", "activating_token", "roundtrip_failure_examples"}
)
"""Texts about a feature: a slash in them is no path, and they were not written by a machine about itself."""
# A root, then anything but a separator of words. Addresses ("https://...") and fractions ("a/b") do not start like it.
_ABSOLUTE = re.compile(r"(?:\bfile:|(?<![\w.:/\\-]))(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*/|/+)[^\s'\",;:()\[\]{}<>|=]+")


def stripped(value: Any) -> Any:
    """A copy of a JSON value without host names, and with absolute paths cut down to their last part.

    Args:
        value: containers of texts and numbers, as JSON gives them.
    """
    return _without(value, tuple(sorted(set(_hosts(value)), key=len, reverse=True)))


def stripped_text(text: str) -> str:
    """A text with every absolute path in it cut down to its last part."""
    return _ABSOLUTE.sub(lambda found: PureWindowsPath(found[0]).name, text)


def _hosts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _HOST_KEYS and isinstance(item, str) and item:
                yield item
            else:
                yield from _hosts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _hosts(item)


def _without(value: Any, hosts: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {
            key: item if key in _CONTENT_KEYS else _without(item, hosts)
            for key, item in value.items()
            if key not in _HOST_KEYS
        }
    if isinstance(value, list):
        return [_without(item, hosts) for item in value]
    if isinstance(value, str):
        for host in hosts:
            value = value.replace(host, "")
        return stripped_text(value)
    return value
