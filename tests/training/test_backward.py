"""A perceptron's gradients by formulas are torch's own, to the last bit."""

import pytest
import torch
from populations import population_of
from torch import nn

from dml.models.registry import build_model
from dml.training import backward
from dml.training.tensors import computing

CPU = torch.device("cpu")


def deep():
    widths = [12, 33, 7, 50, 5]
    layers = [nn.Flatten()]
    for k in range(4):
        layers += [nn.Linear(widths[k], widths[k + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small():
    return build_model("mlp", (3, 2, 2), 5)


def linear():
    return build_model("deep_linear", (3, 2, 2), 5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [deep, small, linear])
@pytest.mark.parametrize(("b", "total"), [(16, None), (5, None), (1, None), (5, 16), (16, 16)])
def test_the_formulas_give_the_bits_of_autograd(make, precision, b, total):
    population = population_of(make, 2, 0)
    torch.manual_seed(0)
    formulas = backward.of(population.modules[0], precision, CPU)
    assert isinstance(formulas, backward._Perceptron)
    autograd = backward.Backward(computing(precision, CPU), lambda x: x)
    # One after the other in the same memory, as nodes train.
    for node in (0, 1, 0):
        x, y = torch.randn(b, 3, 2, 2), torch.randint(5, (b,))
        given = population.modules[node], population.parameters(node), x, y
        if total is None:
            (logits, loss, ours), (expected, expected_loss, theirs) = formulas(*given), autograd(*given)
            assert torch.equal(loss, expected_loss)
        else:
            (logits, ours), (expected, theirs) = formulas.part(*given, total), autograd.part(*given, total)
        assert torch.equal(logits, expected)
        for a, e, p in zip(ours, theirs, given[1], strict=True):
            assert torch.equal(a, e)
            assert a.shape == p.shape
            assert a.dtype == p.dtype
        assert max(float(g.abs().max()) for g in theirs) > 1e-3


def test_a_frozen_perceptron_and_any_other_model_are_left_to_autograd():
    frozen = small()
    frozen[1].bias.requires_grad_(False)
    tanh = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 5))
    ends_in_relu = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
    some = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 5))
    without_bias = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 5, bias=False))
    for model in (frozen, tanh, ends_in_relu, some, without_bias, nn.Sequential(nn.Flatten())):
        assert type(backward.of(model, "fp32", CPU)) is backward.Backward


def test_autograd_holds_no_gradients_once_released():
    model = nn.Linear(3, 2)
    parameters = list(model.parameters())
    autograd = backward.of(model, "fp32", CPU)
    autograd(model, parameters, torch.ones(1, 3), torch.tensor([1]))
    autograd.release(parameters)
    assert all(p.grad is None for p in parameters)
