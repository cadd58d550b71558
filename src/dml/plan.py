"""What an experiment will be, known before torch is imported: its graph, OOD nodes, id and file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dml.algorithms.living import Living
from dml.algorithms.registry import EXPERIMENTS
from dml.coefficients.strategies import STRATEGIES
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.results.identity import Identity, identify
from dml.topology import Topology, read


@dataclass(frozen=True)
class Plan:
    """One experiment, resolved.

    Args:
        config: with the OOD nodes by number.
        topology: the graph.
        identity: id and name.
        result: path of the result file.
    """

    config: ExperimentConfig
    topology: Topology
    identity: Identity
    result: Path

    @property
    def epochs(self) -> int:
        """How often a round can be measured: after each local epoch, or its steps; 0 without training."""
        training = self.config.training
        return (1 if training.local_steps else training.epochs) if training.train else 0

    @property
    def points(self) -> int:
        """Measurements over all rounds, the one after the last aggregation not counted."""
        every, rounds = self.config.run.eval_every, self.config.run.rounds
        if every == "epoch":
            return rounds * max(1, self.epochs)
        return -(-rounds // every)


def make(
    config: ExperimentConfig, topology: Topology | None = None, there: Mapping[str, Path] | None = None
) -> Plan:
    """Reads the graph, names the OOD nodes and finds the place of the result.

    Args:
        config: the experiment.
        topology: its graph, where it has been read already.
        there: the files of the folder of the results (`files_by_id`), where they have been listed already.

    Raises:
        InputError: the graph cannot be read or made, an OOD node is none of its nodes, the strategy
            or algorithm does not run on it or on what failing nodes leave of it, or the folder of the results
            cannot be written.
    """
    topology = topology or read(config.topology.topology_file, seed=config.run.seed)
    if config.data.backdoor:
        nodes = config.data.backdoor_node_idx or (topology.most_connected(1)[0],)
        for node in nodes:
            if node >= topology.n:
                raise InputError("backdoor_node_idx", node, f"the graph has the nodes 0 to {topology.n - 1}")
        data = config.data.model_copy(update={"backdoor_node_idx": tuple(int(node) for node in nodes)})
        config = config.model_copy(update={"data": data})
    _check_runs(config, topology)
    for failure in Living(topology.n, config.algorithm.failing_nodes).failures():
        try:
            _check_runs(config, topology.part(failure.left)[0])
        except InputError as error:
            right = f"what is left does not go on: {error}"
            raise InputError("failing_nodes", failure.text, right) from None
    check_writable(config.run.out_dir)
    identity = identify(config, topology)
    return Plan(config, topology, identity, identity.result(config.run.out_dir, there))


def _check_runs(config: ExperimentConfig, topology: Topology) -> None:
    """Refuses a graph on which the strategy or the algorithm does not run."""
    if config.algorithm.averages:
        STRATEGIES[config.strategy.aggregation_strategy].check(topology)
        _check_losses(config, topology)
    config.algorithm.check(topology, config.options())


def _check_losses(config: ExperimentConfig, topology: Topology) -> None:
    """A strategy that looks at models cannot stand in for those that did not arrive."""
    chosen, name = config.algorithm, config.strategy.aggregation_strategy
    rule = chosen.loss_rule or EXPERIMENTS[chosen.algorithm].loss_rules[0]
    lossy = chosen.drop_probability > 0 or bool((topology.weights < 1).any())
    if lossy and rule != "renormalise" and STRATEGIES[name].needs_softmax:
        right = f"{name} looks at models, also at those that were lost; give renormalise"
        raise InputError("loss_rule", rule, right)


def check_writable(folder: Path) -> None:
    """Raises InputError unless the folder can be written, or made and then written."""
    there = folder.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError("out_dir", folder, f"{there} is a file; give a folder that can be written")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError("out_dir", folder, f"{there} cannot be written; give a folder that can")
