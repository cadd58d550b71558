"""The plan of an experiment, made before torch is imported: its graph, OOD nodes, id and file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dml.algorithms.asynchronous import EventOptions, Rows
from dml.algorithms.node_failures import FailureSchedule
from dml.algorithms.outages import Outages
from dml.algorithms.split import CutOptions
from dml.algorithms.traversal import TraversalOptions
from dml.clock.slow_nodes import factors_of
from dml.config import ExperimentConfig
from dml.data.dataset import DatasetSpec
from dml.data.fit import check_fit
from dml.data.load import describe_dataset
from dml.errors import InputError
from dml.files import check_writable
from dml.messages import count
from dml.results.identity import Identity, identify
from dml.topology import Topology, read


@dataclass(frozen=True)
class Plan:
    """One experiment with everything that follows from its configuration.

    Args:
        config: the configuration, with the numbers of the OOD nodes filled in.
        topology: the graph.
        dataset: the description of the data set.
        identity: the id and the name.
        result: the path of the result file.
    """

    config: ExperimentConfig
    topology: Topology
    dataset: DatasetSpec
    identity: Identity
    result: Path

    @property
    def epochs(self) -> int:
        """Measurements that a round can have: one per epoch, one with local steps, none without training."""
        training = self.config.training
        return (1 if training.local_steps else training.epochs) if training.train else 0

    @property
    def rows(self) -> Rows:
        """What the rows of X are."""
        return self.config.algorithm.described.rows(self.topology.n, self.config.algorithm.options)

    @property
    def measured_every(self) -> int | None:
        """The number of rounds between measurements; None for a measurement after every epoch."""
        every = self.config.run.eval_every
        return None if every == "epoch" else every

    @property
    def points(self) -> int:
        """The number of measurements over all rounds, without the one after the last aggregation."""
        every, rounds = self.measured_every, self.config.run.rounds
        return rounds * max(1, self.epochs) if every is None else -(-rounds // every)


def make_plan(
    config: ExperimentConfig, topology: Topology | None = None, there: Mapping[str, Path] | None = None
) -> Plan:
    """Reads the graph, describes the data set, chooses the OOD nodes and finds the path of the result.

    A folder of images is converted here if that has not been done yet.

    Args:
        config: the experiment.
        topology: its graph, if it has already been read.
        there: the result of `files_by_id` for the folder of the results, if it has already been listed.

    Raises:
        InputError: the graph cannot be read or made; an OOD node or a slow node is not in the graph; the
            strategy or algorithm does not run on the graph, or on the remaining nodes after a failure; the
            data set cannot be used, or has fewer samples than there are nodes; the model or the OOD data do
            not fit it; the model has no such cut; or the folder of the results cannot be written.
    """
    topology = topology or read(config.topology.topology_file, seed=config.run.seed)
    if config.data.backdoor:
        nodes = config.data.backdoor_node_idx or (topology.most_connected(1)[0],)
        for node in nodes:
            if node >= topology.n:
                raise InputError("backdoor_node_idx", node, f"the graph has the nodes 0 to {topology.n - 1}")
        data = config.data.model_copy(update={"backdoor_node_idx": tuple(int(node) for node in nodes)})
        config = config.model_copy(update={"data": data})
    factors_of(topology.n, config.clock.slow_nodes)
    config.participation(topology.n).check()
    _check_runs(config, topology)
    if config.algorithm.described.events:
        _check_events(config, topology.n)
    else:
        _check_failures(config, topology)
    check_shards(config, topology.n, config.run.shards or 1)
    dataset = describe_dataset(config.data)
    check_fit(config.data, config.training.model, dataset)
    if topology.n > dataset.sizes[0]:
        right = f"has {topology.n} nodes for {dataset.sizes[0]} training samples"
        raise InputError("topology_file", topology.source, right)
    _check_mode(config, dataset)
    check_writable(config.run.out_dir)
    identity = identify(config, topology, dataset)
    return Plan(config, topology, dataset, identity, identity.result(config.run.out_dir, there))


def check_shards(config: ExperimentConfig, n: int, shards: int) -> None:
    """Refuses processes that cannot share an experiment.

    Args:
        config: the experiment.
        n: the number of nodes.
        shards: how many processes there are.

    Raises:
        InputError: there are more than nodes, or nodes of this experiment cannot be in different processes.
    """
    if shards == 1:
        return
    if shards > n:
        raise InputError("shards", shards, f"the graph has only {count(n, 'node')}, and each shard needs one")
    if why := why_one_process(config):
        raise InputError("shards", shards, f"{why}, which needs all nodes in one process; leave it out")


def why_one_process(config: ExperimentConfig) -> str | None:
    """Why the nodes of an experiment must be in one process, in words; None if they need not."""
    described, name = config.algorithm.described, config.algorithm.algorithm
    why = None
    if described.one_model:
        why = f"{name} trains one model"
    elif described.events:
        why = f"{name} is asynchronous"
    elif not described.shards:
        why = f"{name} relays sums from node to node"
    elif config.algorithm.failing_nodes:
        why = "with --failing_nodes the algorithm starts again on other nodes"
    elif config.draws_to_neighbours:
        why = "--prox_coeff draws each step to the models of the neighbours"
    elif described.strategies and config.strategy.aggregation_order != "simultaneous":
        why = "with --aggregation_order nodes wait for one another"
    return why


def _check_mode(config: ExperimentConfig, dataset: DatasetSpec) -> None:
    """Refuses to part a model where it has no such parts; only this needs the model, and so torch."""
    options, training = config.algorithm.options, config.training
    if not isinstance(options, TraversalOptions | CutOptions) or options.mode == "grads":
        return
    settings = tuple(training.model_options.model_dump().items())
    parts = partial(_check_parts, training.model, dataset.shape, dataset.classes, settings)
    parts(options.mode, own_lower=isinstance(options, CutOptions))


@cache
def _check_parts(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    settings: tuple[tuple[str, Any], ...],
    mode: str,
    *,
    own_lower: bool,
) -> None:
    """The same for one model, which the experiments of a sweep share.

    Args:
        name: of the model.
        shape: of an input.
        classes: of the data set.
        settings: the options of the model.
        mode: ``legacy3``, ``cut=K`` or ``cut=half``.
        own_lower: nodes change the lower part themselves.
    """
    import torch

    from dml.models.registry import build_model
    from dml.traversal import cut

    with torch.device("meta"):
        module = build_model(name, shape, classes, dict(settings))
    k = mode.removeprefix("cut=")
    if k == "legacy3":
        cut.blocks(module, name)
    elif own_lower:
        cut.separate(module, cut.half(module) if k == "half" else int(k), name)
    else:
        cut.cut(module, int(k), name)


def _check_failures(config: ExperimentConfig, topology: Topology) -> None:
    """Refuses failures after which the remaining nodes could not continue."""
    participation = config.participation(topology.n)
    for failure in FailureSchedule(topology.n, config.algorithm.failing_nodes).failures():
        try:
            participation.check(np.isin(np.arange(topology.n), failure.remaining))
            _check_runs(config, topology.subgraph(failure.remaining)[0])
        except InputError as error:
            right = f"the remaining nodes cannot continue: {error}"
            raise InputError("failing_nodes", failure.text, right) from None


def _check_events(config: ExperimentConfig, n: int) -> None:
    """Refuses nodes that are not in the graph, and outages after the last round."""
    options, rounds = config.algorithm.options, config.run.rounds
    assert isinstance(options, EventOptions)
    Outages(n, config.algorithm.failing_nodes, options.away).check_begin_before(rounds)


def _check_runs(config: ExperimentConfig, topology: Topology) -> None:
    """Refuses a graph on which the strategy or the algorithm does not run."""
    described = config.algorithm.described
    if described.strategies:
        config.strategy.described.check(topology)
        _check_losses(config, topology)
    described.admits(topology, config.algorithm.options, config.run.seed)


def _check_losses(config: ExperimentConfig, topology: Topology) -> None:
    """Refuses a loss rule that replaces lost models, if the strategy needs to look at all models."""
    strategy, rule = config.strategy.described, config.algorithm.chosen_loss_rule
    lossy = config.algorithm.drop_probability > 0 or bool((topology.weights < 1).any())
    looks = strategy.looks_at_models or strategy.reduction is not None
    if lossy and rule != "renormalise" and looks:
        name = config.strategy.aggregation_strategy
        right = f"{name} looks at models, and cannot look at lost ones; give renormalise"
        raise InputError("loss_rule", rule, right)
