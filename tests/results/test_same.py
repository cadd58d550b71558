"""When two result files hold the same numbers."""

import json
import shutil

import numpy as np
import pytest
from edited import edited

from dml import config, experiment
from dml.results import differences, load, same


@pytest.fixture
def copy(tiny, tmp_path):
    path = tmp_path / "copy.h5"
    shutil.copyfile(tiny, path)
    return path


def test_a_copy_is_the_same(tiny, copy):
    assert same(tiny, copy)
    assert differences(tiny, copy) == []


def test_not_a_number_equals_itself(tiny, copy):
    for path in (tiny, copy):
        assert np.isnan(load(path).arrays["metrics/train_loss"][-1]).all()
    with edited(copy) as file:
        file["metrics/train_loss"][-1, 0] = 0
    assert differences(tiny, copy) == ["metrics/train_loss"]


@pytest.mark.parametrize("name", ["metrics/ood_acc", "communication/edge_bytes", "topology/betweenness"])
def test_the_last_bit_of_one_number_is_a_difference(tiny, copy, name):
    with edited(copy) as file:
        array = file[name][()]
        array.view(np.uint8).flat[0] ^= 1
        file[name][...] = array
    assert differences(tiny, copy) == [name]
    assert not same(tiny, copy)


def test_an_array_that_is_missing_or_of_another_type_is_a_difference(tiny, copy):
    with edited(copy) as file:
        del file["topology/betweenness"]
        wide = file["metrics/test_acc"][()].astype(np.float64)
        del file["metrics/test_acc"]
        file["metrics/test_acc"] = wide
    assert sorted(differences(tiny, copy)) == ["metrics/test_acc", "topology/betweenness"]


def test_another_status_and_another_flag_are_differences(tiny, copy):
    with edited(copy) as file:
        file.attrs["status"] = "running"
        file.attrs["config"] = json.dumps(load(tiny).config | {"lr": 0.06})
    assert differences(tiny, copy) == ["status", "config lr"]


def test_times_host_segments_and_places_are_no_difference(tiny, copy):
    with edited(copy) as file:
        file["time/round_s"][...] = 7
        segments = json.loads(file.attrs["segments"])
        segments[0] |= {"host": "elsewhere", "started": "1999-12-31T23:59:59+00:00"}
        file.attrs["segments"] = json.dumps(segments * 2)
        file.attrs["config"] = json.dumps(load(tiny).config | {"out_dir": "/elsewhere", "threads": 4})
    assert same(tiny, copy)


def test_the_same_graph_as_file_and_as_generator_gives_the_same(tiny, tmp_path):
    # Without a header that says how it was made.
    (tmp_path / "line.txt").write_text("0 1 0\n1 0 1\n0 1 0\n")
    flags = {"topology_file": str(tmp_path / "line.txt"), "backdoor": True, "backdoor_node_idx": (0,)}
    flags |= {"epochs": 2, "rounds": 2, "threads": 1, "out_dir": tmp_path / "out"}
    other = experiment.run(config.make(flags))
    assert load(other).attributes["topology_source"] != "chain:n=3"
    assert differences(tiny, other) == []
