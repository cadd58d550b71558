"""The text of a report: 80 columns, and every number apart from its neighbours."""

from dataclasses import replace

import pytest

from dml.results.report_text import report_text
from dml.results.runs import read_runs
from dml.results.sections import make_report
from dml.results.strategy_tables import Column, Kind
from dml.results.tables import summarise


def _text(files):
    runs = read_runs(files)
    return report_text(make_report(runs, summarise(runs)))


def _words(text, start):
    """The words of the one line that starts so."""
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line.split()


def test_the_text_fits_80_columns_and_has_a_line_for_every_strategy(varied):
    lines = _text(varied).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    for strategy in summarise(read_runs(varied))["strategy"].unique():
        assert any(line.startswith(f"{strategy} ") or line == strategy for line in lines), strategy


def test_columns_never_touch(varied):
    """Every number of the table can be told from its neighbours."""
    table = summarise(read_runs(varied))
    row = table[table["strategy"] == "unweighted_fl"].iloc[0]
    words = _words(_text(varied), "unweighted_fl")
    assert words[1] == "12"
    assert words[3] == f"{row['auc_ood']:.0f}±{row['auc_ood_std']:.0f}"
    assert words[5:8] == ["0.75", "0.50", "0.25"]
    assert words[8:] == ["+0.0", "0/12"]


def test_the_text_shows_the_numbers(made_up):
    files = [
        made_up("unweighted", seed=0, auc=40),
        made_up("unweighted", seed=1, auc=44),
        made_up("degCent", seed=0, auc=50.26),
        made_up("degCent", seed=1, auc=43),
    ]
    text = _text(files)
    assert text.startswith("digits, 10 rounds x 5 epochs, measured each epoch, OOD share 0.1\n\nchain:n=3\n")
    aucs, accuracies = ["93.3±10.3", "46.6±5.1", "23.3±2.6"], ["0.75", "0.50", "0.25"]
    assert _words(text, "degCent") == ["degCent", "2", *aucs, *accuracies, "+4.6", "1/2"]


def test_the_text_says_what_diverged(varied):
    text = _text(varied)
    assert " ".join(_words(text, "random ")) == "random 0 all 1 diverged"
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("unweighted "))
    assert lines[first + 1].strip() == "1 more diverged"


def test_the_text_says_what_stalled(made_up):
    cut_short = {"rounds_done": 1}
    files = [made_up(), made_up(seed=1, status="stalled", **cut_short)]
    files += [made_up("degCent", seed=seed, status="stalled", **cut_short) for seed in range(2)]
    files += [made_up("random", seed=k, status=s, **cut_short) for k, s in enumerate(("stalled", "diverged"))]
    lines = [" ".join(line.split()) for line in _text(files).splitlines()]
    assert (
        lines[1 + next(k for k, line in enumerate(lines) if line[:11] == "unweighted ")] == "1 more stalled"
    )
    assert "degCent 0 all 2 stalled" in lines
    assert "random 0 1 diverged, 1 stalled" in lines


def test_controls_are_a_line_below_the_runs_whose_floor_they_are(with_controls):
    text = _text(with_controls)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    accuracies = ["0.75", "0.50", "0.15"]
    assert _words(text, "control ") == ["control", "2", "20.0±5.7", "10.0±2.8", "5.0±1.4", *accuracies]
    (at,) = [k for k, line in enumerate(lines) if line.startswith("control ")]
    assert lines[at - 1].split()[:2] == ["degCent", "3"]
    assert any(line.startswith("control: the strategies above it without OOD data") for line in lines)


def test_without_controls_the_text_says_nothing_of_them(varied):
    assert "control" not in _text(varied)


def test_without_ood_data_the_table_is_of_the_iid_test_set(made_up):
    files = [
        made_up(strategy, seed, None, auc, attributes={"worst_test": 0.625})
        for strategy, seed, auc in (("unweighted", 0, 20), ("unweighted", 1, 21), ("degCent", 0, 30))
    ]
    text = _text(files)
    assert _words(text, "strategy") == ["strategy", "runs", "IID", "AUC", "IID", "worst"]
    assert _words(text, "unweighted") == ["unweighted", "2", "41.0±1.4", "0.75", "0.62"]
    assert _words(text, "degCent") == ["degCent", "1", "60.0", "0.75", "0.62"]
    # Nothing is explained that is not there.
    assert not any(word in text.replace("no OOD data", "") for word in ("OOD", "asr", "vs "))
    assert text.endswith("IID: accuracy after the last round. worst:\naccuracy of the worst node.")


