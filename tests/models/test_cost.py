"""What a model costs, against counts by hand."""

import pytest

from dml.models.cost import Cost, cost_of
from dml.models.registry import MODELS

IMAGE = (3, 32, 32)


def test_a_perceptron_uses_each_weight_once():
    # 64-64-10; written: the image, two layers of 64 with and without ReLU, and 10.
    weights = 64 * 64 + 64 * 10
    assert cost_of("mlp", (1, 8, 8), 10, ()) == Cost(weights + 64 + 10, 2 * weights, 64 + 64 + 64 + 10)


def test_a_convolution_uses_each_weight_at_every_place():
    convolutions = [(3, 32, 32), (32, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8)]
    products = sum(9 * a * b * side**2 for a, b, side in convolutions)
    products += 4096 * 1024 + 1024 * 512 + 512 * 10
    cost = cost_of("cnn", IMAGE, 10, ())
    assert cost.operations == 2 * products
    assert cost.size == 5_851_338


@pytest.mark.parametrize("layers", [1, 3])
def test_a_decoder_uses_each_weight_at_every_token_and_compares_all_pairs(layers: int):
    places, tokens = 150, 14
    a_block = places * 12 * 128**2 + 2 * places**2 * 128
    cost = cost_of("decoder", (places,), tokens, (("n_layer", layers),))
    assert cost.operations == 2 * (layers * a_block + places * 128 * tokens)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"mnist_mlp", "decoder", "opt"}))
def test_more_labels_cost_their_weights_whatever_the_model(name: str):
    few, more = (cost_of(name, IMAGE, labels, ()) for labels in (10, 20))
    # Each further label has one bias, and as many weights as the last layer reads.
    assert 2 * (more.size - few.size - 10) == more.operations - few.operations > 0
    assert more.written - few.written == 10
