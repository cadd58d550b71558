"""What a node computes: its part of the data, its copy of the model, and its answers."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dml import accelerators, config
from dml.algorithms.one_model import BatchOptions
from dml.assembly import augmentation_of, set_threads
from dml.config import ExperimentConfig
from dml.data.build import build_node_data
from dml.data.load import load_dataset
from dml.errors import InputError
from dml.experiment_batches import way_of
from dml.models.registry import build_model
from dml.network.errors import WireError
from dml.network.header import Scalar
from dml.network.message import Message
from dml.plan import make_plan
from dml.population import Population, starts
from dml.traversal.engine import UnionEngine
from dml.traversal.three_phases import BlockNode
from dml.traversal.visits import Apart
from dml.traversal_network.part import of_node, sha256_of
from dml.traversal_network.questions import COUNTING, FIRST, LATER, numbered


def config_of(message: Message, given: Mapping[str, Any], local: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment that the orchestrator has described.

    Args:
        message: its description.
        given: flags of this call that must be as the orchestrator's.
        local: flags that are this process's own.

    Raises:
        InputError: a flag was given, and is not as the orchestrator's.
        WireError: the message is no description.
    """
    try:
        flags = json.loads(str(message.scalar("flags", str)))
        versions = json.loads(str(message.scalar("versions", str)))
        theirs = config.from_flat({**flags, **local})
        mine = config.from_flat({**flags, **local, **given})
    except (json.JSONDecodeError, TypeError) as error:
        raise WireError("unexpected", f"the description of the experiment: {error}") from None
    for flag in given:
        own, other = mine.flat()[flag], theirs.flat()[flag]
        if own != other:
            raise InputError(flag, given[flag], f"the orchestrator has {other}: give this, or leave it out")
    if theirs.versions() != versions:
        own = theirs.versions()
        parts = [part for part in {*own, *versions} if own.get(part) != versions.get(part)]
        raise WireError("unexpected", f"the orchestrator has another version of: {', '.join(sorted(parts))}")
    return theirs


class Worker:
    """One node, with its own samples and a copy of the model.

    Args:
        chosen: the experiment.
        node: which node it is.

    Raises:
        InputError: data, model or accelerator do not go together, or there is no such node.

    Attributes:
        samples: how many it has.
        sha256: the hash of its part.
    """

    def __init__(self, chosen: ExperimentConfig, node: int) -> None:
        plan = make_plan(chosen)
        if node >= plan.topology.n:
            raise InputError("node_id", node, f"the experiment has the nodes 0 to {plan.topology.n - 1}")
        seed, training = chosen.run.seed, chosen.training
        dataset = load_dataset(chosen.data, seed)
        data, _ = build_node_data(dataset, plan.topology, chosen.data, seed)
        data = of_node(data, node)
        black = dataset.black if plan.config.data.augment else None
        augmentation = augmentation_of(plan, black, data)
        device = accelerators.choose(chosen.run.accelerator)
        shape, settings = dataset.train_x.shape[1:], training.model_options.model_dump()
        build = partial(build_model, training.model, shape, plan.dataset.classes, settings)
        accelerators.prepare(device)
        # As in the orchestrator's process: frozen parameters are drawn with the same key.
        keys = starts(plan.rows.total, seed, same=training.init == "same")
        population = Population(build, keys, device=device)
        set_threads(plan, population.size)
        options = chosen.algorithm.options
        assert isinstance(options, BatchOptions)
        engine = UnionEngine(
            population, data, training, seed=seed, augmentation=augmentation, way=way_of(options)
        )
        assert isinstance(engine.visits, Apart)
        population.modules[0].train()
        self._node = engine.visits.nodes[node]
        self._dtype, self._device = population.X.dtype, device
        self._labels = getattr(options, "labels", "") == "at_server"
        self.samples, self.sha256 = len(data.y[node]), sha256_of(data, node)

    def load(self, parameters: Message) -> None:
        """Computes with these parameters from now on.

        Raises:
            WireError: they do not fit the model.
        """
        own = self._node.parameters
        found = [parameters.tensor(str(place), like.shape, like.dtype) for place, like in enumerate(own)]
        with torch.no_grad():
            torch._foreach_copy_(own, [tensor.to(self._device) for tensor in found])

    def answer(self, question: Message) -> dict[str, Tensor]:
        """The tensors of the answer to a question.

        Raises:
            WireError: it is none.
        """
        method, total = str(question.scalar("method", str)), int(question.scalar("total", int))
        node = self._node
        if method not in FIRST | LATER or not hasattr(node, method):
            raise WireError("unexpected", f"there is no question {method} here")
        if method in FIRST:
            self._begin(question)
        more: dict[str, Tensor] = {}
        match method:
            case "gradients":
                found: Sequence[Tensor] = node.gradients(total)
            case "activations":
                found = [node.activations()]
                more["keys"] = torch.from_numpy(node.keys())
                if self._labels:
                    more["labels"] = node.labels()
            case "outputs":
                assert isinstance(node, BlockNode)
                found = node.outputs(total)
            case "loss_gradient":
                found = [node.loss_gradient(self._sent(question, "logits"), total)]
            case _:
                found = getattr(node, method)(self._sent(question, "gradient"))
        if method in COUNTING:
            more["sums"] = node.sums().cpu()
        return numbered(found) | more

    def _begin(self, question: Message) -> None:
        local = question.tensors.get("samples")
        number = int(question.scalar("pass", int))
        if local is None or local.dtype != torch.int64 or local.dim() != 1 or not len(local):
            raise WireError("unexpected", "the question names no samples")
        if int(local.min()) < 0 or int(local.max()) >= self.samples:
            raise WireError("unexpected", f"the question is about samples beyond the {self.samples} here")
        self._node.begin(number, local.numpy(), [len(local)])

    def _sent(self, question: Message, name: str) -> Tensor:
        if name not in question.tensors:
            raise WireError("unexpected", f"the question lacks {name}")
        return question.tensors[name].to(self._device)

    def ready(self) -> dict[str, Scalar | list[Scalar]]:
        """What identifies its part, for the orchestrator."""
        return {"samples": self.samples, "sha256": self.sha256}
