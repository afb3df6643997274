"""Work in several processes: results, errors as they were raised, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from circuit_artifacts.conversion.processes import in_processes
from circuit_artifacts.errors import FormatError, SourceError

MANY = """
import signal, sys, time
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it runs in the background
sys.path.insert(0, sys.argv[1])
from test_processes import sleep
from circuit_artifacts.conversion.processes import in_processes

if __name__ == "__main__":
    list(in_processes(sleep, [sys.argv[2]] * 4, 2))
"""


def square(number: int) -> tuple[int, int]:
    return number, number * number


def refuse(number: int) -> None:
    problem = "damaged"
    raise FormatError(problem, file=f"{number}.h5", where="/masks", found="noise", remedy="Get it again.")


def die(number: int) -> None:
    os._exit(number)


def sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results(jobs: int) -> None:
    assert sorted(in_processes(square, range(5), jobs)) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_keep_their_place(jobs: int) -> None:
    with pytest.raises(FormatError) as caught:
        list(in_processes(refuse, [3, 3], jobs))
    assert str(caught.value) == "3.h5:/masks: damaged (found noise). Get it again."


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(SourceError, match="a worker process died"):
        list(in_processes(die, [3, 3], 2))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    """A killed conversion used to be survived by its workers; Ctrl-C reaches all of them."""
    command = [sys.executable, "-c", MANY, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while len(list(tmp_path.iterdir())) < 2 and process.poll() is None:
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.kill()
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    assert errors.count("Traceback") == (number == signal.SIGINT)  # the parent's own, which its caller may catch


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
