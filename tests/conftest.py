"""What every test may use: scripts as a user calls them, and small experiments."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from scripts import SCRIPTS, Script, run_here

from dml import config
from dml.config import ExperimentConfig

# Where the tests are started in the background the shell has them ignore Ctrl-C, and so would the programs
# that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy with other things makes an example slow, not wrong.
hypothesis.settings.register_profile("dml", deadline=None)
hypothesis.settings.load_profile("dml")


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The data sets of the tests are made in a folder of their own, not in the user's."""
    before = os.environ.get("DML_DATA")
    os.environ["DML_DATA"] = str(tmp_path_factory.mktemp("data"))
    yield
    if before is None:
        del os.environ["DML_DATA"]
    else:
        os.environ["DML_DATA"] = before


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script of src/experiments by its absolute path, in an empty folder, within this process."""

    def call(name: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return run_here(SCRIPTS / name, list(map(str, arguments)), tmp_path)

    return call


@pytest.fixture
def process(tmp_path: Path) -> Script:
    """The same in a process of its own, for scripts that start workers, and for what an import shows."""

    def call(name: str, *arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
        options = {"cwd": tmp_path, "timeout": 280, **options}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return call


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """The configuration of an experiment of a second or less: 4 nodes in a cycle, on digits."""

    def make(**flags: object) -> ExperimentConfig:
        fast = {
            "topology_file": "cycle:n=4",
            "rounds": 3,
            "epochs": 1,
            "threads": 1,
            "out_dir": tmp_path / "out",
        }
        return config.make({**fast, **flags})

    return make
