"""Progress bars: only where asked for, counting what was done, and never in the way of the work."""

from __future__ import annotations

import io
from unittest import mock

import pytest
from rich.console import Console
from rich.progress import Progress

from circuit_artifacts import progress
from circuit_artifacts.progress import shown, track


def _console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_a_library_call_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "working", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_inside_shown_the_bar_counts_steps_and_earlier_work() -> None:
    console = _console()
    with (
        shown(console),
        mock.patch.object(Progress, "add_task", autospec=True, return_value=0) as add,
        mock.patch.object(Progress, "advance", autospec=True) as advance,
        mock.patch.object(Progress, "remove_task"),
    ):
        assert list(track([2, 3], "reading", total=10, step=lambda n: n, done=5)) == [2, 3]
    add.assert_called_once_with(mock.ANY, "reading", total=10, completed=5)
    assert [call.args[1:] for call in advance.call_args_list] == [(0, 2), (0, 3)]


def test_the_console_shows_description_and_counts() -> None:
    console = _console()
    with shown(console):
        for _ in track(range(2), "scoring prompts", total=2):
            current = progress._progress.get()
            assert current is not None
            current.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "scoring prompts" in text
    assert "1/2" in text


def test_items_are_taken_one_at_a_time() -> None:
    # Work that is counted before it is done would be lost from a checkpoint.
    taken: list[int] = []
    with shown(_console()):
        for item in track((taken.append(n) or n for n in range(3)), "working", total=3):  # type: ignore[func-returns-value]
            assert taken == list(range(item + 1))


@pytest.mark.parametrize("inside", [True, False])
def test_an_error_in_the_work_takes_its_bar_away(inside: bool) -> None:
    def fail() -> None:
        for _ in track(range(3), "working", total=3):
            raise ValueError

    if not inside:
        with pytest.raises(ValueError):
            fail()
        return
    with shown(_console()):
        current = progress._progress.get()
        assert current is not None
        with pytest.raises(ValueError):
            fail()
        assert current.tasks == []


def test_after_shown_nothing_is_shown_even_if_it_failed() -> None:
    with pytest.raises(ValueError), shown(_console()):
        raise ValueError
    assert progress._progress.get() is None
