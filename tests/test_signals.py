"""What signals do to a run."""

import os
import signal
import threading

import pytest

from dml.signals import interrupt_on_sigterm, stop_on_signals


def test_a_signal_asks_to_stop_and_a_second_ctrl_c_interrupts(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals("stopping after this round") as request:
        assert request() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert request() == "asked to by SIGINT"
        assert capsys.readouterr().err == "stopping after this round\n"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_asks_quietly_however_often_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with stop_on_signals("stopping") as request:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert request() == "asked to by SIGTERM"
    assert capsys.readouterr().err == ""


def test_sigterm_interrupts_while_that_is_wanted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupt_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_gets_no_signals_and_asks_for_none() -> None:
    entered = []

    def enter() -> None:
        with interrupt_on_sigterm():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
