"""A report as data, of folders of each kind."""

import math

from dml.results.runs import read_runs
from dml.results.sections import make_report
from dml.results.tables import summarise


def _report(files):
    runs = read_runs(files)
    return make_report(runs, summarise(runs))


def test_a_report_has_the_sections_that_its_experiments_give(made_up, algorithm_run):
    strategies = _report([made_up("unweighted"), made_up("degCent")])
    assert len(strategies.tables) == 1
    assert strategies.legend
    assert strategies.forecast is None
    assert strategies.worst_nodes == ()
    algorithms = _report([algorithm_run("dpsgd", 1.0, 0.5), algorithm_run("relaysgd", 1.0, 0.75)])
    (table,) = algorithms.worst_nodes
    assert list(table.topologies["cycle:n=4"]) == ["dpsgd", "relaysgd"]


def test_the_forecast_is_over_experiments_that_have_one(made_up):
    files = [made_up(seed=s, auc=s, attributes={"forecast_ood": 0.1 * s}) for s in range(4)]
    report = _report([*files, made_up(seed=9)])
    assert math.isclose(report.forecast.correlation, 1)
    assert report.forecast.experiments == 4


def test_the_provenance_counts_every_file(made_up, tmp_path):
    files = [made_up(seed=seed) for seed in range(3)]
    files.append(made_up(seed=3, status="diverged", rounds_done=1))
    files += [made_up(seed=seed, status="stalled", rounds_done=2) for seed in (5, 6)]
    running = made_up(seed=4, status="running", rounds_done=1)
    (tmp_path / "bad.h5").write_text("not a result")
    found = _report([*files, running, tmp_path / "bad.h5"]).provenance
    assert (found.complete, found.diverged, found.stalled, found.running) == (3, 1, 2, (running,))
    (message,) = found.damaged
    assert "bad.h5" in message


def test_an_empty_folder_gives_an_empty_report():
    report = _report([])
    assert (report.tables, report.worst_nodes, report.forecast) == ((), (), None)
