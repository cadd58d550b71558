"""One model of an experiment on virtual batches: what moves it, and what trains it."""

import math
from typing import TYPE_CHECKING

from dml.algorithms.one_model import BatchOptions
from dml.algorithms.server_at_node import ServerAtNode
from dml.algorithms.split import CutOptions
from dml.algorithms.traversal import TraversalOptions
from dml.data.ood import NodeData
from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.execution.batches import Batches
from dml.plan import Plan
from dml.population import Population
from dml.training.tensors import inputs
from dml.traversal.account import Account, phases_of, three_phases_of
from dml.traversal.cut import half, separate
from dml.traversal.cut_sizes import cut_sizes
from dml.traversal.engine import UnionEngine, Way
from dml.traversal.lower_part import LowerPart
from dml.traversal.routes import Route
from dml.traversal.side_by_side import SideBySideEngine
from dml.traversal.split_messages import split

if TYPE_CHECKING:
    from dml.training.augment import Augmentation

Facts = dict[str, str | int]


def batches_of(
    plan: Plan, population: Population, data: NodeData, augmentation: "Augmentation | None"
) -> tuple[Batches, UnionEngine]:
    """The execution and the engine.

    Args:
        plan: the experiment.
        population: the model, in one row.
        data: of each node.
        augmentation: changes training images in each pass; None without one.
    """
    config, topology = plan.config, plan.topology
    training, seed = config.training, config.run.seed
    options = config.algorithm.options
    assert isinstance(options, BatchOptions)
    plans = options.plans(data.samples, training.batch_size, seed, shuffle=config.data.shuffle)
    facts: Facts = {"plan_sha256": plans(0).sha256, **_losses(plan, options)}
    account = None
    if isinstance(options, CutOptions):
        k = options.cut or half(population.modules[0])
        account = _account_of_cut(plan, options, k, population, data)
        facts["cut"] = k
    elif isinstance(options, TraversalOptions):
        account = _account(plan, options, population, data)
    if account:
        at = account.route.orchestrator
        facts |= {"orchestrator": "rotating" if at is None else at, "visit_costs": account.text}
    engine = _engine(plan, options, population, data, augmentation)
    execution = Batches(plans, topology.n, topology.m, training, training.rate(), account, facts)
    return execution, engine


def _engine(
    plan: Plan,
    options: BatchOptions,
    population: Population,
    data: NodeData,
    augmentation: "Augmentation | None",
) -> UnionEngine:
    training, seed = plan.config.training, plan.config.run.seed
    if isinstance(options, CutOptions) and options.side_by_side:
        k = options.cut or half(population.modules[0])
        return SideBySideEngine(
            population,
            data,
            training,
            k,
            seed=seed,
            keep_optimizers=training.keep_optimizer,
            augmentation=augmentation,
        )
    return UnionEngine(
        population,
        data,
        training,
        seed=seed,
        keep_optimizers=training.keep_optimizer,
        augmentation=augmentation,
        way=way_of(options),
    )


def _account(plan: Plan, options: TraversalOptions, population: Population, data: NodeData) -> Account:
    """What the visits cost on the graph and the clock of an experiment."""
    config, module = plan.config, population.modules[0]
    if options.three_phases:
        phases = three_phases_of(module, config.training.model)
    else:
        sample = inputs(data.x[0][:1], population.X)
        labels = math.prod(data.y[0].shape[1:])
        stay = options.labels == "at_node"
        phases = phases_of(module, options.cut, stay, sample, labels, config.training.model)
    route = _route(plan, options, data, collected=options.visits_go == "collected")
    state = BYTES_PER_NUMBER * population.trained * (1 + config.training.remembered)
    return Account(route, phases, state, config.clock, config.run.seed)


def _account_of_cut(
    plan: Plan, options: CutOptions, k: int, population: Population, data: NodeData
) -> Account:
    """What batches cost whose nodes keep the first k layers of the model."""
    config, module = plan.config, population.modules[0]
    parts = separate(module, k, config.training.model)
    found = cut_sizes(module, parts, inputs(data.x[0][:1], population.X))
    labels = math.prod(data.y[0].shape[1:])
    phases = split(found.activations, found.lower_work, found.outputs, options.labels_stay, labels)
    # The memory of an optimiser goes along with the one lower part; each of several ones has its own.
    remembered = 0 if options.side_by_side else config.training.remembered
    size = BYTES_PER_NUMBER * (found.lower * (1 + remembered) + found.buffers)
    lower = LowerPart(size, options.side_by_side)
    return Account(_route(plan, options, data), phases, 0, config.clock, config.run.seed, lower)


def _route(plan: Plan, options: ServerAtNode, data: NodeData, *, collected: bool = False) -> Route:
    return Route(plan.topology, options.place(plan.topology, data.samples), collected)


def way_of(options: BatchOptions) -> Way:
    """How gradients come about."""
    if not isinstance(options, TraversalOptions):
        return Way()
    stay = options.labels == "at_node"
    return Way(options.cut, options.visits == "apart", stay, options.three_phases)


def _losses(plan: Plan, options: BatchOptions) -> Facts:
    """Whether training equals centralized training, and how parts were computed; not for that itself."""
    if isinstance(options, CutOptions):
        return {"lossless": False, "lossy_because": options.lossy_because}
    if not isinstance(options, TraversalOptions):
        return {}
    why = options.lossy(plan.config.training)
    told: Facts = {"visits": options.visits, "lossless": why is None}
    return told | ({"lossy_because": why} if why else {})
