"""Progress of long work: a bar where a command asked for one, nothing in a library call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["shown", "track"]

Item = TypeVar("Item")
_progress: ContextVar[Progress | None] = ContextVar("circuit_artifacts_progress", default=None)


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show the progress of everything inside on a console, if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        token = _progress.set(progress)
        try:
            yield
        finally:
            _progress.reset(token)


def track(
    items: Iterable[Item], description: str, *, total: int, step: Callable[[Any], int] = lambda _: 1, done: int = 0
) -> Iterator[Item]:
    """Yield `items`, advancing a bar by ``step(item)`` after each.

    Args:
        items: what to go through.
        description: what is being done.
        total: the sum of all steps, `done` included.
        step: how far one item gets.
        done: what an earlier run had already done.
    """
    progress = _progress.get()
    if progress is None:
        yield from items
        return
    task = progress.add_task(description, total=total, completed=done)
    try:
        for item in items:
            yield item
            progress.advance(task, step(item))
    finally:
        progress.remove_task(task)
