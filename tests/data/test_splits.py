"""Each node's own training, validation and test data, and what is measured on them."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml import config, experiment, results
from dml.data.splits import quotas, split
from dml.errors import InputError

SHARES = [
    ("0.8", "0.2"),
    ("0.5", "0.5"),
    ("0.6", "0.2", "0.2"),
    ("0.2", "0.4", "0.4"),
    ("0.98", "0.01", "0.01"),
]


def plain(counts, shares):
    """Label by label in exact fractions, then what is missing."""
    table = []
    for count in counts:
        exact = [Fraction(s) * count for s in shares]
        row = [math.floor(e) for e in exact]
        left = count - sum(row)
        for k in sorted(range(len(row)), key=lambda k: (row[k] - exact[k], k))[:left]:
            row[k] += 1
        if count and row[0] == 0:
            row[row.index(max(row))] -= 1
            row[0] = 1
        table.append(row)
    while 0 in (totals := [sum(column) for column in zip(*table, strict=True)]):
        donor = totals.index(max(totals))
        most = [row[donor] for row in table]
        table[most.index(max(most))][donor] -= 1
        table[most.index(max(most))][totals.index(0)] += 1
    return table


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.sampled_from(SHARES))
@settings(max_examples=300)
def test_how_many_go_where(counts, shares):
    if sum(counts) < len(shares):
        counts = [*counts, 3]
    result = quotas(np.array(counts), [float(s) for s in shares])
    assert result.sum(axis=1).tolist() == counts
    assert result.sum(axis=0).min() >= 1
    assert result.tolist() == plain(counts, shares)


def test_a_scarce_label_goes_to_the_training_data_first():
    assert quotas(np.array([1, 1, 10]), (0.2, 0.4, 0.4)).tolist() == [[1, 0, 0], [1, 0, 0], [2, 4, 4]]


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.3, 0.2)])
def test_every_sample_of_a_node_is_in_one_split(shares):
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=120)
    parts = [np.sort(p) for p in np.split(rng.permutation(120), [3, 40, 90])]
    cut = split(parts, y, 4, shares, 5)
    assert list(cut) == ["train", "val", "test"][:: 1 if len(shares) == 3 else 2]
    for node, part in enumerate(parts):
        pieces = [cut[name][node] for name in cut]
        assert np.array_equal(np.sort(np.concatenate(pieces)), part)
        assert all((np.diff(piece) > 0).all() for piece in pieces)
        table = np.array([np.bincount(y[piece], minlength=4) for piece in pieces]).T
        assert np.array_equal(table, quotas(np.bincount(y[part], minlength=4), shares))
    # Keyed by node: another part elsewhere changes nothing here.
    again = split([parts[2], parts[1]], y, 4, shares, 5)
    assert np.array_equal(again["test"][1], cut["test"][1])
    assert not np.array_equal(split(parts, y, 4, shares, 6)["test"][3], cut["test"][3])


def test_what_is_measured_is_the_accuracy_on_a_nodes_own_share(small, tmp_path):
    flags = {"train_test_val": (0.6, 0.25, 0.15), "rounds": 2, "epochs": 1, "label_alpha": 0.5}
    made = small(**flags, backdoor=True, eval_every=1)
    path = experiment.run(made)
    result = results.load(path)
    samples = result.arrays["data/samples"]
    assert 0.58 < samples.sum() / 1437 < 0.62
    # The last row, computed again from the checkpoint and the definition.
    import h5py

    from dml.data.load import load_dataset
    from dml.data.partitions.budgets import BudgetOptions, budget_partition
    from dml.models.registry import build_model

    data = load_dataset(made.data, 0)
    options = BudgetOptions(sample_alpha=1000, label_alpha=0.5)
    parts = budget_partition(data.train_y, 4, 10, options, 0, least=3)
    cut = split(parts, data.train_y, 10, flags["train_test_val"], 0)
    with h5py.File(path.with_suffix(".ckpt")) as file:
        X = torch.from_numpy(file["X"][()])
    for name in ("test", "val"):
        for node in range(4):
            model = build_model("mlp", (1, 8, 8), 10)
            torch.nn.utils.vector_to_parameters(X[node, :4810], model.parameters())
            own = cut[name][node]
            hits = (model(torch.from_numpy(data.train_x[own])).argmax(1).numpy() == data.train_y[own]).mean()
            assert result.arrays[f"metrics/local_{name}_acc"][-1, node] == np.float32(hits)
    assert list(result.table.columns[-2:]) == ["local_test_acc", "local_val_acc"]


def test_a_metric_is_there_only_when_it_was_asked_for_and_goes_on_with_more_rounds(small, tmp_path):
    two = {"train_test_val": (0.75, 0.25)}
    whole = experiment.run(small(**two, rounds=3, out_dir=tmp_path / "whole"))
    experiment.run(small(**two, rounds=1, out_dir=tmp_path / "more"))
    more = experiment.run(small(**two, rounds=3, out_dir=tmp_path / "more"))
    assert results.differences(whole, more) == []
    assert results.load(whole).metrics[-1] == "local_test_acc"
    assert "metrics/local_val_acc" not in results.load(whole).arrays
    assert results.load(whole).arrays["metrics/local_test_acc"].shape == (4, 4)
    assert not [name for name in results.load(experiment.run(small(rounds=1))).arrays if "local" in name]


@pytest.mark.parametrize(
    "shares", [("1.0",), ("0.5", "0.4"), ("1.2", "-0.2"), ("0.25",) * 4, ("a", "b"), ("1", "0")]
)
def test_shares_that_cannot_be_right_are_refused(shares):
    with pytest.raises(InputError, match="train_test_val"):
        config.make({"train_test_val": shares})


def test_each_node_needs_as_many_samples_as_there_are_splits(small):
    made = small(topology_file="cycle:n=700", train_test_val=(0.5, 0.25, 0.25))
    with pytest.raises(InputError, match="has 700 nodes for 1437 training samples, and each needs 3"):
        experiment.run(made)
