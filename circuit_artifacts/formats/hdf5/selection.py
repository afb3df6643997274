"""Path patterns, such as ``masks/layer_{layer:int}/{ast}__{builtin}``: which datasets, and columns from their paths.

``{name}`` captures text up to the next literal, ``{name:int}`` an integer; neither crosses a ``/``. ``*`` stands for
any text inside one part of the path, ``**`` for any number of parts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pyarrow as pa

from circuit_artifacts.errors import SchemaError

__all__ = ["Selection", "select_all"]

_TOKEN = re.compile(r"(?P<capture>\{[^{}]*\})|(?P<parts>\*\*/?)|(?P<any>\*)|(?P<text>[^{}*]+)|(?P<stray>[{}])")
_CAPTURE = re.compile(r"\{([A-Za-z_]\w*)(:int)?\}")


class Selection(NamedTuple):
    """A compiled pattern. Use :meth:`of`.

    Attributes:
        pattern: as it was given.
        expression: for a path without its leading ``/``.
        columns: captured names and their types, string or int64.
    """

    pattern: str
    expression: re.Pattern[str]
    columns: dict[str, pa.DataType]

    @classmethod
    def of(cls, pattern: str) -> Selection:
        """Compile a pattern.

        Raises:
            SchemaError: braces that do not pair, a name twice, or a type other than int.
        """
        expression, columns = "", dict[str, pa.DataType]()
        for token in _TOKEN.finditer(pattern.lstrip("/")):
            text = token[0]
            if token.lastgroup == "text":
                expression += re.escape(text)
            elif token.lastgroup == "any":
                expression += "[^/]*"
            elif token.lastgroup == "parts":
                expression += "(?:.*/)?" if text.endswith("/") else ".*"
            else:
                capture = _CAPTURE.fullmatch(text)
                if capture is None or capture[1] in columns:
                    problem = "not a pattern of paths"
                    expected = "each {name} or {name:int} once, * or **"
                    raise SchemaError(problem, where=f"select={pattern!r}", found=text, expected=expected)
                columns[capture[1]] = pa.int64() if capture[2] else pa.string()
                # At most 18 digits, so that every number is an int64.
                expression += f"(?P<{capture[1]}>{'-?[0-9]{1,18}' if capture[2] else '[^/]+?'})"
        return cls(pattern, re.compile(expression, re.DOTALL), columns)

    def match(self, path: str) -> dict[str, str | int] | None:
        """What a path says for each captured column; None if it is not selected."""
        found = self.expression.fullmatch(path.lstrip("/"))
        if found is None:
            return None
        parts = found.groupdict().items()
        return {name: int(text) if self.columns[name] == pa.int64() else text for name, text in parts}


def select_all() -> Selection:
    """What selects every path."""
    return Selection.of("**")
