"""Every benchmark runs to its end in its quickest form; what it measures then means little."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def benchmark(*words):
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "row"),
    [
        ("training", "evaluate MNIST MLP"),
        ("mixing", "the same on the complete graph"),
        ("algorithms", "784-512-10, 16: relaysgd_grad"),
        ("events", "memory beyond models, pairwise"),
        ("traversal", "traversal cut=1 apart, digits MLP, n=3"),
        ("network", "20 MB both ways: rate over bare CURVE"),
        ("sharing", "2 shards of 1 thread, MNIST MLP, 33 nodes"),
        ("network_traversal", "traversal cut=2 over loopback, digits, n=3"),
        ("peers", "a round of 4 peers, 5 M: rate over bare CURVE"),
        ("update_send", "update_send, 5 M, peers that stand still: 99 %"),
        ("checkpoints", "checkpoint MNIST MLP, 33 nodes"),
        ("scale", "experiment, MNIST MLP, 8 nodes: memory"),
        ("programs", "  2 workers against 1"),
    ],
)
def test_each_part_of_the_table_is_measured(part, row):
    printed = benchmark("--parts", part)
    assert row in printed
    assert printed.splitlines()[-1].startswith("load average")
