"""Nodes that are killed in any phase, and what then happens by --on_lost."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from remote_nodes import Node, assert_same, listening, model, plan, train
from torch import Tensor

from dml import assembly, experiment
from dml.assembly import Parts
from dml.errors import FailingWorkersError, LostWorkersError
from dml.experiment import Stopped
from dml.network.endpoint import Endpoint
from dml.plan import Plan
from dml.results import Loaded
from dml.signals import StopRequest
from dml.traversal.asking import Asking, OfBatch
from dml.traversal.engine import UnionEngine
from dml.traversal.plan import Visit
from dml.traversal.visits import Apart
from dml.traversal_network.config import OrchestratorConfig

CUT = {"model": "mlp", "mode": "cut=1"}


def replaced(node: Node, end: Endpoint, number: int, after: float = 0.0) -> threading.Thread:
    """Starts a node again as soon as its process has ended."""

    def work() -> None:
        while node.lives:
            time.sleep(0.01)
        time.sleep(after)
        Node(number, end.address)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def with_one_killed(
    chosen: OrchestratorConfig,
    planned: Plan,
    killed: tuple[int, int, bool],
    *,
    again: bool,
    stop: StopRequest | None = None,
) -> Loaded:
    """A run of three nodes, of which node 1 is killed."""
    with listening() as end:
        nodes = [Node(0, end.address), Node(1, end.address, killed=killed), Node(2, end.address)]
        if again:
            replaced(nodes[1], end, 1)
        return train(chosen, planned, end, stop=stop)


@pytest.mark.parametrize(
    ("flags", "killed"),
    [
        ({"model": "mlp"}, (0, 3, False)),
        pytest.param({"model": "mlp"}, (0, 3, True), marks=pytest.mark.slow),
        pytest.param(CUT, (0, 3, False), marks=pytest.mark.slow),
        pytest.param(CUT, (1, 3, False), marks=pytest.mark.slow),
        pytest.param(CUT, (1, 3, True), marks=pytest.mark.slow),
        *(
            pytest.param({**CUT, "labels": "at_node"}, (phase, 3, computes), marks=pytest.mark.slow)
            for phase in range(3)
            for computes in (False, True)
        ),
        *(pytest.param({"mode": "legacy3"}, (phase, 3, False), marks=pytest.mark.slow) for phase in range(3)),
    ],
    ids=str,
)
def test_a_node_that_is_killed_and_started_again_changes_nothing(
    flags: dict[str, object], killed: tuple[int, int, bool], tmp_path: Path
) -> None:
    chosen, planned = plan(tmp_path / "network", deadline=30, **flags)
    found = with_one_killed(chosen, planned, killed, again=True)
    assert found.attributes["lossless"]
    assert_same(found, planned, tmp_path / "here")


@pytest.mark.parametrize("phase", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_abort_ends_the_run_within_the_deadline(phase: int, tmp_path: Path) -> None:
    chosen, planned = plan(tmp_path, on_lost="abort", deadline=0.5, **CUT)
    began = time.monotonic()
    with pytest.raises(FailingWorkersError, match=r"^node 1 .*\(--on_lost abort\)$"):
        with_one_killed(chosen, planned, (phase, 0, False), again=False)
    assert time.monotonic() - began < 0.5 + 2 + 5  # Five seconds to begin with.


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"model": "mlp"}, CUT, {**CUT, "labels": "at_node"}], ids=str)
@pytest.mark.parametrize("again", [False, True])
def test_renormalise_goes_on_with_the_gradients_of_the_others(
    flags: dict[str, object], again: bool, tmp_path: Path
) -> None:
    chosen, planned = plan(tmp_path, on_lost="renormalise", deadline=0.5, epochs=12, **flags)
    phase = 1 if "mode" in flags else 0
    found = with_one_killed(chosen, planned, (phase, 8, False), again=again)
    assert found.attributes["rounds_done"] == 12
    assert not found.attributes["lossless"]
    assert "of node 1" in found.attributes["lossy_because"]
    losses = found.arrays["metrics/train_loss"][:-1]
    # Its loss is over the samples that were seen: those of the first rounds, and of the last if it is back.
    assert np.isfinite(losses[[0, 1]]).all()
    assert np.isfinite(losses[:, [0, 2]]).all()
    assert np.isfinite(losses[-1, 1]) == again
    assert found.arrays["metrics/test_acc"][-1, 0] > 0.6


class WithoutNode1(Asking):
    """Visits in one process that leave out node 1."""

    def batch(self, number: int, visits: Sequence[Visit], total: int, of_batch: OfBatch) -> list[Tensor]:
        here = [visit for visit in visits if visit.node != 1]
        return of_batch(number, here, sum(len(visit.local) for visit in here))


def without_node_1(plan: Plan, before: str | None) -> Parts:
    """The parts of a run in one process that leaves out node 1."""
    parts = assembly.assemble(plan, before)
    assert isinstance(parts.engine, UnionEngine)
    assert isinstance(parts.engine.visits, Apart)
    parts.engine.visits.asking = WithoutNode1()
    return parts


@pytest.mark.slow
def test_the_gradient_without_a_node_is_the_mean_over_the_samples_of_the_others(tmp_path: Path) -> None:
    flags = {"epochs": 1, "model": "mlp"}
    chosen, planned = plan(tmp_path / "network", on_lost="renormalise", deadline=0.3, **flags)
    found = with_one_killed(chosen, planned, (0, 0, False), again=False)
    assert found.attributes["lossy_because"] == "nodes were lost, and visits left out: 6 of node 1"
    assert np.isnan(found.arrays["metrics/train_loss"][0, 1])
    _, other = plan(tmp_path / "here", **flags)
    expected = model(other, experiment.run(other.config, assemble=without_node_1))
    assert np.array_equal(model(planned, planned.result), expected)


@pytest.mark.slow
def test_a_node_that_stays_away_ends_a_run_that_waits_with_an_offer_to_go_on(tmp_path: Path) -> None:
    chosen, planned = plan(tmp_path, deadline=0.4, model="mlp")
    with pytest.raises(LostWorkersError, match=r"^node 1 has not answered for 0\.4 s$"):
        with_one_killed(chosen, planned, (0, 1, False), again=False)


@pytest.mark.slow
def test_a_run_that_waits_for_a_node_can_be_stopped(tmp_path: Path) -> None:
    chosen, planned = plan(tmp_path, deadline=30, model="mlp")
    stop = StopRequest()
    threading.Timer(0.5, lambda: setattr(stop, "reason", "enough")).start()
    with listening() as end:
        Node(0, end.address)
        Node(2, end.address)
        with pytest.raises(Stopped, match=r"^stopped while nodes were missing \(1\): enough$"):
            train(chosen, planned, end, stop=stop)
