"""Aggregation strategies: each returns the row-stochastic matrix C of one aggregation.

C_ij is the weight of node j's model in node i's new one, for j in the neighbourhood N(i): node i itself and
the neighbours whose links work in this round. Most strategies give each node a score c_j, which becomes

    C_ij = exp(s c_j) / sum_k exp(s c_k)     with --softmax, where s = --softmax_coeff
    C_ij = c_j / sum_k c_k                   without it

with k over N(i) (arXiv 2505.11760, section 3). A row whose scores sum to 0 is uniform. The ``_sim``
strategies choose the sign of s for each row i by the neighbour whose model is least similar to that of i.
To add a strategy, write a function and a line of ``STRATEGIES``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.coefficients.options import ScoreOptions, SimilarityOptions, StrategyOptions
from dml.topology import averaging
from dml.topology.centrality import CENTRALITIES, centrality, check_centrality

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

    from dml.topology import Topology


Similarity = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""The similarity of the models of pairs of nodes: (receivers [k], senders [k]) -> values [k]."""

EQUALLY_ALIKE = 1e-12
"""Similarities that differ by at most this are a tie, because rounding differs between machines."""


@dataclass(frozen=True)
class Context:
    """Everything that a strategy may use in one round.

    Args:
        topology: the graph.
        indptr: row i's neighbourhood is ``indices[indptr[i]:indptr[i + 1]]``, [n + 1].
        indices: the nodes of each neighbourhood in this round, ascending, including the node itself.
        round: the number of the round, counted from 0.
        headers: scalars that are sent with the nodes' models, by name, each [n]; among them ``samples``, the
            number of training samples.
        options: the strategy's own options.
        seed: the experiment's seed.
        similarity: computes the similarity of the current models.
    """

    topology: "Topology"
    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    round: int
    headers: Mapping[str, NDArray[np.float64]]
    options: StrategyOptions
    seed: int
    similarity: Similarity


def _s(ctx: Context) -> float | None:
    """The s of the softmax over scores in this round; None to divide the scores by their sum."""
    assert isinstance(ctx.options, ScoreOptions)
    return ctx.options.s(ctx.round)


def by_score(
    ctx: Context, scores: NDArray[np.float64], softmax: float | NDArray[np.float64] | None
) -> "csr_array":
    """The coefficients that follow from one score per node.

    Args:
        ctx: the round; every neighbourhood includes at least its own node.
        scores: the scores c, [n].
        softmax: s for all rows, or one value per row, [n]; None to divide by the sum.
    """
    from scipy.sparse import csr_array

    starts, sizes = ctx.indptr[:-1], np.diff(ctx.indptr)
    c = scores[ctx.indices]
    if softmax is not None:
        c = np.repeat(np.broadcast_to(softmax, len(sizes)), sizes) * c
        c = np.exp(c - np.repeat(np.maximum.reduceat(c, starts), sizes))
    totals = np.add.reduceat(c, starts)
    empty = np.repeat(totals <= 0, sizes)
    c = np.where(empty, 1.0, c)
    totals = np.where(totals <= 0, sizes, totals)
    n = ctx.topology.n
    return csr_array((c / np.repeat(totals, sizes), ctx.indices, ctx.indptr), shape=(n, n))


def unweighted(ctx: Context) -> "csr_array":
    """C_ij = 1/|N(i)|; on the complete graph this is the mean over all nodes."""
    return by_score(ctx, np.ones(ctx.topology.n), None)


def weighted(ctx: Context) -> "csr_array":
    """C_ij is proportional to the number of training samples of node j."""
    return by_score(ctx, ctx.headers["samples"], None)


def random(ctx: Context) -> "csr_array":
    """Scores are uniform in [0, 1), drawn again in every round."""
    scores = randomness.generator(ctx.seed, "random scores", ctx.round).random(ctx.topology.n)
    return by_score(ctx, scores, _s(ctx))


def degree_centrality(ctx: Context) -> "csr_array":
    """Scores are the degree centrality, degree/(n - 1)."""
    return by_score(ctx, ctx.topology.degree / (ctx.topology.n - 1), _s(ctx))


def betweenness_centrality(ctx: Context) -> "csr_array":
    """Scores are the normalised betweenness centrality, end points included."""
    return by_score(ctx, ctx.topology.betweenness, _s(ctx))


def by_centrality(ctx: Context, name: str) -> "csr_array":
    """Scores are a centrality of :mod:`dml.topology.centrality`."""
    return by_score(ctx, centrality(ctx.topology, name), _s(ctx))


def by_score_and_similarity(ctx: Context, scores: NDArray[np.float64]) -> "csr_array":
    """The softmax of scores, in which each row has its own sign of s.

        k(i) = argmin over j in N(i), j != i, of similarity(i, j)        the lower index if there are several
        s_i = -|s| if c_k(i) < c_i else +|s|

    So a node turns to its less central neighbours if the least similar model belongs to one of them.
    """
    s = _s(ctx)
    assert s is not None, "the options refuse it"
    size = abs(s)
    sizes = np.diff(ctx.indptr)
    starts, receiver = ctx.indptr[:-1], np.repeat(np.arange(len(sizes)), sizes)
    other = receiver != ctx.indices
    alike = np.full(len(receiver), np.inf)
    alike[other] = ctx.similarity(receiver[other], ctx.indices[other])
    # A model that is not finite is similar to no other.
    alike[np.isnan(alike)] = -np.inf
    least = np.repeat(np.minimum.reduceat(alike, starts), sizes) + EQUALLY_ALIKE
    place = np.where(alike <= least, np.arange(len(alike)), len(alike))
    k = ctx.indices[np.minimum.reduceat(place, starts)]
    return by_score(ctx, scores, np.where(scores[k] < scores, -size, size))


