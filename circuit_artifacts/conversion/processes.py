"""Independent tasks in several processes, which end when the work, the user or the parent process ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import TypeVar

from circuit_artifacts.errors import SourceError

__all__ = ["in_processes"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    """The results of `function` for every task, in the order in which they come.

    Args:
        function: of a module; what it is given, returns and raises is pickled.
        tasks: what to do.
        jobs: how many processes; 1 stays in this one.

    Raises:
        SourceError: a process died.
    """
    if min(jobs, len(tasks)) <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    ended, alive = context.Pipe(duplex=False)  # closed when this process ends, however it ends
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context, initializer=_start_worker, initargs=(ended,))
    try:
        for future in as_completed([pool.submit(function, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        problem = "a worker process died"
        raise SourceError(problem, found=error, remedy="Run it again with fewer jobs: what is done is kept.") from error
    except KeyboardInterrupt:
        alive.close()  # the workers do not wait for the end of what they are doing
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        ended.close()


def _start_worker(ended: Connection) -> None:
    # Ctrl-C reaches the workers too; what it means is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(ended,), daemon=True).start()


def _end_with_parent(ended: Connection) -> None:
    with contextlib.suppress(OSError):
        ended.poll(None)
    os._exit(1)
