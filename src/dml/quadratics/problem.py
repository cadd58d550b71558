"""Random quadratics whose constants are known: where algorithms show what theory says of them.

Node i's loss is a quadratic with its own Hessian and its own optimum,

    f_i(x) = 1/2 (x - x*)^T H_i (x - x*) + g_i^T (x - x*),   sum_i g_i = 0,   f = mean_i f_i

so f has its optimum at x*, f(x) - f* = 1/2 (x - x*)^T mean_i H_i (x - x*), the eigenvalues of every H_i
go from mu to L, and mean_i |grad f_i(x*)|^2 = mean_i |g_i|^2 = zeta^2 (Vogels et al. 2021, appendix B.4).
All in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml import randomness
from dml.algorithms.rule import Rule
from dml.quadratics import constants
from dml.topology import Topology


class RandomQuadratics:
    """The losses of n nodes.

    Args:
        n: nodes.
        d: dimensions.
        L: largest eigenvalue of every H_i.
        mu: least eigenvalue of every H_i.
        zeta2: heterogeneity, mean_i |grad f_i(x*)|^2.
        r0: distance of x* to the start, which is 0.
        noise: expected squared norm of what is added to each gradient.
        seed: of all of it.
        topology: the graph on which the nodes are placed.
        placement: which node has which loss: ``random``; ``clustered``, neighbours have losses whose optima
            lie to the same side; ``mixed``, to different sides. All constants are the same.

    Attributes:
        H: Hessians, [n, d, d].
        g: gradients at the optimum, [n, d].
        optimum: x*, [d].

    Raises:
        InputError: a constant that no such losses have.
    """

    def __init__(
        self,
        n: int,
        d: int = 10,
        L: float = 1.0,
        mu: float = 0.25,
        zeta2: float = 0.0,
        r0: float = 10.0,
        noise: float = 0.0,
        seed: int = 0,
        topology: Topology | None = None,
        placement: str = "random",
    ) -> None:
        constants.check(n, d, L, mu, zeta2, r0, noise)
        self.n, self.d, self.zeta2, self.noise, self.seed = n, d, zeta2, noise, seed
        rng = randomness.generator(seed, "quadratics")
        # Singular values of A_i, H_i = A_i^T A_i, at equal distances, as published.
        spectrum = np.linspace(np.sqrt(mu), np.sqrt(L), d) ** 2 if d > 1 else np.array([L])
        bases = np.linalg.qr(rng.standard_normal((n, d, d)))[0]
        self.H = np.einsum("nij,j,nkj->nik", bases, spectrum, bases)
        self._mean_H = self.H.mean(0)
        # Gradients at the optimum that random local optima of these Hessians have.
        pull = np.einsum("nij,nj->ni", self.H, rng.standard_normal((n, d)))
        g = np.einsum("nij,j->ni", self.H, np.linalg.solve(self._mean_H, pull.mean(0))) - pull
        size = np.mean(np.sum(g**2, 1))
        self.g = g * np.sqrt(zeta2 / size) if zeta2 else np.zeros_like(g)
        if placement != "random":
            assert topology is not None
            order = _placed(self.g, topology, placement)
            self.H, self.g = self.H[order], self.g[order]
        way = rng.standard_normal(d)
        self.optimum = r0 * way / np.linalg.norm(way)
        self._H, self._g, self._x = map(torch.from_numpy, (self.H, self.g, self.optimum))

    def start(self) -> Tensor:
        """x(0) = 0 on all nodes, [n, d]."""
        return torch.zeros(self.n, self.d, dtype=torch.float64)

    def gradients(self, X: Tensor, step: int) -> Tensor:
        """Each node's gradient at its own row, [n, d], with the noise of a step."""
        gradients = torch.baddbmm(self._g[:, :, None], self._H, (X - self._x)[:, :, None])[:, :, 0]
        if self.noise:
            rng = randomness.generator(self.seed, "gradient noise", step)
            scale = np.sqrt(self.noise / self.d)
            gradients += torch.from_numpy(scale * rng.standard_normal((self.n, self.d)))
        return gradients

    def error(self, X: Tensor) -> float:
        """f(mean of the rows) - f*."""
        away = X.mean(0).numpy() - self.optimum
        return float(away @ self._mean_H @ away / 2)

    def distance(self, X: Tensor) -> float:
        """Mean over the nodes of |x_i - x*|^2."""
        return float((X - self._x).square().sum(1).mean())


def _placed(g: NDArray[np.float64], topology: Topology, placement: str) -> NDArray[np.intp]:
    """Which of the losses each node takes, [n].

    The graph's Laplacian orders the nodes: by its eigenvector of the second least eigenvalue neighbours are
    as near to one another as an order allows, by that of the largest as far. The losses are ordered along
    the direction in which their gradients at the optimum differ most.
    """
    L = np.diag(topology.degree.astype(float))
    i, j = topology.edges.T
    L[i, j] = L[j, i] = -1
    vector = np.linalg.eigh(L)[1][:, min(1, len(L) - 1) if placement == "clustered" else -1]
    order = np.empty(len(g), np.intp)
    order[np.argsort(vector, kind="stable")] = np.argsort(g @ np.linalg.svd(g)[2][0], kind="stable")
    return order


@dataclass(frozen=True)
class Trace:
    """The way of one run.

    Args:
        errors: f(mean) - f* before the first and after each step, [steps + 1]; it ends early where the
            run is stopped or its error is no longer finite.
        distance: mean squared distance of the nodes' last models to x*.
    """

    errors: NDArray[np.float64]
    distance: float


def run(
    problem: RandomQuadratics,
    rule: Callable[[Tensor], Rule],
    lr: float | Callable[[int], float],
    steps: int,
    momentum: float = 0.0,
    stop: Callable[[float], bool] = lambda error: False,
) -> Trace:
    """One gradient step a node and round, then the rule.

    Args:
        problem: the losses.
        rule: makes the algorithm from x(0).
        lr: the learning rate, or that of each round.
        steps: rounds.
        momentum: of Nesterov's form, from the rule's own buffer where it has one, else a node's.
        stop: ends the run on the error after a round.
    """
    X = problem.start()
    algorithm, everyone = rule(X), np.ones(problem.n, bool)
    own = torch.zeros_like(X)
    errors = [problem.error(X)]
    for t in range(steps):
        rate = lr(t) if callable(lr) else lr
        algorithm.before(X, t, everyone)
        g = problem.gradients(X, t)
        if momentum:
            shared = algorithm.momentum()
            own = momentum * (own if shared is None else shared) + g
            g = g + momentum * own
        X.sub_(g, alpha=rate)
        with torch.no_grad():
            algorithm.after(X, t, rate)
        errors.append(problem.error(X))
        if not np.isfinite(errors[-1]) or stop(errors[-1]):
            break
    return Trace(np.array(errors), problem.distance(X))
