"""AUCs at equal cost against sums over single bytes, and which runs have one."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from edited import edited

from dml.results import load
from dml.results.equal_cost import at_equal_cost, ledger_of, mean_until, value_at
from dml.results.runs import read_runs
from dml.results.tables import summarise
from dml.results.worst_nodes import worst_node_tables


def _plain(cost, values, budget):
    """The mean over the single bytes up to the budget: each has the last value that was known before it."""
    total = 0.0
    for byte in range(budget):
        known = 0.0
        for c, value in zip(cost, values, strict=True):
            if c <= byte:
                known = value
        total += known
    return total / budget


@pytest.mark.parametrize("seed", range(20))
def test_a_mean_until_a_budget_is_the_mean_over_single_bytes(seed):
    """With measurements at equal costs, at cost 0, and before, at and after the budget."""
    draw = np.random.default_rng(seed)
    cost = np.sort(draw.integers(0, 30, size=draw.integers(1, 12))).astype(float)
    values = draw.random(len(cost))
    for budget in (1, 7, int(cost[-1]) or 1, 40):
        assert mean_until(cost, values, budget) == pytest.approx(_plain(cost, values, budget))


def test_a_step_holds_what_was_known_by_then():
    cost, values = np.array([2.0, 6.0, 6.0]), np.array([0.5, 0.7, 0.9])
    assert mean_until(cost, values, 2) == 0, "nothing was measured yet"
    assert mean_until(cost, values, 4) == pytest.approx(2 * 0.5 / 4)
    assert mean_until(cost, values, 10) == pytest.approx((4 * 0.5 + 4 * 0.9) / 10)
    assert mean_until(np.zeros(1), np.array([0.3]), 123.4) == pytest.approx(0.3)
    assert [value_at(cost, values, budget) for budget in (1, 2, 5.9, 6, 99)] == [0, 0.5, 0.5, 0.9, 0.9]


def test_a_value_that_was_not_measured_matters_only_within_the_budget():
    cost, values = np.array([0.0, 4.0, 8.0]), np.array([0.5, 0.5, math.nan])
    assert mean_until(cost, values, 8) == pytest.approx(0.5)
    assert math.isnan(mean_until(cost, values, 8.5))


@pytest.fixture
def measured(tiny, tmp_path):
    """Copies of a run with other names, costs and accuracies, at five measurements; the last is final."""
    count = iter(range(100))

    def make(strategy="unweighted", sent=(0, 1, 2, 3, 4), accuracy=0.5, seed=0, ood=True, **more):
        path = tmp_path / f"run {next(count)}.h5"
        shutil.copyfile(tiny, path)
        with edited(path) as file:
            config = json.loads(file.attrs["config"])
            config |= {"aggregation_strategy": strategy, "seed": seed, "backdoor": ood}
            config |= {} if ood else {"backdoor_node_idx": None}
            file.attrs["config"] = json.dumps(config | more.pop("config", {}))
            file["metrics/bytes"][:] = np.array(sent, float)
            for metric in ("test_acc", "ood_acc", "ood_asr"):
                file[f"metrics/{metric}"][:] = np.broadcast_to(np.reshape(accuracy, (-1, 1)), (5, 3))
            file.attrs.update(more)
        return path

    return make


def _at_equal_bytes(files, until=None, over="bytes"):
    runs, told = at_equal_cost(read_runs(files, over), over, until)
    return runs.table.set_index("strategy"), told


def test_the_budget_is_the_smallest_total_of_the_runs_that_are_compared(measured):
    files = [
        measured("unweighted", sent=(0, 10, 20, 30, 40), accuracy=(0, 0.1, 0.2, 0.3, 0.4)),
        measured("degCent", sent=(0, 40, 80, 120, 160), accuracy=(0.5, 0.6, 0.7, 0.8, 0.9)),
    ]
    table, told = _at_equal_bytes(files)
    assert table["budget"].to_list() == [40, 40]
    assert table["auc_ood"].to_dict() == pytest.approx({"unweighted": 15, "degCent": 50})
    assert table["auc_test"].to_dict() == table["auc_asr"].to_dict() == table["auc_ood"].to_dict()
    # The accuracies are those that were known when the budget was spent.
    assert table["final_ood"].to_dict() == pytest.approx({"unweighted": 0.4, "degCent": 0.6})
    assert table["worst_test"].to_dict() == pytest.approx({"unweighted": 0.4, "degCent": 0.6})
    assert table[["final_f1", "final_consensus"]].isna().all(axis=None)
    assert told == [
        "fewer than 10 measurements within the budget for 2 runs of degCent, unweighted: the AUC is too low, "
        "and a smaller eval_every makes it exact"
    ]


def test_controls_share_the_budget_and_give_the_floor_there(measured):
    files = [
        measured(sent=(0, 10, 20, 30, 40), accuracy=0.8),
        measured(sent=(0, 5, 10, 15, 20), accuracy=0.1, ood=False),
    ]
    runs, _ = at_equal_cost(read_runs(files, "bytes"), "bytes")
    assert runs.table["budget"].to_list() == [20, 20]
    (row,) = summarise(runs).query("over_floor.notna()").to_dict("records")
    assert (row["auc_ood"], row["floor_ood"], row["budget"]) == pytest.approx((80, 10, 20))
    assert row["over_floor"] == pytest.approx(70)


def test_each_topology_has_a_budget_of_its_own(measured):
    files = [
        measured(sent=(0, 1, 2, 3, 4)),
        measured("degCent", sent=(0, 2, 4, 6, 8), topology_family="star:n=3", graph_id="other"),
    ]
    table, _ = _at_equal_bytes(files)
    assert table["budget"].to_dict() == {"unweighted": 4, "degCent": 8}


def test_a_run_that_has_sent_nothing_has_no_auc_over_bytes(measured):
    files = [measured("weighted", sent=(0,) * 5), measured(sent=(0, 5, 10, 15, 20))]
    table, told = _at_equal_bytes(files)
    assert table["budget"].to_list() == [20, 20]
    assert math.isnan(table.loc["weighted", "auc_ood"])
    assert table.loc["unweighted", "auc_ood"] == pytest.approx(50)
    assert told[0] == "no AUC over bytes for 1 run of weighted: sent nothing"


def test_a_run_that_has_sent_nothing_has_no_accuracy_of_the_worst_node(measured):
    """It is no run that is not finite."""
    files = [measured(sent=(0,) * 5, config={"algorithm": "centralized"}), measured(sent=(0, 5, 10, 15, 20))]
    runs, _ = at_equal_cost(read_runs(files, "bytes"), "bytes")
    (table,) = worst_node_tables(runs.table)
    (methods,) = table.topologies.values()
    assert methods["centralized"] == (None,)
    assert methods["unweighted"][0].mean == pytest.approx(0.5)


def test_a_run_without_a_clock_has_no_auc_over_seconds(measured):
    files = [measured("weighted"), measured()]
    with edited(files[0]) as file:
        file["metrics/simulated_s"][:] = np.nan
    table, told = _at_equal_bytes(files, over="seconds")
    assert table["auc_ood"].isna().to_dict() == {"weighted": True, "unweighted": False}
    assert told[0] == "no AUC over seconds for 1 run of weighted: without a clock"


def test_a_run_that_ends_before_a_given_budget_has_no_auc(measured):
    files = [measured("weighted", sent=(0, 1, 2, 3, 4)), measured(sent=(0, 5, 10, 15, 20))]
    table, told = _at_equal_bytes(files, until=10)
    assert table["budget"].to_list() == [10, 10]
    assert table["auc_ood"].isna().to_dict() == {"weighted": True, "unweighted": False}
    assert told[0] == "no AUC over bytes for 1 run of weighted: ended before the budget"


@pytest.mark.parametrize("status", ["stalled", "diverged"])
def test_a_run_that_was_cut_short_does_not_determine_the_budget(measured, status):
    files = [measured(sent=(0, 5, 10, 15, 20)), measured(seed=1, status=status, sent=(0, 1, 1, 1, 1))]
    runs, _ = at_equal_cost(read_runs(files, "bytes"), "bytes")
    (row,) = summarise(runs).to_dict("records")
    assert (row["runs"], row[status], row["budget"]) == (1, 1, 20)


def test_damaged_measurements_are_named_and_left_out(measured, made_up):
    runs, _ = at_equal_cost(read_runs([measured(), made_up()], "bytes"), "bytes")
    assert len(runs.table) == len(runs.damaged) == 1


def test_walks_are_judged_by_the_model_that_they_deliver(tiny):
    result = load(tiny)
    own = {f"deliverable/{name}_acc": np.full(5, value) for name, value in (("test", 0.7), ("ood", 0.9))}
    own |= {"deliverable/ood_asr": np.full(5, 0.8)}
    own |= {f"deliverable/{name}_loss": np.ones(5) for name in ("test", "ood")}
    judged = {"judged_by": "deliverable", "deliverable": "deliverable"}
    walk = replace(result, arrays=result.arrays | own, attributes=result.attributes | judged)
    values = ledger_of(walk, "bytes").values
    assert [values[name][0] for name in ("test", "ood", "asr", "worst_test", "worst_ood")] == [
        0.7,
        0.9,
        0.8,
        0.7,
        0.9,
    ]
    nodes = ledger_of(result, "bytes").values
    assert nodes["ood"] == pytest.approx(result.arrays["metrics/ood_acc"].mean(axis=1))
    assert nodes["worst_ood"] == pytest.approx(result.arrays["metrics/ood_acc"].min(axis=1))


@pytest.mark.parametrize("over", ["seconds", "bytes"])
def test_a_real_run_up_to_its_own_end(tiny, over):
    """Two rounds of two epochs: a plain loop over the measurements gives the same."""
    table, _ = _at_equal_bytes([tiny], over=over)
    measurements = load(tiny).table.groupby(["round", "epoch"], sort=False).mean()
    cost = measurements["simulated_s" if over == "seconds" else "bytes"].to_list()
    assert cost[-1] > 0
    total = 0.0
    for start, end, value in zip(cost, [*cost[1:], cost[-1]], measurements["ood_acc"], strict=True):
        total += (end - start) * value
    assert table["auc_ood"].to_list() == pytest.approx([100 * total / cost[-1]], rel=1e-6)


def test_only_the_shares_of_the_budget_matter(measured):
    """A thousand times the bytes for all is the same comparison."""

    def aucs(factor):
        sent = factor * np.arange(5)
        files = [measured(sent=sent, accuracy=np.arange(5) / 10), measured("degCent", sent=3 * sent)]
        return _at_equal_bytes(files)[0]["auc_ood"].to_list()

    assert aucs(1000) == pytest.approx(aucs(1))
