"""Finding known quantities in JSON whose key names are unknown (causal-dimensionality spec 3, importing).

The names that are looked for are guesses; which of them led to what is written down in `Reading.changes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["ALIASES", "Entry", "Group", "Reading"]

ALIASES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        name: frozenset({name, *others.split()})
        for name, others in {
            "n_causal": "num_causal causal_count n_active_causal",
            "n_repr": "n_firing n_alive n_active representational",
            "width": "d_sae sae_width n_features",
            "tau": "threshold thr",
            "spearman_rho": "rho spearman spearman_r",
            "kappa_hat": "kappa k_hat asymptote",
            "ci": "ci95 ci_95 bootstrap_ci",
            "ci_lo": "ci_low",
            "ci_hi": "ci_high",
            "inflation": "ratio random_encoder_ratio",
            # Beyond those of spec 3, ours:
            "inert_fraction": "inert inert_share inert_pct inert_percent",
            "median": "boot_median bootstrap_median",
            "p_value": "p pval",
            "form": "selected best_form fit_form model_form",
            "sae": "sae_release release",
            "task": "structure",
            "n_true": "n_truth",
        }.items()
    }
)
"""Names under which a quantity may be stored, normalised: lower case, words joined by underscores."""
_SHARES = frozenset({"inert_fraction", "recall"})
"""Quantities between 0 and 1, which may be stored as percent."""

_DEEPEST = 64
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Entry:
    """One item of a mapping, anywhere in the file.

    Attributes:
        place: such as ``$.fits[0].kappa``.
        key: normalised.
        value: as parsed.
    """

    place: str
    key: str
    value: Any


@dataclass(frozen=True)
class Group:
    """One mapping, anywhere in the file.

    Attributes:
        key: that it has in another mapping, as it is; None for one in a list.
        entries: its own items.
    """

    key: str | None
    entries: list[Entry]


class Reading:
    """A JSON value that is searched depth-first, in the order of the file, and not below 64 levels.

    Args:
        value: as parsed.

    Attributes:
        entries: every item of every mapping in it.
        groups: every mapping in it.
        changes: what was taken from where, and what was done to it.
    """

    def __init__(self, value: Any) -> None:
        self.entries: list[Entry] = []
        self.groups: list[Group] = []
        self.changes: list[str] = []
        self._walk(value, "$", None, _DEEPEST)

    def number(self, name: str, entries: Iterable[Entry] | None = None) -> float | None:
        """The first number that goes by the name or an alias of it; None if there is none.

        Args:
            name: of the quantity.
            entries: where to look; None is everywhere.
        """
        found = [
            (entry, number)
            for entry in (self.entries if entries is None else entries)
            if entry.key in _names(name) and (number := _number(entry.value)) is not None
        ]
        if not found:
            return None
        entry, number = found[0]
        self._note(name, entry, found=len(found))
        if isinstance(entry.value, str):
            self.changes.append(f"{name}: the text {entry.value!r} is the number {number}")
        return self._share(name, number)

    def text(self, name: str) -> str | None:
        """As :meth:`number`, for text."""
        found = [entry for entry in self.entries if entry.key in _names(name) and isinstance(entry.value, str)]
        if not found:
            return None
        self._note(name, found[0], found=len(found))
        return str(found[0].value)

    def numbers(self, name: str) -> list[float] | None:
        """The first list of numbers that goes by the name, an alias of it, or the plural of one."""
        names = {form for alias in _names(name) for form in (alias, f"{alias}s")}
        for entry in self.entries:
            if entry.key in names and isinstance(entry.value, list):
                numbers = [number for item in entry.value if (number := _number(item)) is not None]
                if numbers and len(numbers) == len(entry.value):
                    self._note(name, entry)
                    return numbers
        return None

    def mapping(self, name: str) -> dict[str, Any] | None:
        """The first mapping that goes by exactly this name."""
        return next(
            (entry.value for entry in self.entries if entry.key == name and isinstance(entry.value, dict)), None
        )

    def interval(self) -> dict[str, float] | None:
        """The first confidence interval, as ``{"lo", "hi"}`` and perhaps ``median``."""
        pair = self._pair()
        if pair is None:
            return None
        median = self.number("median")
        return {"lo": pair[0], "hi": pair[1]} | ({} if median is None else {"median": median})

    def _pair(self) -> tuple[float, float] | None:
        both = self.numbers("ci")
        if both is not None and len(both) == 2:
            return both[0], both[1]
        inside = next((group.entries for group in self.groups if group.key in ALIASES["ci"]), self.entries)
        for low, high in (("ci_lo", "ci_hi"), ("lo", "hi"), ("low", "high"), ("lower", "upper")):
            ends = self.number(low, inside), self.number(high, inside)
            if ends[0] is not None and ends[1] is not None:
                return ends[0], ends[1]
        return None

    def _walk(self, value: Any, place: str, key: str | None, depth: int) -> None:
        if isinstance(value, dict) and depth:
            group = Group(key, [])
            self.groups.append(group)
            for name, item in value.items():
                entry = Entry(f"{place}.{name}", _SEPARATORS.sub("_", name.lower()).strip("_"), item)
                group.entries.append(entry)
                self.entries.append(entry)
                self._walk(item, entry.place, name, depth - 1)
        elif isinstance(value, list) and depth:
            for number, item in enumerate(value):
                self._walk(item, f"{place}[{number}]", None, depth - 1)

    def _note(self, name: str, entry: Entry, found: int = 1) -> None:
        others = f", the first of {found}" if found > 1 else ""
        self.changes.append(f"{name}: from {entry.place}{others}")

    def _share(self, name: str, number: float) -> float:
        if name not in _SHARES or not 1 < number <= 100:
            return number
        self.changes.append(f"{name}: {number} is taken for percent")
        return number / 100


def _names(name: str) -> frozenset[str]:
    return ALIASES.get(name, frozenset({name}))


def _number(value: Any) -> float | None:
    """A finite number, or one that is written as text; no truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return number if math.isfinite(number) else None