def test_long_names_of_a_table_without_ood_data_have_room_in_their_lines(made_up):
    variants = [{"softmax_coeff": s, "softmax": True} for s in (0.0625, 0.123456789)]
    variants += [{"softmax": True, "softmax_coeff": 1 / 3, "scheduler": "CA", "T_0": 10, "eta_min": 1 / 7}]
    files = [
        made_up("degCent", seed, None, 1234.5 * (seed + 1), **variant)
        for variant in variants
        for seed in range(12)
    ]
    lines = _text(files).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    header = next(line for line in lines if line.startswith("strategy"))
    names = summarise(read_runs(files))["strategy"]
    for name in names:
        (at,) = [k for k, line in enumerate(lines) if line.startswith(name)]
        row = lines[at] if len(name) <= 54 else lines[at + 1]
        assert len(row) == len(header)
    assert any(len(name) > 13 for name in names)


def test_a_folder_of_both_kinds_has_both_tables_in_80_columns(made_up):
    lines = _text([made_up("unweighted", lr=0.1), made_up("unweighted", ood_node=None, lr=0.2)]).splitlines()
    headers = [" ".join(line.split()) for line in lines if line.startswith("strategy")]
    assert sorted(headers) == [
        "strategy runs IID AUC IID worst",
        "strategy runs IID AUC OOD AUC asr AUC IID OOD worst vs unweighted",
    ]
    assert max(map(len, lines)) <= 80


def test_the_forecast_is_a_paragraph_of_its_own(made_up):
    files = [made_up(seed=s, auc=s, attributes={"forecast_ood": 0.1 * s}) for s in range(3)]
    *_, last = _text(files).split("\n\n")
    words = "rank correlation 1.00 with the OOD AUC over 3 experiments."
    assert " ".join(last.split()) == f"Forecast without training (docs/algorithms.md): {words}"
    assert max(map(len, last.splitlines())) <= 80


def test_the_table_of_worst_nodes(algorithm_run):
    files = [
        algorithm_run("dpsgd", 1.0, 0.5, seed=0),
        algorithm_run("dpsgd", 1.0, 0.7, seed=1),
        algorithm_run("dpsgd", 0.1, 0.25, seed=0),
        algorithm_run("dpsgd", 0.1, 0.75, seed=1, lr=0.2),
        algorithm_run("d2", 0.1, 0.25, seed=0, edge_weight=0.3),
        algorithm_run("d2", 0.1, float("nan"), seed=1, edge_weight=0.3),
        algorithm_run("relaysgd", 1.0, 0.875, lr=0.4),
        algorithm_run("relaysgd", 0.1, 0.75, momentum=0.9),
        algorithm_run("relaysgd", 0.1, 0.5, topology="chain:n=4"),
    ]
    *_, table = _text(files).split("\n\n")
    assert table.splitlines()[0] == "digits, 500 rounds: accuracy of the worst node in % (learning rate)"
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["alpha", "1", "alpha", "0.1"],
        ["cycle:n=4"],
        ["d2", "-", "not", "finite"],
        ["dpsgd", "60.0±14.1", "(0.1)", "50±35", "(2", "rates)"],
        ["relaysgd", "87.5", "(0.4)", "-"],
        ["relaysgd", "+", "momentum", "-", "75.0", "(0.1)"],
        ["chain:n=4"],
        ["relaysgd", "-", "50.0", "(0.1)"],
    ]


@pytest.mark.parametrize("local_steps", [1, 800])
def test_tables_of_worst_nodes_fit_80_columns(algorithm_run, local_steps):
    files = [
        algorithm_run(
            "quasi_global_momentum", alpha, 0.123, local_steps=local_steps, seed=seed, momentum=momentum
        )
        for alpha in (100.0, 10.0, 1.0, 0.1)
        for seed, momentum in enumerate((0.9, 0.95, 0.99))
    ]
    lines = _text(files).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_a_column_that_is_added_to_a_table_is_shown(made_up):
    """By its name in the rows, with as much room for the strategies' names as the columns leave."""
    runs = read_runs(
        [made_up(seed=seed, attributes={"final_f1": 0.625, "final_consensus": 3.0}) for seed in (0, 1)]
    )
    report = make_report(runs, summarise(runs))
    (table,) = report.tables
    runs_column, *_ = table.columns
    added = Column("final_f1", "F1 score", Kind.ACCURACY), Column("final_consensus", "distance", Kind.AUC)
    text = report_text(replace(report, tables=(replace(table, columns=(runs_column, *added)),), legend={}))
    assert _words(text, "strategy") == ["strategy", "runs", "F1", "score", "distance"]
    assert _words(text, "unweighted") == ["unweighted", "2", "0.62", "3.0±0.0"]
