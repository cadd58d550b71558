"""Dropout: masks are those of the samples, whatever batch they are in."""

import numpy as np
import pytest
import torch
from torch import nn

from dml.models.dropout import Dropout, attach


def layers(p=0.25, seed=0):
    model = nn.Sequential(Dropout(p), nn.Identity(), Dropout(p))
    batch = attach(model)
    batch.seed = seed
    return model, batch


def mask(layer, batch, samples, passes=0, width=(7, 5)):
    """What is left of ones."""
    batch.samples, batch.passes = np.asarray(samples), passes
    return layer(torch.ones(len(samples), *width))


def test_a_samples_mask_is_the_same_in_every_batch():
    model, batch = layers()
    together = mask(model[0], batch, [3, 900, 5, 4])
    assert torch.equal(mask(model[0], batch, [5]), together[2:3])
    assert torch.equal(mask(model[0], batch, [4, 3]), together[[3, 0]])
    again, other = layers()
    assert torch.equal(mask(again[0], other, [3, 900, 5, 4]), together)


def test_seed_layer_pass_and_sample_are_its_key():
    model, batch = layers()
    first = mask(model[0], batch, [3], width=(200,))
    for other in (
        mask(model[2], batch, [3], width=(200,)),
        mask(model[0], batch, [4], width=(200,)),
        mask(model[0], batch, [3], passes=1, width=(200,)),
        mask((again := layers(seed=1))[0][0], again[1], [3], width=(200,)),
    ):
        differ = (first != other).float().mean()
        # Two independent masks differ in 2 x 0.25 x 0.75 of their numbers.
        assert abs(differ - 0.375) < 4 * (0.375 * 0.625 / 200) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_keep_rate_and_the_scale(p):
    model, batch = layers(p)
    kept = mask(model[0], batch, range(500), width=(401,))
    rate = (kept > 0).double().mean(1)
    assert set(kept.unique().tolist()) == {0.0, float(np.float32(1 / (1 - round(p * 65536) / 65536)))}
    assert abs(rate.mean() - (1 - p)) < 4 * (p * (1 - p) / (500 * 401)) ** 0.5
    # Neither a sample nor a place is favoured.
    assert (abs(rate - (1 - p)) < 5 * (p * (1 - p) / 401) ** 0.5).all()
    assert (abs((kept > 0).double().mean(0) - (1 - p)) < 5 * (p * (1 - p) / 500) ** 0.5).all()


def test_gradients_pass_where_the_mask_is_one():
    model, batch = layers()
    batch.samples = np.array([0, 1])
    x = torch.ones(2, 30, requires_grad=True)
    y = model[0](x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_in_evaluation_it_is_the_identity():
    model, _ = layers()
    x = torch.randn(3, 4)
    assert model.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_training_without_knowing_the_samples_is_an_error():
    with pytest.raises(RuntimeError, match="does not know the samples"):
        Dropout(0.5)(torch.ones(2, 3))
    model, batch = layers()
    batch.samples = np.array([1])
    with pytest.raises(RuntimeError, match="does not know the samples"):
        model(torch.ones(2, 3))


def test_a_model_without_dropout_has_nothing_to_tell():
    assert attach(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) is None


def test_masks_leave_torchs_generator_alone():
    model, batch = layers()
    before = torch.get_rng_state()
    mask(model[0], batch, [1, 2])
    assert torch.equal(torch.get_rng_state(), before)
