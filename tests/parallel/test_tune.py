"""The search for learning rates: where it goes, when it ends, what it writes."""

import math

import pytest

from dml.parallel import expansion, tune
from dml.parallel.flags import separated
from dml.parallel.tune import MOST_STEPS, Tuner
from dml.results import reader

SWEEP = """
topology_file: "chain:n=4"
algorithm: [dpsgd, relaysgd]
train_test_val: [[0.8, 0.2]]
lr: 0.1
seed: [0, 1]
"""


def searched(tmp_path, monkeypatch, score, metric="worst_test", text=SWEEP, lost="diverged"):
    """The tuner after all that it asked for was done.

    A function of the configuration gives each score: None where the experiment fails, -inf where it is
    cut short with the status `lost`.
    """
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    own, flags = separated({"sweep": str(path), "tune_lr": metric, "out_dir": str(tmp_path)})
    expansion.experiments(own, flags)
    tuner = Tuner(expansion.combinations(own, flags), metric)
    scores, ran = {}, []

    def attributes(result):
        value = scores[result]
        # The numbers of a run that was cut short may be high, and mean nothing.
        return {"status": lost, metric: 1.0} if value == -math.inf else {"status": "complete", metric: value}

    monkeypatch.setattr(reader, "attributes", attributes)
    waiting = tuner.first()
    while waiting:
        plan = waiting.pop(0)
        scores[plan.result] = score(plan.config)
        ran.append(plan.identity.id)
        if scores[plan.result] is not None:
            waiting += tuner.follow(plan)
    assert len(ran) == len(set(ran)), "an experiment was run twice"
    return tuner, path


def hill(config):
    """Best at 0.8 for dpsgd, and at 0.025 for relaysgd."""
    top = 0.8 if config.algorithm.algorithm == "dpsgd" else 0.025
    return 1 - abs(math.log2(config.training.lr / top)) / 10


def test_each_combination_finds_its_own_learning_rate(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, hill)
    assert [search.lr(search.best) for search in tuner.searches] == [0.8, 0.025]
    # The best, two to each side, and what lay on the way there; both seeds count in each.
    assert sorted(tuner.searches[0].scores) == [-1, 0, 1, 2, 3, 4, 5]
    assert [len(search.plans) for search in tuner.searches] == [2, 2]


def test_learning_rates_that_diverge_are_left_for_lower_ones(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, lambda c: 0.5 if c.training.lr < 0.004 else -math.inf)
    assert {search.lr(search.best) for search in tuner.searches} == {0.003125}


@pytest.mark.parametrize("lost", ["diverged", "stalled"])
def test_one_seed_that_is_cut_short_rules_a_learning_rate_out(tmp_path, monkeypatch, lost):
    def score(config):
        return -math.inf if config.run.seed and config.training.lr > 0.1 else hill(config)

    tuner, _ = searched(tmp_path, monkeypatch, score, lost=lost)
    assert tuner.searches[0].lr(tuner.searches[0].best) == 0.1


def test_a_search_that_finds_nothing_says_so_and_ends(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, lambda config: -math.inf)
    assert all(search.best is None for search in tuner.searches)
    assert min(tuner.searches[0].scores) == -MOST_STEPS
    assert "algorithm dpsgd, not converged: diverges or stalls at every lr" in tuner.report()[0]
    tuner.write(tmp_path / "tuned.yaml")
    assert "not converged" in (tmp_path / "tuned.yaml").read_text()


def test_a_search_in_which_an_experiment_failed_has_not_ended(tmp_path, monkeypatch):
    def score(config):
        return None if config.algorithm.algorithm == "dpsgd" and config.training.lr == 0.4 else hill(config)

    tuner, _ = searched(tmp_path, monkeypatch, score)
    assert (
        tuner.report()[0] == "algorithm dpsgd, not ended: an experiment at lr 0.4 failed; best so far lr 0.8"
    )
    tuner.write(tmp_path / "tuned.yaml")
    plans = expansion.experiments(
        *separated({"sweep": str(tmp_path / "tuned.yaml"), "out_dir": str(tmp_path)})
    )
    assert {plan.config.algorithm.algorithm for plan in plans} == {"relaysgd"}


def test_a_search_whose_first_experiments_all_failed_says_so(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, lambda config: None)
    assert tuner.report()[0] == "algorithm dpsgd, not ended: an experiment at lr 0.05 or 0.1 or 0.2 failed"


def test_the_first_learning_rate_is_the_one_that_was_given(tmp_path, monkeypatch):
    text = 'topology_file: "chain:n=4"\nalgorithm: dpsgd\nlr: 0.0123456\n'
    tuner, _ = searched(tmp_path, monkeypatch, lambda config: 0.5, text=text)
    assert [tuner.searches[0].lr(step) for step in (-1, 0, 1)] == [0.006173, 0.0123456, 0.02469]


def test_a_search_ends_at_its_edge(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, lambda config: config.training.lr)
    assert tuner.searches[0].best == MOST_STEPS
    assert "at the edge of the search" in tuner.report()[0]


def test_the_file_that_it_writes_is_the_sweep_with_these_learning_rates(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, hill)
    written = tmp_path / "tuned.yaml"
    tuner.write(written)
    plans = expansion.experiments(*separated({"sweep": str(written), "out_dir": str(tmp_path)}))
    found = {(p.config.algorithm.algorithm, p.config.run.seed, p.config.training.lr) for p in plans}
    assert found == {("dpsgd", 0, 0.8), ("dpsgd", 1, 0.8), ("relaysgd", 0, 0.025), ("relaysgd", 1, 0.025)}
    assert all(p.config.data.train_test_val == (0.8, 0.2) for p in plans)


def test_an_experiment_of_two_combinations_is_run_once_and_counts_for_both(tmp_path, monkeypatch):
    # Momentum is nothing that adam reads.
    text = 'topology_file: ["chain:n=4", "nx.path_graph:n=4"]\nalgorithm: dpsgd\nlr: 0.1\n'
    tuner, _ = searched(tmp_path, monkeypatch, hill, text=text)
    assert len(tuner.searches) == 2
    assert [search.lr(search.best) for search in tuner.searches] == [0.8, 0.8]


def test_a_plateau_is_not_wandered_over(tmp_path, monkeypatch):
    tuner, _ = searched(tmp_path, monkeypatch, lambda c: min(0.9, c.training.lr * 2))
    assert tuner.searches[0].lr(tuner.searches[0].best) == 0.8
    assert max(tuner.searches[0].scores) == 5


@pytest.mark.parametrize("flag", [{"control": True}, {"limit": 3}])
def test_flags_that_mean_nothing_beside_it(flag):
    from dml.errors import InputError

    with pytest.raises(InputError, match="excludes --tune_lr"):
        separated({"tune_lr": "worst_test", **flag})
    assert tune.FACTOR == 2
