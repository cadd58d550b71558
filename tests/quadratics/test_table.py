"""The table as it is printed."""

from dml.quadratics import table
from dml.quadratics.table import Cell
from dml.quadratics.tuning import Candidate, Tuned


def cell(name, n, zeta2, steps):
    best = Candidate(0.5, "reached", steps, 1e-7) if steps else None
    return Cell(name, "graph", n, zeta2, Tuned(best, "not converged: stalls" if not best else "", ()), 1.0)


def test_a_line_per_title_a_column_per_problem_and_notes_below():
    cells = [cell("a", 8, 1.0, 30), cell("a", 4, 0.1, 7), cell("b", 4, 0.1, 0)]
    assert table.text(cells, ["a@x", "a@x", "b@y"]).splitlines() == [
        "steps  n=4 zeta2=0.1  n=8 zeta2=1",
        "a@x    7              30",
        "b@y    not converged",
        "",
        "b@y, n=4, zeta2=0.1: not converged: stalls",
    ]


def test_a_record_says_whether_it_converged():
    assert cell("a", 4, 0.1, 7).record()["found"]["converged"]
    assert cell("a", 4, 0.1, 7).record()["found"]["best"]["steps"] == 7
    assert not cell("a", 4, 0.1, 0).record()["found"]["converged"]
