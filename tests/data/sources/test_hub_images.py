"""The fetched image data sets: kept copies, their scales, and parts of them."""

import numpy as np
import pytest
from image_files import parquet_folder, pictures, write_parquet

from dml import config
from dml.data.config import DataConfig
from dml.data.fetch import fetch_dataset
from dml.data.load import describe_dataset, load_dataset
from dml.data.sources.hub_images import CIFAR10, MNIST
from dml.errors import InputError
from dml.plan import make_plan


def of(name, data_dir, **flags):
    return DataConfig(dataset=name, data_dir=data_dir, **flags)


def test_pixels_become_inputs_between_0_and_1(tmp_path):
    fetch_dataset("mnist", tmp_path, parquet_folder(tmp_path / "src"))
    data, x, some = load_dataset(of("mnist", tmp_path), 0), pictures(80), np.array([3, 0])
    assert np.array_equal(data.train_x, x[:60])
    assert data.train(some).dtype == np.float32
    np.testing.assert_allclose(data.train(some), x[some] / 255, atol=1e-7)
    assert isinstance(data.train_x, np.memmap)


@pytest.mark.parametrize("augment", [False, True])
def test_cifar_is_scaled_as_published(tmp_path, augment):
    x = pictures(20, 32, 3)
    write_parquet(tmp_path / "c" / "train.parquet", x[:12], np.arange(12) % 10, "img")
    write_parquet(tmp_path / "c" / "test.parquet", x[12:], np.arange(8), "img")
    fetch_dataset("cifar10", tmp_path / "data", tmp_path / "c")
    data = load_dataset(of("cifar10", tmp_path / "data", augment=augment), 0)
    assert data.labels == 10
    mean = np.array([0.4914, 0.4822, 0.4465] if augment else [0.5] * 3)[:, None, None]
    std = np.array([0.2023, 0.1994, 0.2010] if augment else [0.5] * 3)[:, None, None]
    np.testing.assert_allclose(data.test(np.arange(8)), (x[12:] / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "labels", "sizes"),
    [
        ("mnist", (1, 28, 28), 10, (60_000, 10_000)),
        ("fmnist", (1, 28, 28), 10, (60_000, 10_000)),
        ("cifar10", (3, 32, 32), 10, (50_000, 10_000)),
        ("cifar100", (3, 32, 32), 100, (50_000, 10_000)),
    ],
)
def test_a_data_set_is_described_before_it_is_fetched(tmp_path, name, shape, labels, sizes):
    spec = describe_dataset(of(name, tmp_path))
    assert (spec.shape, spec.labels, spec.sizes, spec.fingerprint) == (shape, labels, sizes, None)
    with pytest.raises(InputError, match=rf"^dataset {name}: is not in {tmp_path}; .*fetch_data.py {name}"):
        load_dataset(of(name, tmp_path), 0)


def test_a_part_of_a_data_set_is_another_experiment(tmp_path):
    fetch_dataset("mnist", tmp_path, parquet_folder(tmp_path / "src"))
    flags = {"dataset": "mnist", "topology_file": "chain:n=3", "out_dir": tmp_path / "out"}
    whole = make_plan(config.make({**flags, "data_dir": tmp_path / "none"}))
    part = make_plan(config.make({**flags, "data_dir": tmp_path}))
    assert whole.identity.id != part.identity.id
    assert part.identity.name == "mnist-chain-n3-unweighted-s0"
    assert part.dataset.sizes == (60, 20)


def test_another_data_set_in_its_place_is_called_damaged(tmp_path):
    fetch_dataset("mnist", tmp_path, parquet_folder(tmp_path / "src"))
    (tmp_path / "mnist").rename(tmp_path / "cifar10")
    with pytest.raises(InputError, match=r"damaged \(images of \(1, 28, 28\) in 10 classes\); .*fetch_data"):
        describe_dataset(of("cifar10", tmp_path))


def test_damaged_files_come_with_the_command_that_fetches_them_again(tmp_path):
    fetch_dataset("mnist", tmp_path, parquet_folder(tmp_path / "src"))
    (tmp_path / "mnist" / "test_x.npy").unlink()
    with pytest.raises(InputError, match=rf"damaged .*run: .*fetch_data.py mnist --data_dir {tmp_path}$"):
        load_dataset(of("mnist", tmp_path), 0)


def test_only_the_data_sets_with_augmented_scales_can_be_augmented():
    assert CIFAR10.augmented_scale is not None
    assert MNIST.augmented_scale is None
