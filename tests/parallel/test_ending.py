"""A process that is told to end does so within seconds, whatever its main thread waits for."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dml.parallel.ending import LIMIT, Ending

# One program, whose main thread waits in the way that the test names.
PROGRAM = """
import queue, sys, threading, time
from pathlib import Path
from dml.parallel import ending

ending.LIMIT = 1.0
lock = threading.Lock()
folder = Path(sys.argv[1])

def note(name):
    with open(folder / "steps", "a") as file:
        file.write(name + " ")

def waits_for_ever():
    note("hangs")
    lock.acquire()

lock.acquire()
with ending.Ending(lambda: "2 of 3 are done") as end, end.giving_up(lambda: note("first")):
    with end.giving_up(lambda: 1 / 0), end.giving_up({step}):
        print("ready", flush=True)
        {main}
"""
WAITS = {
    "sleeps": "time.sleep(60)",
    "waits for a lock": "lock.acquire()",
    "waits for a queue": "queue.Queue().get()",
    "computes": "sum(i * i for i in range(10**10))",
}


def started(folder: Path, main: str, step: str = "lambda: note('last')") -> "subprocess.Popen[str]":
    program = textwrap.dedent(PROGRAM).replace("{main}", main).replace("{step}", step)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup it would be ignored, and stay so.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("main", WAITS.values(), ids=WAITS)
def test_it_gives_up_in_the_order_of_a_stack_and_says_how_to_go_on(tmp_path, main, number):
    process = started(tmp_path, main)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 75
    assert err == "2 of 3 are done\n"
    # The step that fails keeps no other from being taken.
    assert (tmp_path / "steps").read_text().split() == ["last", "first"]


def test_a_second_sigterm_changes_nothing_and_a_step_that_hangs_is_left(tmp_path):
    process = started(tmp_path, "time.sleep(60)", "waits_for_ever")
    begun = time.monotonic()
    for _ in range(5):
        process.terminate()
        time.sleep(0.05)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - begun < LIMIT
    assert (process.returncode, err) == (75, "2 of 3 are done\n")
    assert (tmp_path / "steps").read_text().split() == ["hangs"]


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = started(tmp_path, "time.sleep(60)", "waits_for_ever")
    process.send_signal(signal.SIGINT)
    until = time.monotonic() + 5
    while not (tmp_path / "steps").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


def test_afterwards_signals_do_what_they_did_before():
    def mine(number, frame):
        pass

    outside = signal.signal(signal.SIGTERM, mine)
    try:
        threads = threading.active_count()
        with Ending():
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine
        os.kill(os.getpid(), signal.SIGTERM)
        assert threading.active_count() == threads
    finally:
        signal.signal(signal.SIGTERM, outside)


def test_in_another_thread_it_leaves_signals_alone():
    before, entered = signal.getsignal(signal.SIGTERM), []

    def enter():
        with Ending():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [before]
