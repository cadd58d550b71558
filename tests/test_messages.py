"""Texts for users."""

import logging

import pytest

from dml import messages


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "node", "0 nodes"),
        (1, "node", "1 node"),
        (2, "topology", "2 topologies"),
        (1, "topology", "1 topology"),
    ],
)
def test_things_are_counted(number: int, noun: str, text: str) -> None:
    assert messages.count(number, noun) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (76960, "75.2 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3072.0 GiB"),
    ],
)
def test_an_amount_has_a_unit_in_which_it_is_not_zero(number: int, text: str) -> None:
    assert messages.amount(number) == text


def test_the_library_is_shown_on_stderr_and_warnings_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    messages.to_stderr()
    messages.to_stderr()
    logger = logging.getLogger("dml.somewhere")
    logger.info("a line")
    logger.warning("look out")
    assert capsys.readouterr().err == "a line\nwarning: look out\n"


def test_a_bar_prints_the_messages_above_itself(capsys: pytest.CaptureFixture[str]) -> None:
    messages.to_stderr()
    said: list[str] = []
    with messages.above(said.append):
        logging.getLogger("dml.somewhere").info("a line")
    assert said == ["a line"]
    assert capsys.readouterr().err == ""
