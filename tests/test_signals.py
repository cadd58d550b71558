"""What signals do to a run."""

import os
import signal

import pytest

from dml.signals import stop_on_signals


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
