"""The workers end with their owner, whichever way it ends, and no process is left."""

import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from parsl import Config
from parsl.executors import HighThroughputExecutor

from dml.parallel.owner import Owner
from dml.parallel.watch import watch_executors

ROOT = Path(__file__).parents[2]
PATIENCE = 1.0

# A scheduler on the local site. Each task marks its start and works in short rounds. As in an experiment,
# SIGTERM is a wish: the task goes on for longer than the second that Parsl gives, and marks its end.
SCHEDULER = """
import sys
from pathlib import Path

import parsl
from dml.parallel.sites import load_site
from dml.parallel.owner import Heartbeat
from dml.parallel.watch import watch_executors

folder, seconds, tasks = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

def experiment(folder, index, seconds):
    import signal, time
    from pathlib import Path
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    Path(folder, f"started-{index}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not told:
        time.sleep(0.05)
    if told:
        time.sleep(1.5)
        Path(folder, f"saved-{index}").touch()
    signal.signal(signal.SIGTERM, before)  # or the idle worker would take SIGTERM as a wish too
    return index

config = load_site("local", Path(sys.argv[4])).config({"workers": "2"}, folder / ".parsl")
with Heartbeat(folder / "heart {beat}", period=0.2) as heart:
    watch_executors(config, heart.owner, patience=float(sys.argv[5]))
    try:
        with parsl.load(config):
            app = parsl.python_app(experiment)
            futures = [app(str(folder), i, seconds) for i in range(tasks)]
            print(sorted(future.result() for future in futures), flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


class Sweep:
    """A scheduler in its own process group, as a terminal starts it, and all processes that come from it."""

    def __init__(self, folder: Path, seconds: float, tasks: int, environment: dict[str, str]) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        script = folder / "scheduler.py"
        script.write_text(SCHEDULER)
        arguments = [folder, seconds, tasks, ROOT / "parsl_configs", PATIENCE]
        self.process = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            stdout=(folder / "out").open("w"),
            stderr=(folder / "err").open("w"),
            env={**environment, "DML_TEST_MARK": self.mark},
            start_new_session=True,
            cwd=folder,
        )

    def left(self) -> list[psutil.Process]:
        """The living processes that inherited this sweep's mark."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get("DML_TEST_MARK") == self.mark
            except psutil.Error:  # a zombie, or not ours
                continue
            if marked:
                found.append(process)
        return found

    def started(self) -> int:
        return len(list(self.folder.glob("started-*")))

    def saved(self) -> int:
        return len(list(self.folder.glob("saved-*")))

    def wait_for_starts(self, count: int) -> None:
        assert wait_until(lambda: self.started() >= count, 30), (self.folder / "err").read_text()

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


