"""tl_compare.py as a user calls it: what it prints, and what ends it with the exit code 1."""

from pathlib import Path

import pytest
import torch
from scripts import Script

from dml.traversal import messages
from dml.traversal.node import Node
from dml.traversal_scripts.compare import CompareConfig, plans
from dml.traversal_scripts.side_by_side import compare

SHORT = ("--epochs", 1, "--batch_size", 256)


def test_it_prints_the_differences_by_epoch_and_the_bytes(script: Script, tmp_path: Path) -> None:
    called = script("tl_compare.py", "--epochs", 2, "--batch_size", 256, "--float64")
    assert called.returncode == 0, called.stderr
    lines = called.stdout.splitlines()
    assert lines[:2] == [
        "digits, deep_linear, 3 nodes, mode grads",
        f"12 batches of 256, seed 1, plan {lines[1][-12:]}",
    ]
    assert [line.split()[:2] for line in lines[5:7]] == [["1", "1"], ["2", "0.7"]]
    differences = [float(word) for line in lines[5:7] for word in line.split()[3:]]
    assert len(differences) == 6
    assert max(differences) < 1e-14
    # 58,442 parameters to each of 3 nodes in each batch; gradients and two sums of 4 bytes come back.
    model = 64 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    expected = [12 * 3 * 4 * model, 12 * 3 * (4 * model + 8)]
    for name in ("in all messages", "by the formulas"):
        (line,) = [line for line in lines if line.startswith(name) and len(line.split()) == 5]
        assert [int(word) for word in line.split()[3:]] == expected
    # Node 0 is the orchestrator: what it tells itself is not sent.
    assert int(lines[-5].split()[-1]) == sum(expected) * 2 // 3
    assert lines[-2:] == [
        f"largest difference {max(differences):.2e}, within the tolerance of 1e-09",
        "bytes as by the formulas",
    ]
    assert "epoch 2/2" in called.stderr
    assert max(map(len, lines)) <= 80
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags",
    [
        {"mode": "cut=1"},
        {"mode": "legacy3"},
        {"mode": "cut=3", "labels": "at_node"},
        {"partition": "budgets", "sample_alpha": 0.5, "batch_order": "new"},
    ],
    ids=str,
)
def test_every_mode_is_centralized_training_and_sends_what_the_formulas_say(flags: dict[str, object]) -> None:
    """With 12 nodes, some of which have no sample in a batch, and a smaller last batch."""
    found = compare(*plans(CompareConfig(num_nodes=12), {**flags, "batch_size": 200}), 1, float64=True)
    assert found.largest < 1e-12
    assert found.bytes_agree
    assert (found.counted > 0).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tolerance", 0), "NOT within the tolerance of 0"),
        (("--lr", 1e20), "largest difference nan, NOT within the tolerance of 0.0001"),
    ],
)
def test_what_is_beyond_the_tolerance_ends_it_with_1(words: tuple[object, ...], told: str, script: Script):
    called = script("tl_compare.py", *SHORT, *words)
    assert called.returncode == 1
    assert called.stdout.splitlines()[-2].endswith(told)
    assert called.stdout.splitlines()[-1] == "bytes as by the formulas"
    finite = "nan" not in told
    assert ("try a smaller --lr" in called.stderr) != finite
    shown = "test accuracy: centralized not finite, traversal not finite"
    assert (shown in called.stdout.splitlines()) != finite


def test_a_node_whose_gradient_is_wrong_is_noticed(script: Script, monkeypatch: pytest.MonkeyPatch):
    def wrong(self: Node, total: int) -> list[torch.Tensor]:
        return right(self, total + 1)

    right = Node.gradients
    monkeypatch.setattr(Node, "gradients", wrong)
    called = script("tl_compare.py", *SHORT)
    assert called.returncode == 1
    assert "NOT within the tolerance of 0.0001" in called.stdout


def test_bytes_that_are_not_those_of_the_formulas_end_it_with_1(
    script: Script, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(messages, "LABEL", 4)
    called = script("tl_compare.py", *SHORT, "--mode", "cut=1")
    assert called.returncode == 1
    *_, differences, sent = called.stdout.splitlines()
    assert ", within the tolerance" in differences
    assert sent == "bytes NOT as by the formulas"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--out_dir a", "--out_dir: there is no such flag"),
        ("--visits together", "--visits: there is no such flag"),
        ("--mode cut=4", "--mode cut=4: deep_linear has the cuts cut=1 to cut=3"),
        ("--mode legacy", "--mode legacy: legacy is not grads, legacy3, or cut=K"),
        ("--tolerance -1", "--tolerance -1: must be at least 0"),
    ],
)
def test_wrong_calls_get_one_line(words: str, told: str, script: Script, tmp_path: Path) -> None:
    called = script("tl_compare.py", *words.split())
    assert (called.returncode, called.stdout) == (2, "")
    assert told in called.stderr
    assert called.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