def degree_similarity(ctx: Context) -> "csr_array":
    """Scores are the degree centrality; the sign of s follows from similarity."""
    return by_score_and_similarity(ctx, ctx.topology.degree / (ctx.topology.n - 1))


def betweenness_similarity(ctx: Context) -> "csr_array":
    """Scores are the betweenness centrality; the sign of s follows from similarity."""
    return by_score_and_similarity(ctx, ctx.topology.betweenness)


def metropolis_hastings(ctx: Context) -> "csr_array":
    """Metropolis-Hastings weights: W_ij = 1/(1 + max(d_i, d_j)) for neighbours, W_ii = 1 - sum_j W_ij.

    W is symmetric and doubly stochastic, so it keeps the mean of all models (Xiao, Boyd, Lall 2005). To keep
    it so, W and the degrees d ignore a link in a round in which it does not work in both directions.
    """
    from scipy.sparse import csr_array

    n = ctx.topology.n
    heard = csr_array((np.ones(len(ctx.indices)), ctx.indices, ctx.indptr), shape=(n, n))
    both = heard.multiply(heard.T).tocoo()
    others = both.row != both.col
    return averaging.metropolis_hastings(n, both.row[others], both.col[others])


def with_self_weight(C: "csr_array", w: float) -> "csr_array":
    """The matrix C with C_ii = w, and with the other entries of each row scaled to the sum 1 - w.

    If the other entries sum to 0, they become uniform. The row of a node without neighbours does not change.

    Args:
        C: the coefficients; every row must store its diagonal entry.
        w: the weight of each node's own model.
    """
    from scipy.sparse import csr_array

    sizes = np.diff(C.indptr)
    receiver = np.repeat(np.arange(len(sizes)), sizes)
    own, alone = C.indices == receiver, sizes == 1
    rest = np.where(own, 0.0, C.data)
    totals = np.add.reduceat(rest, C.indptr[:-1])
    rest = np.where(totals[receiver] > 0, rest, 1.0)
    totals = np.where(totals > 0, totals, np.maximum(sizes - 1, 1))
    new = np.where(own, w, (1 - w) * rest / totals[receiver])
    return csr_array((np.where(alone[receiver], C.data, new), C.indices, C.indptr), shape=C.shape)


def identity(ctx: Context) -> "csr_array":
    """C = I: nothing is aggregated."""
    from scipy.sparse import csr_array

    n = ctx.topology.n
    return csr_array((np.ones(n), np.arange(n), np.arange(n + 1)), shape=(n, n))


def shrink(ctx: Context) -> "csr_array":
    """C_ii = 1/|N(i)| and all else 0, so each model shrinks. It is a debugging aid; rows do not sum to 1."""
    C = identity(ctx)
    C.data /= np.diff(ctx.indptr)
    return C


Reduction = Callable[["Tensor", NDArray[np.int64]], "Tensor"]
"""Reduces the vectors of neighbourhoods to new vectors, for g nodes whose neighbourhoods have d nodes each:
(vectors [g, d, columns] by ascending node, the place of the node's own vector [g]) -> new vectors
[g, columns]. It gets some columns at a time, so it must work column by column, as a median does."""


@dataclass(frozen=True)
class Strategy:
    """One strategy of the registry. It has either coefficients or a reduction.

    Args:
        coefficients: makes the matrix C of one round.
        reduction: makes a node's new model from those of its neighbourhood.
        options: its own flags.
        complete: whether it replaces the graph by the complete graph (the FL baseline).
        exchanges: whether nodes use each other's models, so that models are sent.
        looks_at_models: whether its coefficients depend on the models.
        steady: whether its scores are the same in every round.
        needs_betweenness: whether it computes the betweenness of all nodes.
        check: raises InputError if the strategy is not defined on a graph.
        version: raised when a change alters its numbers; part of the experiment's id if above 1.
    """

    coefficients: Callable[[Context], "csr_array"] | None = None
    options: type[StrategyOptions] = StrategyOptions
    complete: bool = False
    exchanges: bool = True
    looks_at_models: bool = False
    steady: bool = True
    needs_betweenness: bool = False
    check: Callable[["Topology"], None] = lambda topology: None
    reduction: Reduction | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if (self.coefficients is None) == (self.reduction is None):
            raise ValueError("a strategy has either coefficients or a reduction")


STRATEGIES: dict[str, Strategy] = {
    "unweighted": Strategy(unweighted),
    "unweighted_fl": Strategy(unweighted, complete=True),
    "weighted": Strategy(weighted),
    "random": Strategy(random, ScoreOptions, steady=False),
    "degCent": Strategy(degree_centrality, ScoreOptions),
    "betCent": Strategy(betweenness_centrality, ScoreOptions, needs_betweenness=True),
    "metropolis_hastings": Strategy(metropolis_hastings),
    "degCent_sim": Strategy(degree_similarity, SimilarityOptions, looks_at_models=True, steady=False),
    "betCent_sim": Strategy(
        betweenness_similarity, SimilarityOptions, looks_at_models=True, steady=False, needs_betweenness=True
    ),
    **{
        name: Strategy(
            partial(by_centrality, name=name),
            ScoreOptions,
            check=partial(check_centrality, name=name, field="aggregation_strategy"),
        )
        for name in CENTRALITIES
    },
    "test_agg": Strategy(identity, exchanges=False),
    "scale_agg": Strategy(shrink, exchanges=False),
}
