"""centralized.py as a user calls it."""

from pathlib import Path

import numpy as np
import pytest
from scripts import Script

from dml import results
from dml.traversal_scripts.compare import CompareConfig, plans
from dml.traversal_scripts.side_by_side import compare

PUBLISHED = ("--epochs", 2, "--batch_size", 64, "--lr", 0.01, "--gamma", 0.7, "--seed", 1)


def test_it_ends_with_a_line_per_epoch_and_a_file_like_all_others(script: Script, tmp_path: Path) -> None:
    called = script("centralized.py", *PUBLISHED)
    assert called.returncode == 0, called.stderr
    _, head, first, second, _, path = called.stdout.splitlines()
    assert head.split() == ["epoch", "lr", "train", "loss", "test", "loss", "test", "accuracy"]
    assert [line.split()[:2] for line in (first, second)] == [["1", "0.01"], ["2", "0.007"]]
    loaded = results.load(tmp_path / path)
    assert loaded.attributes["status"] == "complete"
    a = loaded.arrays
    assert a["metrics/round"].tolist() == [0, 1, 1]
    for row, line in enumerate((first, second)):
        shown = [float(word) for word in line.split()[2:]]
        assert shown[1] == pytest.approx(a["metrics/test_loss"][row, 0], abs=1e-6)
        assert shown[2] == pytest.approx(a["metrics/test_acc"][row, 0], abs=1e-4)
    # The same batches in the same order as those of tl_compare.py.
    losses = compare(*plans(CompareConfig(epochs=2), {"lr": 0.01}), 2, float64=False).losses
    shown = [float(line.split()[2]) for line in (first, second)]
    assert shown == pytest.approx(losses, abs=1e-6)
    assert np.diff(losses) < -0.005

    again = script("centralized.py", *PUBLISHED)
    assert "nothing was run" in again.stderr
    assert again.stdout == called.stdout
    longer = script("centralized.py", "--epochs", 3, *PUBLISHED[2:])
    assert longer.stdout.splitlines()[2:4] == [first, second]
    assert len(longer.stdout.splitlines()) == 7


@pytest.mark.parametrize("lr", [1e3, 1e5])
def test_columns_of_huge_losses_do_not_touch(lr: float, script: Script) -> None:
    called = script("centralized.py", "--epochs", 1, "--lr", lr)
    line = called.stdout.splitlines()[2]
    assert len(line.split()) == 5
    assert float(line.split()[2]) > 1e10
    assert len(line) == 61


def test_no_accuracy_of_a_model_that_diverged_is_shown(script: Script) -> None:
    called = script("centralized.py", "--epochs", 2, "--lr", 1e30)
    heading, _, first, *_ = called.stdout.splitlines()
    assert heading.endswith("seed 1: diverged")
    assert first.endswith(" nan      not finite")
    assert "try a smaller --lr" in called.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--rounds 3", "--rounds: there is no such flag"),
        ("--optimizer sgd", "--optimizer: there is no such flag"),
        ("--mode grads", "--mode: there is no such flag"),
        ("--epochs 0", "--epochs 0: must be at least 1"),
        ("--gamma 1.5", "--gamma 1.5: must be at most 1"),
        ("--lr -1", "--lr -1: must be at least 0"),
        ("--num_nodes 1", "--num_nodes 1: must be at least 2"),
        ("--num_nodes 1438", "--num_nodes 1438: has 1438 nodes for 1437 training samples"),
        ("--model decoder", "--model decoder: takes sequences of tokens"),
        ("--sample_alpha 1", "--sample_alpha 1: has no effect in this experiment: take --partition budgets"),
    ],
)
def test_wrong_calls_get_one_line(words: str, told: str, script: Script, tmp_path: Path) -> None:
    called = script("centralized.py", *words.split())
    assert (called.returncode, called.stdout) == (2, "")
    assert told in called.stderr
    assert called.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
