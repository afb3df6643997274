"""A page taken apart as a browser would, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

__all__ = ["Markup", "parsed", "source_hash"]


@dataclass
class Markup:
    """Start tags with their attributes in the order of the page, and what scripts, styles and data hold."""

    title: str = ""
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    data: Any = None

    @property
    def attribute_names(self) -> set[str]:
        return {name for _, attributes in self.elements for name in attributes}

    @property
    def addresses(self) -> set[str | None]:
        """What the page refers to."""
        return {a[name] for _, a in self.elements for name in ("src", "href", "action", "data") if name in a}

    @property
    def policy(self) -> dict[str, str]:
        """The content security policy, by directive."""
        content = next(a["content"] for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy")
        return dict(re.split(r"\s+", part.strip(), maxsplit=1) for part in (content or "").split(";"))


def parsed(page: str) -> Markup:
    """Take a page apart."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.markup


def source_hash(text: str) -> str:
    """How a policy names one script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.markup = Markup()
        self._inside = ""
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.markup.elements.append((tag, attributes))
        if tag in ("script", "style", "title"):
            self._inside, self._text = tag, []
            if attributes.get("type") == "application/json":
                self._inside = "data"

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = "".join(self._text)
        if self._inside == "data":
            self.markup.data = json.loads(text)
        elif self._inside == "title":
            self.markup.title = self.markup.title or text
        elif self._inside:
            getattr(self.markup, f"{self._inside}s").append(text)
        self._inside = ""
