"""fetch_data.py: what it does not fetch, and what it refuses."""

import os
import subprocess
import sys
import time

import pytest
from scripts import SCRIPTS

from dml.data.fetch_main import KEPT, FetchConfig


def test_published_names_stand_for_their_data_sets():
    assert FetchConfig(names=("cifar10_vgg", "mnist")).names == ("cifar10", "mnist")
    assert KEPT == ["mnist", "fmnist", "cifar10", "cifar100", "mnli"]


def test_what_comes_with_the_project_is_not_fetched(script, tmp_path):
    done = script("fetch_data.py", "digits", "tiny_mem", "--data_dir", "d")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "digits comes with distributed_ml\ntiny_mem comes with distributed_ml\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "NAME: name at least one (mnist, fmnist, cifar10, cifar100, mnli)"),
        (
            ["mnist", "imagenet"],
            "NAME imagenet: no such data set; choose from: mnist, fmnist, cifar10, cifar100, mnli",
        ),
        (["mnist", "fmnist", "--source", "x"], "--source x: holds one data set, so give one name"),
    ],
)
def test_wrong_input_is_refused_by_name(script, words, message):
    done = script("fetch_data.py", *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


NO_NETWORK = """
import runpy, socket, sys

def refuse(*arguments, **options):
    raise OSError(101, "Network is unreachable")

socket.getaddrinfo = socket.socket.connect = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_a_network_it_says_so_soon_and_in_one_line(tmp_path):
    """Not 25 seconds later, after what the libraries say at each of their tries."""
    command = [sys.executable, "-c", NO_NETWORK, str(SCRIPTS / "fetch_data.py"), "mnist", "--data_dir", "d"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment["HF_HOME"] = str(tmp_path / "hub")  # Nothing has been fetched before.
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert time.monotonic() - started < 15
    assert (done.returncode, done.stdout) == (1, "")
    why = "https://huggingface.co cannot be reached (Network is unreachable)"
    hint = "without a network, copy its files here and run fetch_data.py mnist --source PATH"
    assert done.stderr == f"error: mnist cannot be fetched from the hub (ylecun/mnist): {why}; {hint}\n"
    assert not (tmp_path / "d").exists()
