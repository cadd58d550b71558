"""What a file says is checked before it is used, also if its digest fits or if it has none."""

import json
import shutil

import h5py
import numpy as np
import pytest
from edited import edited

from dml.errors import DamagedFileError
from dml.results import checkpoint, load
from dml.results.reader import attributes
from dml.results.runs import read_runs


@pytest.fixture
def copy(tiny, tmp_path):
    path = tmp_path / "copy.h5"
    shutil.copyfile(tiny, path)
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", 5),
        ("status", "ended"),
        ("rounds_done", -1),
        ("rounds_done", 3),
        ("rounds_done", 1e300),
        ("rounds_done", "2"),
        ("rounds_done", np.array([2, 2])),
        ("topology_family", 7),
        ("topology_family", np.zeros(3)),
        ("segments", "[1]"),
        ("segments", "{}"),
        ("segments", '[{"engine": 3}]'),
        ("segments", '[{"engine": "loop", "from_round": -1}]'),
        ("segments", "[" * 100_000),
        ("segments", 3.5),
        ("reads", "[[]]"),
        ("reads", '{"lr": 1}'),
        ("config", "[]"),
        ("numbers_version", '{"engine loop": "x"}'),
        ("auc_points", -4),
        ("auc_test", "much"),
        ("final_ood", np.ones(2)),
        ("schema_version", -1),
        ("schema_version", "1"),
        ("schema_version", 1.5),
        ("failures", "[3]"),
        ("experiment_id", 0),
    ],
)
@pytest.mark.parametrize("read", [load, attributes])
def test_an_attribute_that_cannot_be_right_is_named(copy, name, value, read):
    with edited(copy) as file:
        file.attrs[name] = value
    with pytest.raises(DamagedFileError, match=f"copy.h5 cannot be read .*{name}"):
        read(copy)
    runs = read_runs([copy])
    assert (len(runs.table), len(runs.damaged)) == (0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", "fast"),
        ("lr", None),
        ("lr", float("nan")),
        ("lr", 10**400),
        ("seed", 0.5),
        ("seed", []),
        ("backdoor", 1),
        ("backdoor_node_idx", {"a": 1}),
        ("backdoor_node_idx", [[0]]),
        ("algorithm", 4),
        ("rounds", True),
    ],
)
@pytest.mark.parametrize("read", [load, attributes])
def test_a_field_that_cannot_be_right_is_named(copy, field, value, read):
    with edited(copy) as file:
        config = json.loads(file.attrs["config"]) | {field: value}
        file.attrs["config"] = json.dumps(config)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read(copy)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("topology/weights", np.array([np.nan, 1.0])),
        ("topology/weights", np.array([1.5, 1.0])),
        ("topology/edges", np.array([[0.0, 1.0], [1.0, 2.0]])),
        ("topology/edges", np.array([[0, 1], [1, -2]])),
        ("topology/degree", np.array([1, -2, 1])),
        ("metrics/round", np.array([0, 0, 1, 1, 9], np.int32)),
        ("metrics/epoch", np.array([0, 1, 0, 1, -2], np.int32)),
        ("data/samples", np.array([1, 2, -3])),
        ("time/round_s", np.array([np.inf, 1.0])),
        ("time/round_s", np.array([1.0])),
        ("communication/edge_bytes", np.array([[-1, 0], [0, 0]])),
        ("metrics/per_class/tp", np.zeros((5, 3, 4), np.int32)),
    ],
)
def test_values_that_cannot_be_right_are_named(copy, name, change):
    with edited(copy) as file:
        del file[name]
        file[name] = change
    with pytest.raises(
        DamagedFileError, match=f"copy.h5 cannot be read .*({name}|{name.rpartition('/')[0]})"
    ):
        load(copy)


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
@pytest.mark.parametrize("name", ["metrics/round", "data/huge"])
def test_a_dataset_of_terabytes_is_refused_before_there_is_memory_for_it(copy, name, chunks):
    with h5py.File(copy, "r+") as file:
        if name in file:
            del file[name]
        file.create_dataset(name, (1 << 42,), np.float64, chunks=chunks)
    with pytest.raises(DamagedFileError, match=f"{name} claims to be"):
        load(copy)


def test_text_among_the_datasets_is_refused(copy):
    with h5py.File(copy, "r+") as file:
        file["data/notes"] = "text"
    with pytest.raises(DamagedFileError, match="data/notes does not hold numbers"):
        load(copy)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rounds", -1), ("rounds", "2"), ("rounds", 2.5), ("updates", -1), ("rounds", np.ones(2))],
)
def test_a_checkpoint_with_an_impossible_attribute_is_named(tiny, tmp_path, name, value):
    path = tmp_path / "copy.ckpt"
    shutil.copyfile(checkpoint.path_of(tiny), path)
    with edited(path) as file:
        file.attrs[name] = value
    with pytest.raises(DamagedFileError, match=f"the attribute {name} is"):
        checkpoint.read(path, tiny.stem[-12:])


def test_a_fifo_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(DamagedFileError, match="it is a pipe"):
        load(tmp_path / "a.h5")
