"""Two ways to do the same work, timed in turns in one process, and a table of the results."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

__all__ = ["Goal", "Row", "Side", "at_least", "at_most", "best_times", "compare", "machine", "markdown"]

_TURN_SECONDS = 0.25
_PACKAGES = ("numpy", "h5py", "pyarrow", "datasets", "torch")


@dataclass(frozen=True)
class Side:
    """One way to do the work.

    Attributes:
        what: what it does, in words.
        run: does all of it once.
    """

    what: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Goal:
    """A bound on a number, with its unit: "x" for how many times faster, "%" or "s" otherwise."""

    bound: float
    unit: str
    least: bool

    def met(self, value: float) -> bool:
        """Whether the number keeps to the bound."""
        return value >= self.bound if self.least else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.least else 'at most'} {self.bound:g} {self.unit}"


def at_least(bound: float, unit: str = "x") -> Goal:
    """A number that should be large."""
    return Goal(bound, unit, least=True)


def at_most(bound: float, unit: str = "x") -> Goal:
    """A number that should be small."""
    return Goal(bound, unit, least=False)


@dataclass(frozen=True)
class Row:
    """One line of the table; without a goal, it is for information."""

    work: str
    ours: str
    against: str
    value: float
    unit: str = "x"
    goal: Goal | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        return "" if self.goal is None else "met" if self.goal.met(self.value) else "**missed**"


def best_times(*sides: Side, rounds: int) -> list[float]:
    """The best run of each side, in seconds.

    The sides take turns, so that both see the same machine. A turn lasts a quarter of a second at least, so that one
    interruption does not spoil all runs of a fast side.

    Args:
        sides: what to time.
        rounds: turns of each side.
    """
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for index, side in enumerate(sides):
            gc.collect()
            spent = 0.0
            while spent < _TURN_SECONDS:
                start = time.perf_counter()
                result = side.run()
                seconds = time.perf_counter() - start
                del result
                best[index], spent = min(best[index], seconds), spent + seconds
    return best


def compare(work: str, ours: Side, against: Side, goal: Goal | None = None, *, rounds: int = 5) -> Row:
    """Time both sides.

    The value is how many times faster ours is, or, for a goal that bounds it from above, how many times longer it
    takes.
    """
    own, other = best_times(ours, against, rounds=rounds)
    value = own / other if goal is not None and not goal.least else other / own
    return Row(work, f"{ours.what}: {_seconds(own)}", f"{against.what}: {_seconds(other)}", value, goal=goal)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a markdown table."""
    lines = ["| work | ours | against | result | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = f"{row.value:.3g}" if row.value < 100 else f"{row.value:.0f}"
        lines.append(
            f"| {row.work} | {row.ours} | {row.against} | {value} {row.unit} | {row.goal or ''} | {row.verdict} |"
        )
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, number of cores and versions, in one sentence."""
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = models[0].partition(": ")[2]
    except (OSError, IndexError):
        processor = platform.processor() or platform.machine()
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in _PACKAGES)
    return f"{os.cpu_count()} cores of {processor}; Python {platform.python_version()}, {packages}."
