"""The published lists of topologies, and that asking for one is quick."""

import subprocess
import sys

from dml.topology import make
from dml.topology.folder import file_name
from dml.topology.presets import examples, paper, quickstart


def test_the_eight_examples_have_the_published_sizes():
    shown = examples()
    assert list(shown) == [f"topology_{k}" for k in range(1, 9)]
    assert [t.n for t in shown.values()] == [3, 4, 6, 10, 15, 3, 10, 16]
    unreliable = shown["topology_5"].weights
    assert (unreliable >= 0.7).all()
    assert (unreliable < 1).all()
    assert len(set(unreliable)) == len(unreliable)
    assert all((t.weights == 1).all() for name, t in shown.items() if name != "topology_5")


def test_the_unreliable_example_is_drawn_alike_each_time():
    first, again = (examples()["topology_5"] for _ in range(2))
    assert first.weights.tobytes() == again.weights.tobytes()


def test_the_paper_has_twelve_topologies_a_seed():
    texts = paper(3)
    drawn = [make(text, seed=99) for text in texts]
    assert [t.source for t in drawn] == texts
    assert [t.n for t in drawn] == [8, 16, 33, 8, 16, 64, 33, 33, 33, 33, 33, 33]
    assert len({file_name(t) for t in drawn}) == 12
    assert all(file_name(t).endswith("-seed3") for t in drawn)


def test_quickstart_is_three_graphs_of_33_nodes():
    assert [make(text).n for text in quickstart(0)] == [33] * 3


def test_importing_topologies_loads_nothing_heavy():
    heavy = "{'torch', 'scipy', 'pandas', 'matplotlib', 'sklearn', 'pydantic'}"
    code = f"import sys; from dml.topology import read; read('star:n=3'); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
