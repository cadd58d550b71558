"""What a round tells its rule."""

import numpy as np
import pytest
import torch

from dml.algorithms.rounds import Rounds
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic
from dml.training.config import TrainingConfig


class Remembering(Rule):
    """Keeps the learning rate and the calls."""

    def __init__(self):
        self.calls = []

    def before(self, X, t):
        self.calls.append(("before", t))

    def after(self, X, t, lr):
        self.calls.append(("after", t, lr))
        return Traffic(np.zeros(len(X), np.int64), np.zeros((0, 2), np.int64))


class Idle:
    """An engine of two nodes, with 3 and 5 batches."""

    batches = np.array([3, 5])

    def __init__(self, calls):
        self.calls = calls

    def begin_round(self, momentum=None):
        self.calls.append("begin")

    def epoch(self, nodes):
        self.calls.append(("epoch", nodes.tolist()))
        return np.zeros(2, np.float32), np.zeros(2, np.float32)

    def steps(self, nodes, count):
        self.calls.append(("steps", nodes.tolist(), count))
        return np.zeros(2, np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("fields", "trained", "lr"),
    [
        ({"local_steps": 3}, [("steps", [0, 1], 3)], 3 * 0.1),
        ({"epochs": 2}, [("epoch", [0, 1])] * 2, 2 * 4 * 0.1),  # the mean over nodes of 2 passes' batches
    ],
)
def test_a_rule_is_told_the_sum_of_the_local_learning_rates(fields, trained, lr):
    rule = Remembering()
    training = TrainingConfig(lr=0.1, **fields)
    rounds = Rounds(rule, torch.zeros(2, 4), Idle(rule.calls), training, 1.0, 0)
    seen = []
    rounds.advance(7, lambda epoch, loss, accuracy: seen.append(epoch))
    assert rule.calls[:-1] == [("before", 7), "begin", *trained]
    assert rule.calls[-1][:2] == ("after", 7)
    assert rule.calls[-1][2] == pytest.approx(lr)
    assert seen == list(range(len(trained)))


def test_without_training_the_learning_rate_is_0():
    rule = Remembering()
    rounds = Rounds(rule, torch.zeros(2, 4), Idle(rule.calls), TrainingConfig(train=False), 1.0, 0)
    rounds.advance(0, lambda epoch, loss, accuracy: None)
    assert rule.calls == [("before", 0), ("after", 0, 0.0)]
