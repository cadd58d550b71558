"""The file of peers for training scripts, and dpwa's own files."""

import pytest

from dml.algorithms.pairwise.interpolation import Header
from dml.errors import InputError
from dml.pairing.config import load

DPWA = """
# As in the published example.
- nodes:
  - { name: w0, host: localhost, port: 45000 }
  - { name: w1, host: localhost, port: 45001 }
- PROBABILITY: 0.5
- timeout_ms: 2500
- interpolation: constant
- divergence_threshold: 0.2
- constant:
    value: 0.25
- clock: 0
- loss: 0
"""


def written(tmp_path, text, name="peers.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


NODES = "nodes: [{port: 5001}, {port: 5002}, {name: c, port: 5003}]\n"


def test_published_files_of_both_versions_are_one_object(tmp_path):
    new = load(written(tmp_path, DPWA.replace("PROBABILITY", "fetch_probability"), "new.yaml"))
    old = load(written(tmp_path, DPWA.replace("PROBABILITY", "pull_probability"), "old.yaml"))
    assert new == old
    assert new.names == ["w0", "w1"]
    assert new.listen("w1") == "tcp://localhost:45001"
    assert (new.pull_probability, new.timeout, new.divergence_threshold) == (0.5, 2.5, 0.2)
    assert new.interpolate()(Header(1, 1), Header(1, 1)) == 0.25
    plain = DPWA.replace("PROBABILITY", "pull_probability").replace("\n- ", "\n").replace("\n  - {", "\n- {")
    assert load(written(tmp_path, plain)) == new


@pytest.mark.parametrize(
    ("text", "own", "peer", "factor"),
    [
        ("interpolation: constant", (1, 1), (1, 1), 0.5),
        ("interpolation: clock", (3, 1), (6, 1), 2 / 3),
        ("interpolation: loss", (1, 1), (1, 3), 0.25),
        ("interpolation: loss\ndivergence_threshold: 2", (1, 1), (1, 3), 0.125),
        ("interpolation: linear", (2500, 1), (1, 1), 0.275),
        ("interpolation: linear\nlinear: {start: 1, end: 0, target: 10}", (5, 1), (1, 1), 0.5),
        ("interpolation: loss_divergence", (1, 1), (1, 2), 0.2),
        ("interpolation: divergence\nloss_divergence: {target_divergence_loss: 2}", (1, 1), (1, 2), 0.1),
        ("interpolation: loss", (1, 0), (1, 0), 0.5),
    ],
)
def test_factors_are_those_of_the_simulation(tmp_path, text, own, peer, factor):
    interpolation = load(written(tmp_path, NODES + text)).interpolate()
    assert interpolation(Header(*own), Header(*peer)) == pytest.approx(factor)


def test_edges_name_peers_or_their_places(tmp_path):
    assert load(written(tmp_path, NODES)).neighbours("c") == ["node 0", "node 1"]
    chain = load(written(tmp_path, NODES + "edges: [[node 0, 1], [c, node 1]]"))
    assert [chain.neighbours(name) for name in chain.names] == [["node 1"], ["node 0", "c"], ["node 1"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("edges: [[node 0, d]]", "edges d: there is no such peer"),
        ("edges: [[node 0, 3]]", "edges 3: there is no such peer"),
        ("edges: [[0, node 0]]", "must join two different peers"),
        ("pull_probability: 2", "pull_probability 2: must be at most 1"),
        ("fetch_probability: 1\npull_probability: 1", "pull_probability: is given twice"),
        ("interpolation: closs", "no such interpolation .did you mean"),
        ("timeout_ms: 0", "timeout_ms 0: must be above 0"),
        ("constant: {value: nan}", "constant nan: must be a finite number"),
        ("clock: {a: 1}", "clock"),
        ("timeout: 3", "timeout: there is no such key .did you mean timeout_ms"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, told):
    with pytest.raises(InputError, match=told) as caught:
        load(written(tmp_path, NODES + text))
    assert "peers.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
