"""Scores by class against scikit-learn's report on the same answers."""

import numpy as np
import pytest
from sklearn.metrics import classification_report

from dml.results import per_class


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_a_classification_report(seed):
    """Some classes never occur, some are never predicted, some are neither."""
    random, classes = np.random.default_rng(seed), 9
    truth = random.choice([0, 1, 2, 5, 8], 40)
    answers = np.where(random.random(40) < 0.5, truth, random.choice([0, 2, 6, 7], 40))
    counts = [np.bincount(x, minlength=classes) for x in (truth[truth == answers], truth, answers)]
    scores = per_class.scores(*counts)
    report = classification_report(truth, answers, output_dict=True, zero_division=0)
    for k in range(classes):
        for score, named in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            if str(k) in report:
                assert scores[score][k] == pytest.approx(report[str(k)][named], abs=1e-12)
            else:
                assert np.isnan(scores[score][k])
    assert np.isnan(scores["f1"]).sum() >= 2
    assert per_class.mean(scores["f1"]) == pytest.approx(report["macro avg"]["f1-score"], abs=1e-12)
