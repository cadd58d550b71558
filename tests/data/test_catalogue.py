"""The data sets by name: all describe themselves alike, and one of your own is one entry more."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dml import config, experiment, results
from dml.data.catalogue import (
    DATASET_ALIASES,
    DATASETS,
    absolute_dataset,
    check_fetched,
    dataset_names,
    datasets_to_fetch,
    find_source,
    is_dataset,
)
from dml.data.config import DataConfig
from dml.data.dataset import Dataset, DatasetSpec
from dml.data.load import describe_dataset
from dml.data.source import DataSource
from dml.errors import InputError
from dml.section import Section

MAIN = Path(experiment.__file__).parents[1] / "experiments" / "decentralized_main.py"


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_describes_itself(name, tmp_path):
    source = DATASETS[name]
    flags = {flag for _, flag, _ in config.fields()}
    assert set(source.defaults) <= flags
    assert set(source.options.model_fields) <= flags
    assert all(info.description for info in source.options.model_fields.values())
    assert source.version >= 1
    spec = source.describe(source.options(), tmp_path)
    assert spec.task == source.task
    assert min(spec.sizes) > 0
    assert config.make({"dataset": name}).training.model == source.defaults["model"]


def test_a_name_is_a_data_set_or_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "mnist").mkdir()
    assert [name for name in ("mnist", "photos", "./none", "none") if is_dataset(name)] == [
        "mnist", "photos", "./none",
    ]  # fmt: skip
    assert find_source("mnist") is DATASETS["mnist"]
    assert find_source("photos").hub is None
    assert absolute_dataset("mnist") == "mnist"
    assert absolute_dataset("photos") == str(tmp_path / "photos")
    assert dataset_names()[:2] == ["digits", "mnist"]
    assert "cifar10_vgg" in dataset_names()


def test_the_published_names_stand_for_data_set_augmentation_and_model():
    assert [alias["dataset"] for alias in DATASET_ALIASES.values()] == ["cifar10"] * 10 + ["cifar100"]
    for name, alias in DATASET_ALIASES.items():
        assert config.make({"dataset": name}).training.model == alias.get("model", "vgg16")
    mnist = config.make({"dataset": "mnist"}).flat()
    assert (mnist["model"], mnist["optimizer"], mnist["lr"]) == ("mnist_mlp", "sgd", 0.01)
    assert (mnist["batch_size"], mnist["epochs"]) == (64, 5)
    for name, model, augment in (
        ("cifar10_restnet18", "resnet18", False),
        ("cifar10_restnet50", "resnet50", False),
        ("cifar10_augment_dropout", "cnn_dropout", True),
    ):
        published = config.make({"dataset": name})
        assert published == config.make({"dataset": "cifar10", "model": model, "augment": augment})
    # A flag goes before the alias.
    cifar = config.make({"dataset": "cifar10_augment_vgg", "model": "mlp"})
    assert (cifar.data.dataset, cifar.data.augment) == ("cifar10", True)
    assert (cifar.training.optimizer, cifar.training.lr, cifar.training.beta_2) == ("adam", 1e-4, 0.999)
    assert cifar == config.make({"dataset": "cifar10", "augment": True, "model": "mlp"})
    assert config.make({"dataset": "cifar10_vgg", "model": "mlp", "augment": True}).data.augment
    # Dropping a flag that nothing reads does not drop the alias.
    dropped = config.make({"dataset": "cifar10_augment", "model": "mlp", "softmax": True}, drop_unread=True)
    assert dropped.data.augment


def test_data_sets_that_have_to_be_fetched_are_named_once_with_the_command(tmp_path):
    names = ["mnist", "digits", "tiny_mem", "mnist", str(tmp_path), "fmnist"]
    assert datasets_to_fetch(names, tmp_path) == ["mnist", "fmnist"]
    expected = (
        rf"^dataset mnist fmnist: are not in {tmp_path}; .* run: .*fetch_data.py mnist fmnist --data_dir"
    )
    with pytest.raises(InputError, match=expected):
        check_fetched(names, tmp_path)
    check_fetched(["digits"], tmp_path)


def _stripes(options: Section, data_dir: Path, seed: int) -> Dataset:
    """Images of 6 x 6 with a bright row (label 0) or column (label 1) that noise hides in part."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=240)
    x = rng.random((240, 1, 6, 6), dtype=np.float32)
    rows, columns = x[y == 0], x[y == 1]
    rows[:, :, 2], columns[..., 2] = 1, 1
    x[y == 0], x[y == 1] = rows, columns
    return Dataset(x[:200], y[:200], x[200:], y[200:], labels=2)


STRIPES = DataSource(
    describe=lambda options, data_dir: DatasetSpec((1, 6, 6), labels=2, sizes=(200, 40)),
    load=_stripes,
    options=Section,
    defaults={"model": "mlp", "optimizer": "sgd", "lr": 0.1, "batch_size": 8, "epochs": 2},
)


def test_a_data_set_of_your_own_is_one_entry_more(small, monkeypatch):
    monkeypatch.setitem(DATASETS, "stripes", STRIPES)
    assert describe_dataset(DataConfig(dataset="stripes")).sizes == (200, 40)
    made = small(dataset="stripes", rounds=8, backdoor=True)
    assert (made.training.lr, made.training.epochs) == (0.1, 1)
    done = results.load(experiment.run(made))
    assert done.arrays["data/samples"].sum() == 200
    assert done.attributes["final_test"] > 0.8


LIST = """
import sys
from dml.data.catalogue import DATASETS
from dml.data.partitions.registry import PARTITIONS
assert len({name: source.defaults for name, source in DATASETS.items()}) >= 6
assert len({name: partition.options for name, partition in PARTITIONS.items()}) >= 2
slow = {"torch", "parsl", "pandas", "matplotlib", "scipy", "datasets", "PIL", "sklearn", "psutil"}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""


def test_describing_all_data_sets_imports_nothing_slow():
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PROBE = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("torch" in sys.modules, "datasets" in sys.modules)
"""


def test_a_set_that_is_not_there_is_refused_before_torch_is_imported(tmp_path):
    words = [MAIN, "--dataset", "fmnist", "--data_dir", "d"]
    done = subprocess.run([sys.executable, "-c", PROBE, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--dataset fmnist: is not in d; on a machine with a network, run: " in done.stderr
    assert "python src/experiments/fetch_data.py fmnist --data_dir d" in done.stderr
    assert done.stdout.strip() == "False False"


def test_a_sweep_names_all_that_it_lacks_before_it_starts(script):
    flags = ["--datasets", "mnist", "digits", "fmnist", "--topologies", "chain:n=2", "--data_dir", "none"]
    done = script("bd_scheduler.py", *flags)
    assert done.returncode == 2
    assert "mnist fmnist: are not in none" in done.stderr
    assert "fetch_data.py mnist fmnist --data_dir none" in done.stderr
    dry = script("bd_scheduler.py", *flags, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    assert "data missing: mnist, fmnist; fetch them with: python src/experiments/fetch_data.py" in dry.stdout
