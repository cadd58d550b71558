"""The published lists of topologies, and that asking for one is quick."""

import subprocess
import sys

import pytest

from dml.topology import make
from dml.topology.folder import file_name
from dml.topology.presets import TABLES, examples


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
    drawn = [make(text, seed=3) for text in TABLES["paper"]]
    assert [t.n for t in drawn] == [8, 16, 33, 8, 16, 64, 33, 33, 33, 33, 33, 33]
    assert len({file_name(t) for t in drawn}) == 12
    assert all(file_name(t).endswith("-seed3") for t in drawn)


def test_quickstart_is_three_graphs_of_33_nodes():
    assert [make(text).n for text in TABLES["quickstart"]] == [33] * 3


# as arXiv 2505.11760 and its sweeps name them: n and m of the Barabasi-Albert graphs of each other sweep
BARABASI_ALBERT = {
    "hetero_label": [(33, 2)],
    "softmax": [(33, 1), (33, 2), (33, 3)],
    "neg_soft": [(8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (16, 3), (33, 1), (33, 2), (33, 3)],
    "scale_nodes": [(16, 2), (32, 2), (64, 3)],
    "heterogeneous": [(33, 2), (66, 2), (100, 2)],
    "timing": [(8, 3), (16, 3), (33, 3), (64, 3)],
}


def test_the_tables_are_the_published_ones():
    assert set(TABLES) == {"paper", "quickstart", *BARABASI_ALBERT}
    assert set(TABLES["quickstart"]) < set(TABLES["paper"])
    for name, wanted in BARABASI_ALBERT.items():
        drawn = [make(text) for text in TABLES[name]]
        # each node after the first m brings m links
        assert [(t.n, t.m) for t in drawn] == [(n, m * (n - m)) for n, m in wanted]
        assert all(t.family.startswith("barabasi_albert:") for t in drawn)


@pytest.mark.parametrize("name", TABLES)
def test_every_graph_of_a_table_is_drawn_by_the_seed_and_connected(name):
    for text in TABLES[name]:
        assert "seed" not in text
        for seed in range(3):
            drawn = make(text, seed)
            assert drawn.seed == seed
            assert drawn.family == text
            # blocks that share few links may fall apart; all others hang together for every seed
            if not text.startswith("stochastic_block"):
                assert (drawn.distance_to([0]) >= 0).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_text_with_its_seed_is_the_graph_of_that_seed(name):
    texts = [f"{text},seed=7" for text in TABLES[name]]
    assert [make(text, seed=7).source for text in TABLES[name]] == texts
    assert [make(text, seed=1).graph_id for text in texts] == [
        make(text, seed=7).graph_id for text in TABLES[name]
    ]


def test_importing_topologies_loads_nothing_heavy():
    heavy = "{'torch', 'scipy', 'pandas', 'matplotlib', 'sklearn', 'pydantic'}"
    code = f"import sys; from dml.topology import read; read('star:n=3'); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