def wait_until(fact: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    sweeps: list[Sweep] = []

    def start(seconds: float, tasks: int, environment: dict[str, str] | None = None) -> Sweep:
        sweeps.append(
            Sweep(tmp_path, seconds, tasks, dict(os.environ) if environment is None else environment)
        )
        return sweeps[-1]

    yield start
    for one in sweeps:
        for process in one.left():
            process.kill()
        one.process.wait()


def test_a_killed_scheduler_takes_all_its_processes_along(sweep: Callable[..., Sweep]) -> None:
    run = sweep(seconds=60, tasks=4)
    run.wait_for_starts(2)
    assert len(run.left()) > 4
    run.process.kill()
    run.process.wait()
    assert wait_until(lambda: not run.left(), PATIENCE + 8), run.left()
    assert run.saved() == 2, "a busy worker has the time to save its work"
    assert run.started() == 2, "what waited in the queue is not begun"


def test_a_scheduler_killed_while_its_workers_are_idle_leaves_none(sweep: Callable[..., Sweep]) -> None:
    run = sweep(seconds=60, tasks=1)
    run.wait_for_starts(1)
    run.process.kill()
    run.process.wait()
    assert wait_until(lambda: not run.left(), PATIENCE + 8), run.left()
    assert run.saved() == 1


def test_a_scheduler_that_ends_leaves_none_and_needs_no_path(sweep: Callable[..., Sweep]) -> None:
    bare = {"PATH": "", "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    run = sweep(seconds=0, tasks=4, environment=bare)
    assert run.process.wait(30) == 0, run.text("err")
    assert run.text("out") == "[0, 1, 2, 3]\n"
    assert wait_until(lambda: not run.left(), 3), run.left()
    assert not (run.folder / "heart {beat}").exists()


def test_ctrl_c_ends_all_quietly(sweep: Callable[..., Sweep]) -> None:
    run = sweep(seconds=60, tasks=4)
    run.wait_for_starts(2)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(10) == 0
    assert wait_until(lambda: not run.left(), 5), run.left()
    assert run.text("out") == "stopped\n"
    assert run.text("err") == ""
    assert run.saved() == 2


def wrapper(owner: Owner, patience: float, *command: str) -> list[str]:
    who = [owner.host, str(owner.pid), repr(owner.started), owner.heartbeat, str(patience), "2"]
    return [sys.executable, "-m", "dml.parallel.watch", *who, "--", *command]


PRINT_AND_SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@pytest.fixture
def here(tmp_path: Path) -> Owner:
    return Owner.here(tmp_path / "beat")


def test_the_wrapper_hands_on_input_output_and_exit_status(here: Owner) -> None:
    program = "import sys; print(sys.stdin.read()); sys.exit(7)"
    done = subprocess.run(
        wrapper(here, 5, sys.executable, "-c", program), input="config", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "config\n", "")


def test_the_wrapper_says_which_command_is_missing(here: Owner) -> None:
    done = subprocess.run(wrapper(here, 5, "no-such-command"), capture_output=True, text=True)
    assert done.returncode == 127
    assert done.stderr == "no-such-command: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_wrapped_command_ends_with_the_wrapper(here: Owner, number: int) -> None:
    with subprocess.Popen(
        wrapper(here, 5, sys.executable, "-c", PRINT_AND_SLEEP), stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        child = psutil.Process(int(outer.stdout.readline()))
        outer.send_signal(number)
        assert outer.wait(5) == (143 if number == signal.SIGTERM else -9)
        assert wait_until(lambda: not child.is_running(), 3)


def test_what_a_command_leaves_behind_is_ended(here: Owner) -> None:
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {PRINT_AND_SLEEP!r}])"
    done = subprocess.run(
        wrapper(here, 5, sys.executable, "-c", program + "; import time; time.sleep(1)"),
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode == 0
    assert not psutil.pid_exists(int(done.stdout))


POOL = f"{sys.executable} -P -m dml.parallel.pool"


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        (None, "", "process_worker_pool.py"),
        ("X=1 process_worker_pool.py {addresses}", "X=1 ", "process_worker_pool.py 1.2.3.4"),
        ("module load m && python3 -u /a/process_worker_pool.py", "module load m && ", "python3 -u /a/"),
        ("my_pool {{block_id}}", "", "my_pool 7"),
    ],
)
def test_the_managers_command_keeps_its_form(
    tmp_path: Path, command: str | None, before: str, after: str
) -> None:
    owner = Owner.here(tmp_path / "a {b} 'c'" / "beat")
    executor = HighThroughputExecutor(launch_cmd=command, address="127.0.0.1", encrypted=False)
    watch_executors(Config(executors=[executor]), owner, patience=2.5)

    fields = defaultdict(str, addresses="1.2.3.4", block_id="{block_id}")
    line = executor.launch_cmd.format_map(fields).format(block_id=7)
    assert line.startswith(before + sys.executable)
    words = shlex.split(line[len(before) :])
    assert words[words.index("--") - 3] == owner.heartbeat
    assert words[words.index("--") - 2] == "2.5"
    rest = line.split(" -- ", 1)[1]
    if after.startswith("process_worker_pool.py"):
        assert rest.startswith(POOL)
        pool = shlex.split(rest)
        assert pool[pool.index("--failing") + 1] == str(tmp_path / "a {b} 'c'" / "failing_workers")
        rest = rest[rest.index("process_worker_pool.py") :]
    assert rest.startswith(after)
    assert executor.interchange_launch_cmd[-2:] == ["--", "interchange.py"]


@pytest.mark.parametrize("pins", [{"available_accelerators": 2}, {"cpu_affinity": "block"}])
def test_workers_that_are_pinned_start_without_torch(tmp_path: Path, pins: dict[str, Any]) -> None:
    executor = HighThroughputExecutor(address="127.0.0.1", encrypted=False, **pins)
    watch_executors(Config(executors=[executor]), Owner.here(tmp_path / "beat"))
    assert f" -- {POOL} " in executor.launch_cmd
    assert " --pinned process_worker_pool.py" in executor.launch_cmd
