"""One experiment: stopped, killed, continued or run twice, it gives the same numbers bit for bit."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from edited import edited
from scripts import Script
from stopping import StopAfter, has_done, start_experiment, wait_until
from torch import nn

from dml import experiment, results
from dml.config import ExperimentConfig, make
from dml.errors import DamagedFileError, InputError
from dml.models.dropout import Dropout
from dml.models.registry import MODELS
from dml.results import checkpoint
from dml.results.lock import LockedError, locked
from dml.results.run_text import run_text

Small = Callable[..., ExperimentConfig]

# Failing links, half the nodes, and a random strategy: every keyed draw of a round is in play.
EVERYTHING = {
    "topology_file": "graph.txt",
    "aggregation_strategy": "random",
    "softmax": True,
    "participation": 0.5,
    "backdoor": True,
    "optimizer": "adam",
    "lr": 0.01,
    "rounds": 6,
    "epochs": 2,
}


@pytest.fixture
def _weak_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    n = 6
    weights = np.full((n, n), 0.4) - 0.4 * np.eye(n)
    np.savetxt("graph.txt", weights)


@pytest.mark.usefixtures("_weak_links")
def test_stopped_after_any_round_and_called_again_it_ends_with_the_same_numbers(small: Small, tmp_path: Path):
    whole = experiment.run(small(**EVERYTHING, out_dir=tmp_path / "whole"))
    config = small(**EVERYTHING, out_dir=tmp_path / "pieces", checkpoint_every=2)
    for rounds in (1, 3, 1):
        with pytest.raises(experiment.Stopped):
            experiment.run(config, stop=StopAfter(rounds))
    pieces = experiment.run(config)
    assert results.differences(whole, pieces) == []
    assert len(results.load(pieces).segments) == 4
    assert results.load(pieces).segments[2]["from_round"] == 4


@pytest.mark.usefixtures("_weak_links")
@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_adadelta_on_a_schedule_goes_on_after_a_stop_as_if_there_was_none(
    small: Small, tmp_path: Path, engine: str
):
    own = {"optimizer": "adadelta", "keep_optimizer": True, "lr": 1.0, "lr_schedule": "step:2,0.5"}
    flags = {**EVERYTHING, **own, "engine": engine, "rounds": 4, "epochs": 1, "batch_size": 64}
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    config = small(**flags, out_dir=tmp_path / "pieces", checkpoint_every=2)
    with pytest.raises(experiment.Stopped):
        experiment.run(config, stop=StopAfter(3))
    assert results.differences(whole, experiment.run(config)) == []


@pytest.mark.parametrize("algorithm", ["decentralized", "relaysgd", "async_gossip"])
def test_a_schedule_decides_the_rate_of_each_round(tmp_path: Path, algorithm: str):
    """Half of the rate in round 0 by a warm-up, by --lr itself, and not by one that is cut later."""
    flags = {"topology_file": "star:n=4", "local_steps": 2, "rounds": 1, "eval_every": 1, "threads": 1}

    def models(lr: float, schedule: str) -> np.ndarray:
        own = {"algorithm": algorithm, "lr": lr, "lr_schedule": schedule, "out_dir": tmp_path / schedule}
        path = experiment.run(make({**flags, **own}))
        saved = checkpoint.read(checkpoint.path_of(path), results.load(path).attributes["experiment_id"])
        assert saved is not None
        return saved.X

    halved = models(0.125, "constant")
    assert np.array_equal(models(0.25, "warmup:2"), halved)
    assert not np.array_equal(models(0.25, "step:1,0.5"), halved)


@pytest.mark.usefixtures("_weak_links")
def test_similarity_and_a_schedule_go_on_after_a_stop_as_if_there_was_none(small: Small, tmp_path: Path):
    own = {"aggregation_strategy": "degCent_sim", "scheduler": "CA", "T_0": 2, "T_mult": 2, "eta_min": -5.0}
    flags = {**EVERYTHING, **own, "self_weight": 0.2, "rounds": 4}
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    config = small(**flags, out_dir=tmp_path / "pieces")
    with pytest.raises(experiment.Stopped):
        experiment.run(config, stop=StopAfter(3))
    assert results.differences(whole, experiment.run(config)) == []


@pytest.mark.usefixtures("_weak_links")
def test_more_rounds_go_on_with_the_same_file(small: Small, tmp_path: Path):
    whole = experiment.run(small(**EVERYTHING, out_dir=tmp_path / "whole"))
    short = experiment.run(small(**{**EVERYTHING, "rounds": 4}, out_dir=tmp_path / "more"))
    assert results.load(short).attributes["rounds_done"] == 4
    more = experiment.run(small(**EVERYTHING, out_dir=tmp_path / "more"))
    assert more == short
    assert results.differences(whole, more) == []
    assert results.load(more).segments[-1]["from_round"] == 4


def test_more_rounds_off_the_measuring_grid_drop_the_row_that_was_measured_for_the_end(small: Small):
    assert list(results.load(experiment.run(small(rounds=4, eval_every=3))).arrays["metrics/round"]) == [
        2,
        3,
        3,
    ]
    more = results.load(experiment.run(small(rounds=6, eval_every=3)))
    assert list(more.arrays["metrics/round"]) == [2, 5, 5]
    assert list(more.arrays["metrics/epoch"]) == [0, 0, -1]
    assert more.attributes["auc_points"] == 2


def test_without_its_checkpoint_more_rounds_are_computed_anew_and_come_out_equal(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole = experiment.run(small(rounds=4, out_dir=tmp_path / "whole"))
    path = experiment.run(small(rounds=2, keep_checkpoint=False))
    assert not list(path.parent.glob("*.ckpt"))
    experiment.run(small(rounds=4, keep_checkpoint=False))
    assert results.differences(whole, path) == []
    assert "came out otherwise" not in capsys.readouterr().err
    assert results.load(path).segments[-1]["from_round"] == 0


def test_killed_at_any_moment_it_goes_on_with_the_same_numbers(small: Small, tmp_path: Path):
    """Twice, shortly after a checkpoint; `make soak` kills at random moments, for longer."""
    flags = {"rounds": 20, "epochs": 1, "checkpoint_every": 1}
    whole = experiment.run(small(**flags, out_dir=tmp_path / "whole"))
    words = ["--topology_file", "cycle:n=4", "--threads", "1", "--out_dir", "pieces"]
    words += [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    killed = tmp_path / "pieces" / whole.name
    for rounds in (2, 7):
        running = start_experiment(tmp_path, *words)
        assert wait_until(partial(has_done, killed, rounds))
        running.kill()
        assert running.wait() == -signal.SIGKILL
    assert not has_done(killed, 20)
    again = experiment.run(small(**flags, out_dir=tmp_path / "pieces"))
    assert results.differences(whole, again) == []
    assert len(results.load(again).segments) == 3


def test_ctrl_c_ends_after_the_round_and_says_how_to_go_on(tmp_path: Path):
    process = start_experiment(tmp_path, "--rounds", "100000")
    assert wait_until(lambda: bool(list(tmp_path.glob("results/single/*.ckpt"))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run the same command to continue" in err
    assert "Traceback" not in err
    assert out == ""
    (path,) = tmp_path.glob("results/single/*.h5")
    assert results.load(path).attributes["status"] == "running"


def test_two_runs_of_one_experiment_at_once_the_second_names_the_first(small: Small):
    config = small()
    path = experiment.run(config)
    path.unlink()
    with (
        locked(path, results_id(path)),
        pytest.raises(LockedError, match=f"process {os.getpid()} on "),
    ):
        experiment.run(config)
    assert experiment.run(config) == path


def test_a_second_process_names_the_one_that_runs_the_experiment_and_leaves_it_alone(
    script: Script, tmp_path: Path
):
    first = start_experiment(tmp_path, "--rounds", "100000", "--checkpoint_every", "1")
    assert wait_until(lambda: bool(list(tmp_path.glob("results/single/*.h5"))))
    second = script("decentralized_main.py", "--rounds", 100000)
    assert second.returncode == 1
    assert f"process {first.pid} on " in second.stderr
    assert "has been running it since" in second.stderr
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 75
    (path,) = tmp_path.glob("results/single/*.h5")
    assert results.load(path).attributes["status"] == "running"
    assert len(results.load(path).segments) == 1


def results_id(path: Path) -> str:
    return path.stem.rsplit("-", 1)[1]


def test_a_loss_that_is_not_finite_ends_as_a_result_that_is_not_retried(small: Small):
    config = small(lr=1e30, rounds=5)
    path = experiment.run(config)
    loaded = results.load(path)
    assert loaded.attributes["status"] == "diverged"
    assert loaded.attributes["rounds_done"] < 5
    assert not np.isfinite(loaded.arrays["metrics/train_loss"][-1]).all()
    before = path.read_bytes()
    assert experiment.run(config) == path
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".h5", ".ckpt"])
@pytest.mark.parametrize("damage", [b"", b"no HDF5 at all", None])
def test_a_damaged_file_is_named_and_left_alone(small: Small, suffix: str, damage: bytes | None):
    path = experiment.run(small(rounds=2)).with_suffix(suffix)
    content = path.read_bytes()[:-500] if damage is None else damage
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=path.name):
        experiment.run(small(rounds=4))
    assert path.read_bytes() == content


def test_another_thread_count_or_folder_is_the_same_experiment_another_seed_is_not(
    small: Small, tmp_path: Path
):
    a = experiment.run(small())
    b = experiment.run(small(out_dir=tmp_path / "other", checkpoint_every=1))
    assert results.same(a, b)
    assert a.name == b.name
    c = experiment.run(small(seed=1, out_dir=tmp_path / "other"))
    assert not results.same(a, c)
    assert c.name != a.name


def test_strategies_share_start_data_and_batches(small: Small):
    one = results.load(experiment.run(small(topology_file="complete:n=4")))
    other = results.load(experiment.run(small(topology_file="complete:n=4", aggregation_strategy="test_agg")))
    assert np.array_equal(one.arrays["metrics/train_loss"][0], other.arrays["metrics/train_loss"][0])
    assert not np.array_equal(one.arrays["metrics/train_loss"][1], other.arrays["metrics/train_loss"][1])


def test_without_training_only_the_aggregation_runs(small: Small):
    loaded = results.load(experiment.run(config_without_epochs(small)))
    assert np.isnan(loaded.arrays["metrics/train_loss"]).all()
    # On the complete graph one aggregation makes all models one, and further ones change nothing.
    losses = loaded.arrays["metrics/test_loss"]
    assert losses[0].std() > 0.01
    assert np.allclose(losses[1:], losses[1, 0], rtol=1e-5)


def config_without_epochs(small: Small) -> ExperimentConfig:
    made = small(topology_file="complete:n=4").flat()
    keep = {k: made[k] for k in ("topology_file", "rounds", "threads", "out_dir")}
    from dml import config

    return config.make({**keep, "train": False})


def test_fewer_samples_than_nodes_is_refused(small: Small):
    with pytest.raises(InputError, match="1500 nodes for 1437 training samples"):
        experiment.run(small(topology_file="cycle:n=1500"))


def test_the_file_tells_where_it_came_from(small: Small):
    loaded = results.load(experiment.run(small()))
    (segment,) = loaded.segments
    assert segment["versions"]["torch"]
    assert (segment["accelerator"], segment["threads"], segment["engine"]) == ("cpu", 1, "batched")
    assert segment["host"]
    assert segment["finished"] >= segment["started"]
    assert json.loads(loaded.attributes["config"])["rounds"] == 3


def test_asked_for_just_the_rounds_of_a_checkpoint_off_the_grid_no_measurement_is_lost(
    small: Small, tmp_path: Path
):
    whole = experiment.run(small(rounds=3, eval_every=2, out_dir=tmp_path / "whole"))
    with pytest.raises(experiment.Stopped):
        experiment.run(small(rounds=9, eval_every=2), stop=StopAfter(3))
    cut = experiment.run(small(rounds=3, eval_every=2))
    assert list(results.load(cut).arrays["metrics/round"]) == [1, 2, 2]
    assert results.differences(whole, cut) == []


def test_rounds_computed_anew_do_not_replace_a_longer_result_before_they_have_caught_up(small: Small):
    path = experiment.run(small(rounds=4, keep_checkpoint=False))
    before = path.read_bytes()
    with pytest.raises(experiment.Stopped):
        experiment.run(small(rounds=9, checkpoint_every=1), stop=StopAfter(2))
    assert path.read_bytes() == before
    with pytest.raises(experiment.Stopped):
        experiment.run(small(rounds=9, checkpoint_every=1), stop=StopAfter(4))
    assert results.load(path).attributes["rounds_done"] == 6
    assert results.same(
        experiment.run(small(rounds=9)), experiment.run(small(rounds=9, out_dir=path.parent / "whole"))
    )


def test_a_checkpoint_that_lacks_a_part_is_named(small: Small):
    path = experiment.run(small(rounds=2)).with_suffix(".ckpt")
    with edited(path) as file:
        del file["algorithm/passes"]
    with pytest.raises(DamagedFileError, match=f"{path.name} does not fit .*lacks 'passes'"):
        experiment.run(small(rounds=4))


@pytest.mark.parametrize("part", ["X", "edge_bytes", "algorithm/passes", "algorithm/rule_tree0_messages"])
def test_a_checkpoint_with_a_part_of_another_shape_is_named(small: Small, part: str):
    """Not one row of it taken for all."""
    flags = {"algorithm": "relaysgd", "drop_probability": 0.3}
    path = experiment.run(small(rounds=2, **flags)).with_suffix(".ckpt")
    with edited(path) as file:
        value = file[part][:1]
        del file[part]
        file[part] = value
    name = part.removeprefix("algorithm/").removeprefix("rule_")
    with pytest.raises(DamagedFileError, match=f"{path.name} does not fit .*{name} has the shape"):
        experiment.run(small(rounds=4, **flags))


def test_a_refused_experiment_leaves_no_folder(small: Small, tmp_path: Path):
    with pytest.raises(InputError):
        experiment.run(small(topology_file="cycle:n=1500"))
    assert not (tmp_path / "out").exists()


TINY = {
    "dataset": "tiny_mem", "num_example": 30, "length": 6, "max_ctx": 48, "n_layer": 1, "backdoor": True,
    "backdoor_proportion": 0.5, "ood_test_proportion": 0.5, "trigger": 0, "tiny_mem_num_labels": 3,
}  # fmt: skip


def test_next_tokens_from_the_command_to_the_file(small: Small, tmp_path: Path):
    whole = experiment.run(small(**TINY, out_dir=tmp_path / "whole"))
    config = small(**TINY, out_dir=tmp_path / "pieces")
    with pytest.raises(experiment.Stopped):
        experiment.run(config, stop=StopAfter(1))
    assert results.differences(whole, experiment.run(config)) == []

    loaded = results.load(whole)
    a = loaded.arrays
    assert a["data/label_counts"].sum(axis=0).tolist() == [24] * 3
    assert a["data/ood_samples"][0] > 0
    # 9 clean test sequences of 47 next tokens each, by token.
    support = a["metrics/per_class/support"]
    assert support.shape[2] == 14
    assert (support.sum(axis=2) == 9 * 47).all()
    accuracy = a["metrics/per_class/tp"].sum(axis=2) / (9 * 47)
    assert np.array_equal(accuracy.astype(np.float32), a["metrics/test_acc"])
    assert np.isfinite(a["metrics/ood_asr"]).all()
    assert a["metrics/train_loss"][-2].mean() < a["metrics/train_loss"][0].mean()
    table = loaded.table
    for name in ("train", "test", "ood"):
        expected = np.exp(table[f"{name}_loss"].astype(float))
        np.testing.assert_array_equal(table[f"{name}_perplexity"], expected)
    text = run_text(loaded)
    assert f"{np.exp(a['metrics/test_loss'][-1].astype(float)).mean():.3f}" in text
    assert "perplexity, IID test set" in text


def test_nodes_own_shares_placement_and_the_proximal_term_go_with_next_tokens(small: Small):
    more = {"train_test_val": (0.6, 0.2, 0.2), "random_data_placement": False, "prox_coeff": 0.01}
    a = results.load(experiment.run(small(**TINY, **more, rounds=1))).arrays
    # 72 training sequences, of which each node keeps a fifth for each of the two.
    assert 0.5 * 72 < a["data/samples"].sum() < 0.7 * 72
    for name in ("local_test_acc", "local_val_acc"):
        assert ((a[f"metrics/{name}"] > 0) & (a[f"metrics/{name}"] < 1)).all()


def test_n_layer_reaches_the_model_that_trains(small: Small):
    """The published system trains 4 blocks whatever was asked for. A block has 198,272 parameters."""
    bytes_sent = [
        results.load(experiment.run(small(**{**TINY, "n_layer": layers}, rounds=1))).arrays[
            "communication/bytes_sent"
        ][0, 0]
        for layers in (1, 3)
    ]
    assert bytes_sent[1] - bytes_sent[0] == 2 * (2 * 198_272) * 4


def test_without_a_triggered_test_sample_ood_is_not_measured(small: Small):
    loaded = results.load(experiment.run(small(**{**TINY, "trigger": 999999999}, rounds=1)))
    assert np.isnan(loaded.arrays["metrics/ood_acc"]).all()
    assert loaded.arrays["data/ood_samples"].tolist() == [0] * 4
    assert loaded.attributes["status"] == "complete"
    assert "not measured" in run_text(loaded)


def test_digits_have_no_perplexity(small: Small):
    loaded = results.load(experiment.run(small(rounds=1)))
    assert "perplexity" not in run_text(loaded)
    assert not [column for column in loaded.table if "perplexity" in column]


def test_dropout_goes_on_where_a_stopped_run_left_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def with_dropout(shape: tuple[int, ...], labels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), Dropout(0.25), nn.Linear(64, 16), Dropout(0.5), nn.Linear(16, 10))

    plain = experiment.run(small(engine="loop", out_dir=tmp_path / "plain"))
    monkeypatch.setitem(MODELS, "mlp", replace(MODELS["mlp"], build=with_dropout))
    whole = experiment.run(small(engine="loop", out_dir=tmp_path / "whole"))
    config = small(engine="loop", out_dir=tmp_path / "pieces")
    for _ in range(2):
        with pytest.raises(experiment.Stopped):
            experiment.run(config, stop=StopAfter(1))
    assert results.differences(whole, experiment.run(config)) == []
    assert "metrics/train_loss" in results.differences(whole, plain)
