"""Nodes in other threads, over the wire, give the numbers of a run in one process."""

from pathlib import Path

import pytest
from remote_nodes import Node, assert_same, listening, plan, train


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "mlp"},
        {"model": "mlp", "mode": "cut=1"},
        pytest.param({"model": "mlp", "mode": "cut=1", "labels": "at_node"}, marks=pytest.mark.slow),
        pytest.param({"mode": "legacy3"}, marks=pytest.mark.slow),
        pytest.param({"model": "cnn_dropout", "mode": "cut=1"}, marks=pytest.mark.slow),
        pytest.param({"partition": "budgets", "sample_alpha": 0.5, "num_nodes": 5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_it_is_the_run_in_one_process_bit_for_bit(flags: dict[str, object], tmp_path: Path) -> None:
    chosen, planned = plan(tmp_path / "network", **flags)
    with listening(planned.topology.n) as end:
        nodes = [Node(number, end.address) for number in range(planned.topology.n)]
        found = train(chosen, planned, end)
        assert {node.join() for node in nodes} == {0}
    assert_same(found, planned, tmp_path / "here")
    a = found.attributes
    assert a["lossless"]
    for way in ("to_nodes", "from_nodes"):
        # Headers, numbers of rows and signatures are a small part, even of such small messages.
        assert 1 < a[f"wire_{way}"] / a[f"messages_{way}"] < 1.2
