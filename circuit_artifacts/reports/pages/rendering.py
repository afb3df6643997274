"""From a template to one file: style and scripts go into the page, and nothing else can run in it."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from circuit_artifacts import __version__
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.reports.pages.text import visible, visible_pieces

__all__ = ["file_text", "render_page", "write_text"]

_TEMPLATES = "templates"
_ANY_STYLE = "'unsafe-inline'"


def render_page(
    template: str,
    *,
    title: str,
    note: str,
    scripts: Sequence[str],
    styles: Sequence[str] = (),
    any_style: bool = False,
    **values: Any,
) -> str:
    """One HTML page. Equal arguments give equal text.

    Its content security policy allows nothing to be fetched, and only the given scripts to run, each named by its hash;
    an event handler or a script that comes in through the data is refused by the browser even if it were not escaped.

    Args:
        template: name in the folder of templates.
        title: of the page.
        note: where its numbers are from.
        scripts: JavaScript, each for one element, in the order of execution; trusted.
        styles: style sheets after the common one; trusted.
        any_style: allow scripts and elements to bring styles of their own.
        values: what the template shows; escaped. Text for scripts goes through the filter ``tojson``.

    Raises:
        ValueError: a number for a script is not finite.
    """
    style = "".join([file_text("page.css"), *styles])
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_source_hash, scripts)),
        "style-src": _ANY_STYLE if any_style else _source_hash(style),
        "img-src": "data: blob:",  # the empty icon; the picture that plotly saves
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return (
        _environment()
        .get_template(template)
        .render(
            title=visible(title),
            note=visible(note),
            version=__version__,
            policy="; ".join(f"{name} {sources}" for name, sources in policy.items()),
            style=Markup(style),  # noqa: S704 - ours
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours
            **values,
        )
    )


def write_text(page: str, path: str | os.PathLike[str]) -> None:
    """Write a page as UTF-8, complete or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


@functools.cache
def file_text(name: str) -> str:
    """A style sheet or script that lies beside the templates."""
    return resources.files(__package__).joinpath(_TEMPLATES, name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["visible"] = visible
    environment.filters["pieces"] = visible_pieces
    return environment


def _source_hash(text: str) -> str:
    """How a policy names the one text that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
