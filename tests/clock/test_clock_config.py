"""The section of the clock: canonical values, and what it refuses."""

import pytest
from pydantic import ValidationError

from dml import config
from dml.clock.config import ClockConfig
from dml.errors import InputError
from dml.parallel.config import SweepConfig
from dml.parallel.expansion import experiments
from dml.plan import make_plan
from dml.results.grouping import describe
from dml.validation import input_error


def refused(**values):
    """The message for a user; InputErrors come out of pydantic as they are."""
    try:
        ClockConfig(**values)
    except ValidationError as error:
        return str(input_error(error, ClockConfig.flags()))
    except InputError as error:
        return str(error)
    raise AssertionError(values)


def test_the_default_clock_takes_a_second_for_a_step_and_nothing_for_messages():
    clock = ClockConfig()
    assert (clock.law.name, clock.law.mean) == ("constant", 1)
    assert (clock.latency, clock.bandwidth, clock.duplex, clock.busy) == (0, None, "full", "fifo")
    assert clock.slow_nodes == ()


def test_the_same_clock_has_the_same_values():
    clock = ClockConfig(compute="pareto:1.0,2.50", slow_nodes=("5@2.0", "1@0.50", "3@1"))
    assert (clock.compute, clock.slow_nodes) == ("pareto:1,2.5", ("1@0.5", "5@2"))
    assert ClockConfig(slow_nodes="4@2").slow_nodes == ("4@2",)
    assert ClockConfig(**clock.flat()) == clock


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compute": "constant:0"}, "compute constant:0: MEAN must be at least 1e-30, and at most 1e30"),
        ({"compute": "gauss:1"}, "compute gauss:1: gauss:1 is no law of times; take one of: constant:MEAN"),
        ({"slow_nodes": ("2@2", "2@3")}, "slow_nodes 2@2 2@3: node 2 is named twice"),
        ({"slow_nodes": ("2@0",)}, "slow_nodes 2@0: FACTOR must be at least 1e-30, and at most 1e30"),
        ({"latency": -1}, "latency -1: must be at least 0"),
        ({"latency": float("nan")}, "latency nan: must be a finite number"),
        ({"latency": "1_0"}, "latency 1_0: must be in plain digits"),
        ({"bandwidth": 0}, "bandwidth 0: must be above 0"),
        ({"bandwidth": -5}, "bandwidth -5: must be above 0"),
        ({"bandwidth": 1e-31}, "bandwidth 1e-31: must be at least 1e-30"),
        ({"bandwidth": float("inf")}, "bandwidth inf: must be a finite number"),
        ({"duplex": "none"}, "duplex none: must be 'full' or 'half'"),
        ({"busy": "lifo"}, "busy lifo: must be 'fifo' or 'parallel'"),
    ],
)
def test_impossible_values_are_refused_in_one_line(values, message):
    found = refused(**values)
    assert found.startswith(message)
    assert "\n" not in found


CLOCK = {
    "compute": "exponential:1",
    "slow_nodes": ("1@2",),
    "latency": 0.5,
    "bandwidth": 1e6,
    "duplex": "half",
}


def id_of(**flags):
    made = config.make({"topology_file": "cycle:n=4", "algorithm": "dpsgd", **flags})
    return make_plan(made).identity.id


@pytest.mark.parametrize("flag", CLOCK)
def test_a_clock_changes_no_number_of_synchronous_rounds(flag):
    assert id_of(**{flag: CLOCK[flag]}) == id_of()


@pytest.mark.parametrize("flag", [*CLOCK, "busy"])
def test_a_clock_decides_the_numbers_of_events(flag):
    usual = id_of(algorithm="async_gossip")
    assert id_of(algorithm="async_gossip", **{flag: (CLOCK | {"busy": "parallel"})[flag]}) != usual
    assert id_of(algorithm="async_gossip", **{flag: ClockConfig.model_fields[flag].default}) == usual


def test_no_update_of_synchronous_rounds_waits_at_a_node():
    with pytest.raises(InputError, match="busy parallel: has no effect in this experiment"):
        config.make({"busy": "parallel"})


def test_a_slow_node_is_one_of_the_graph():
    with pytest.raises(InputError, match="slow_nodes 1@2 4@2: the graph has the nodes 0 to 3, and no 4"):
        id_of(slow_nodes=("4@2", "1@2"))


def test_experiments_on_one_clock_share_their_settings():
    def settings(**flags):
        made = config.make({"algorithm": "dpsgd", **flags})
        return describe(made.flat(), made.reads(), made.run.rounds).settings

    assert settings() == settings(compute="constant:1")
    assert settings(latency=2) == settings() | {"latency": 2}


def test_every_experiment_of_a_sweep_takes_the_flags_of_the_clock(tmp_path):
    sweep = SweepConfig(preset="quickstart", out_dir=tmp_path)
    plans = experiments(sweep, {"latency": 0.5})
    assert {plan.config.clock.latency for plan in plans} == {0.5}
    assert {plan.identity.id for plan in plans} == {plan.identity.id for plan in experiments(sweep, {})}
