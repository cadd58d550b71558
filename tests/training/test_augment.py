"""Augmentation, held against one image after the other; and that nothing but its key decides it."""

import numpy as np
import pytest
import torch
from image_files import parquet_folder
from populations import ByRound, population_of
from torch import nn

from dml import experiment, randomness, results
from dml.data.config import DataConfig
from dml.data.fetch import fetch_dataset
from dml.data.load import load_dataset
from dml.data.ood import NodeData
from dml.training.augment import Augmentation
from dml.training.config import TrainingConfig
from dml.training.loop import LoopEngine

BLACK = np.array([-2.5, -1.0, 0.5], np.float32)


def plain(image, sample, seed, number):
    """One image, pixel by pixel."""
    u = [float(randomness.uniforms(seed, "augmentation", number, [sample], [axis])[0]) for axis in range(3)]
    top, left, flip = int(u[0] * 9) - 4, int(u[1] * 9) - 4, u[2] >= 0.5
    channels, height, width = image.shape
    result = np.empty_like(image)
    for c in range(channels):
        for row in range(height):
            for column in range(width):
                from_row = row + top
                from_column = (width - 1 - column if flip else column) + left
                inside = 0 <= from_row < height and 0 <= from_column < width
                result[c, row, column] = image[c, from_row, from_column] if inside else BLACK[c]
    return result


def test_a_batch_equals_a_loop_over_its_images():
    x = np.random.default_rng(0).random((40, 3, 6, 7), dtype=np.float32)
    index = np.random.default_rng(1).permutation(1000)[:40]
    augmentation, everything = Augmentation([index], np.array([3]), BLACK, 5), np.arange(40)
    moves = augmentation.draw(0, 2, everything)
    result = augmentation.apply(torch.from_numpy(x), moves).numpy()
    for k in range(37):
        assert np.array_equal(result[k], plain(x[k], index[k], 5, 2))
    assert np.array_equal(result[37:], x[37:])
    # Another batch, another pass, another seed.
    some = torch.tensor([7, 3, 20])
    assert np.array_equal(augmentation.apply(torch.from_numpy(x)[some], moves[some]).numpy(), result[some])
    drawn = np.array([39, 7, 0, 37, 36])
    assert torch.equal(augmentation.draw(0, 2, drawn), moves[drawn])
    assert not torch.equal(augmentation.draw(0, 3, everything), moves)
    assert not torch.equal(Augmentation([index], np.array([3]), BLACK, 6).draw(0, 2, everything), moves)


def test_all_places_are_as_likely():
    moves = Augmentation([np.arange(20_000)], np.array([0]), BLACK, 0).draw(0, 0, np.arange(20_000)).numpy()
    for axis in (0, 1):
        share = np.bincount(moves[:, axis], minlength=9) / 20_000
        assert np.abs(share - 1 / 9).max() < 4 * np.sqrt(8 / 81 / 20_000)
    assert abs(moves[:, 2].mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)
    assert abs(np.corrcoef(moves.T) - np.eye(3)).max() < 0.03


class Seen(nn.Module):
    """Remembers what it is shown."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, 2)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_what_a_model_sees_depends_on_image_and_pass_alone(batch):
    rng = np.random.default_rng(3)
    x, y = rng.random((11, 3, 4, 4), dtype=np.float32), rng.integers(2, size=11)
    index = [np.array([2, 5, 9, 10]), np.array([0, 1, 3, 4, 6, 7, 8])]
    data = NodeData(
        [x[i] for i in index], [y[i] for i in index], np.zeros((2, 2), int), np.zeros(2, int), index
    )
    population = population_of(Seen, 2, 0)
    augmentation = Augmentation(index, np.zeros(2, int), BLACK, 0)
    engine = ByRound(
        LoopEngine, population, data, TrainingConfig(batch_size=batch), augmentation=augmentation
    )
    engine.begin_round()
    for number in range(3):
        engine.epoch(np.arange(2))
        for node in range(2):
            order = randomness.generator(0, "batch order", node, number).permutation(len(index[node]))
            seen = torch.cat(population.modules[node].seen).numpy()
            population.modules[node].seen.clear()
            expected = [plain(x[s], s, 0, number) for s in index[node][order]]
            assert np.array_equal(seen, np.stack(expected))


def test_an_experiment_with_augmentation_goes_on_as_if_it_had_never_stopped(small, tmp_path):
    source = parquet_folder(tmp_path / "c", 60, 20, side=32, channels=3)
    fetch_dataset("cifar10", tmp_path / "data", source)
    made = DataConfig(dataset="cifar10", data_dir=tmp_path / "data", augment=True)
    black = load_dataset(made, 0).black
    np.testing.assert_allclose(black, [-0.4914 / 0.2023, -0.4822 / 0.1994, -0.4465 / 0.2010], rtol=1e-6)
    flags = {"dataset": "cifar10_augment", "model": "mlp", "data_dir": tmp_path / "data", "backdoor": True}
    whole = experiment.run(small(**flags, rounds=3, out_dir=tmp_path / "whole"))
    experiment.run(small(**flags, rounds=1, out_dir=tmp_path / "more"))
    more = experiment.run(small(**flags, rounds=3, out_dir=tmp_path / "more"))
    assert results.differences(whole, more) == []
    plainly = experiment.run(small(**flags | {"dataset": "cifar10"}, rounds=3, out_dir=tmp_path / "plain"))
    assert "config augment" in results.differences(whole, plainly)
    assert "metrics/train_loss" in results.differences(whole, plainly)
