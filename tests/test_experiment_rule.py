"""The columns of the models that an algorithm works on."""

import pytest
import torch
from populations import population_of
from torch import nn

from dml import config
from dml.algorithms.registry import ALGORITHMS
from dml.experiment_rule import columns

TAKES_DIFFERENCES = {"d2", "exact_diffusion", "gradient_tracking", "relaysgd_grad", "relay_mix", "push_sum"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_variances_of_a_batch_norm_are_averaged_where_models_are_averaged_alone(name):
    """Differences of models would make them negative."""
    population = population_of(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), 5, seed=0)
    X = columns(config.make({"algorithm": name}), population)
    parameters, statistics = 4 * 3 + 3 + 3 + 3, 3 + 3
    assert X.shape == (5, parameters if name in TAKES_DIFFERENCES else parameters + statistics)
    # A view: what an algorithm does reaches the models.
    X[2].fill_(7)
    assert torch.equal(population.modules[2][0].weight, torch.full((3, 4), 7.0))
    assert (population.modules[2][1].running_var == (1 if name in TAKES_DIFFERENCES else 7)).all()
