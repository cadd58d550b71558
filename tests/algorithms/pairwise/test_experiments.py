"""Pairwise averaging in experiments: real training, stops, engines, and what it is good for."""

from collections.abc import Callable

import numpy as np
import pytest
from stopping import StopAfter

from dml import experiment, results
from dml.config import ExperimentConfig
from dml.errors import InputError

Small = Callable[..., ExperimentConfig]
FORMS = ("pull", "swap", "push", "running_sum")
LIVELY = {
    "topology_file": "complete:n=5",
    "algorithm": "pairwise",
    "compute": "exponential:1",
    "latency": 0.5,
    "drop_probability": 0.3,
    "epochs": None,
    "local_steps": 2,
    "rounds": 8,
    "eval_every": 2,
}


@pytest.fixture
def lively(small: Small) -> Small:
    """Five nodes at their own pace, whose messages travel for half a step and may be lost."""

    def make(**flags: object) -> ExperimentConfig:
        given = {**LIVELY, **flags}
        return small(**{flag: value for flag, value in given.items() if value is not None})

    return make


@pytest.fixture
def small(tmp_path) -> Small:
    """An experiment whose updates are steps."""
    from dml import config

    return lambda **flags: config.make({"threads": 1, "out_dir": tmp_path / "out", **flags})


@pytest.mark.parametrize("form", FORMS)
def test_stopped_and_called_again_it_ends_with_the_same_bits(lively: Small, tmp_path, form):
    whole = experiment.run(lively(pairwise_form=form, out_dir=tmp_path / "whole"))
    config = lively(pairwise_form=form, out_dir=tmp_path / "pieces")
    for rounds in (1, 3):
        with pytest.raises(experiment.Stopped):
            experiment.run(config, stop=StopAfter(rounds))
    pieces = experiment.run(config)
    assert results.differences(whole, pieces) == []
    assert len(results.load(pieces).segments) == 3


@pytest.mark.parametrize("form", FORMS)
def test_the_engines_agree_to_rounding(lively: Small, tmp_path, form):
    found = {}
    for engine in ("loop", "batched"):
        flags = {"pairwise_form": form, "engine": engine, "momentum": 0.9, "lr": 0.02}
        path = experiment.run(lively(**flags, out_dir=tmp_path / engine))
        found[engine] = results.load(path).arrays
    for name in ("metrics/train_loss", "metrics/test_loss", "communication/bytes_sent"):
        np.testing.assert_allclose(found["loop"][name], found["batched"][name], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found["loop"]["time/simulated_s"], found["batched"]["time/simulated_s"])


def test_swap_without_scores_is_asynchronous_gossip(lively: Small):
    """The two are one algorithm if every exchange succeeds, and draw the same numbers for it."""
    flags = {"drop_probability": 0.0, "peer_score_rate": None}
    ours = experiment.run(lively(pairwise_form="swap", **flags))
    theirs = experiment.run(lively(algorithm="async_gossip", **flags))
    for name in ("metrics/test_loss", "communication/bytes_sent", "time/simulated_s"):
        np.testing.assert_array_equal(results.load(ours).arrays[name], results.load(theirs).arrays[name])


@pytest.mark.slow
def test_pull_beats_training_alone_and_is_close_to_dpsgd_at_equal_bytes(small: Small):
    """4 nodes with few labels each; D-PSGD sends three models where pull averaging sends one."""
    common = {"topology_file": "complete:n=4", "partition": "equal", "label_alpha": 0.1, "lr": 0.1}
    common |= {"eval_every": 240, "local_steps": 5}

    def run(**flags):
        loaded = results.load(experiment.run(small(**common, **flags)))
        return loaded.arrays["metrics/test_acc"][-1].mean(), loaded.arrays["communication/bytes_sent"].sum()

    for seed in (0, 1):
        alone, nothing = run(algorithm="pairwise", pull_probability=0.0, rounds=240, seed=seed)
        pull, sent = run(algorithm="pairwise", rounds=240, seed=seed)
        dpsgd, as_much = run(algorithm="dpsgd", rounds=80, seed=seed)
        assert nothing == 0
        assert sent == pytest.approx(as_much, rel=0.01)
        assert pull >= alone + 0.3
        assert pull >= dpsgd - 0.03


def test_a_file_says_what_was_refused(lively: Small):
    loaded = results.load(experiment.run(lively()))
    assert loaded.attributes["refused_models"] == 0
    assert loaded.attributes["refused_headers"] == 0
    assert "refused_headers" not in results.load(experiment.run(lively(pairwise_form="swap"))).attributes


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"pairwise_form": "swap", "interpolation": "clock"}, "interpolation"),
        ({"interpolation": "clock", "mixing_weight": 0.3}, "mixing_weight"),
        ({"pairwise_form": "running_sum", "peer_exploration": 0.5}, "peer_exploration"),
        ({"pairwise_form": "push", "overlap": True}, "overlap"),
        ({"interpolation": "best"}, "interpolation"),
        ({"mixing_weight": 1.5}, "mixing_weight"),
        ({"pull_probability": -0.1}, "pull_probability"),
        ({"peer_exploration": 0.0}, "peer_exploration"),
        ({"algorithm": "dpsgd", "pull_probability": 0.5}, "pull_probability"),
    ],
)
def test_options_that_nothing_reads_are_refused(small: Small, flags, field):
    from dml.plan import make_plan

    with pytest.raises(InputError) as refused:
        make_plan(small(**{"algorithm": "pairwise", **flags}))
    assert refused.value.field == field
