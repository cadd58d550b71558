"""What the parts of an experiment are handed."""

import pytest
import torch
from torch import nn

from dml import assembly, config, plan
from dml.algorithms.registry import EXPERIMENTS
from dml.population import Population

TAKES_MODELS_APART = {"d2", "exact_diffusion", "gradient_tracking", "relaysgd_grad", "relay_mix"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_variances_of_a_batch_norm_are_mixed_where_models_are_averaged_alone(name):
    """Differences of models would make them negative."""
    planned = plan.make(config.make({"algorithm": name, "topology_file": "chain:n=5"}))
    population = Population(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), 5, seed=0)
    X = assembly.mixed(planned, population)
    parameters, statistics = 4 * 3 + 3 + 3 + 3, 3 + 3
    apart = name in TAKES_MODELS_APART
    assert X.shape == (5, parameters if apart else parameters + statistics)
    # A view: what an algorithm does reaches the models.
    X[2].fill_(7)
    assert torch.equal(population.modules[2][0].weight, torch.full((3, 4), 7.0))
    assert (population.modules[2][1].running_var == (1 if apart else 7)).all()
