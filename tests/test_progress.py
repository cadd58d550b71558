"""Progress on a terminal and in a file."""

import io
import logging
import sys

import pytest

from dml import messages, progress
from dml.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")


def test_a_file_gets_a_line_now_and_then_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("round", 10, 2) as bar:
        now += 1
        bar.update(3)
        now += 11
        bar.update(6, "IID 0.5")
        bar.update(10)
    # 4 rounds took 12 s, so the other 4 take 12 s again.
    assert capsys.readouterr().err.splitlines() == [
        "round 6/10 after 12 s, about 12 s left  IID 0.5",
        "round 10/10 after 12 s  ",
    ]


def test_there_may_be_more_to_do_than_was_thought(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("experiment", 1) as bar:
        bar.update(1, "", 2)
        bar.update(2, "1 failed", 2)
    assert capsys.readouterr().err == "experiment 2/2 after 0 s  1 failed\n"


def test_a_terminal_gets_a_bar_and_messages_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    messages.to_stderr()
    with Progress("experiment", 3) as bar:
        logging.getLogger("dml.somewhere").info("one [failed]")
        bar.update(2, "1 failed", 4)
    text = terminal.getvalue()
    assert "one [failed]" in text
    assert "2/4" in text
    assert "1 failed" in text


def test_a_reader_that_has_gone_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with Progress("round", 1) as bar:
        bar.update(1)
