"""The proximal term of the published local loss (arXiv 2505.11760; after FedProx, Li et al. 2020).

    loss_i = cross entropy + mu/2 * sum over j in N(i), parameter tensors p of || w_p - w_p^j ||_2

w^j is neighbour j's model at the start of the round; the norm is not squared. Its gradient in w_p,

    mu/2 * sum over j in N(i) of (w_p - w_p^j) / || w_p - w_p^j ||_2,

has length mu/2 |N(i)| at most, whatever the distance; where the norm is 0 it is taken as 0.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.population import Population


class Proximal:
    """Adds the term's gradient to that of the cross entropy.

    Args:
        population: the models.
        neighbours: of each node, n arrays.
        coeff: mu, above 0.
    """

    def __init__(self, population: Population, neighbours: Sequence[NDArray[np.int64]], coeff: float) -> None:
        self._population, self._coeff = population, coeff
        self._start = torch.empty_like(population.X)
        self.draw_to(neighbours)

    def draw_to(self, neighbours: Sequence[NDArray[np.int64]]) -> None:
        """From the next round on these are the neighbours of each node, n arrays."""
        device = self._population.X.device
        self._neighbours = [torch.from_numpy(np.asarray(j, np.int64)).to(device) for j in neighbours]

    def begin_round(self) -> None:
        """The neighbours' models are those of now."""
        self._start.copy_(self._population.X)

    @torch.no_grad()
    def add_gradient(self, node: int, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Adds the term's gradient to those of a node's parameters, which are views into its row."""
        neighbours = self._neighbours[node]
        if not len(neighbours):
            return
        row = self._population.X[node]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            first = parameter.storage_offset() - row.storage_offset()
            columns = slice(first, first + parameter.numel())
            apart = row[columns] - self._start[neighbours, columns]
            norm = torch.linalg.vector_norm(apart, dim=1, keepdim=True)
            direction = torch.where(norm > 0, apart / norm, 0.0).sum(0)
            gradient.add_(direction.view_as(parameter), alpha=self._coeff / 2)
