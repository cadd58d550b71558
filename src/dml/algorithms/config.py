"""The part of an experiment's configuration that says how a round ends: the algorithm and its options."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dml.algorithms import living, registry
from dml.algorithms.registry import AVERAGING, EXPERIMENTS, GOSSIP_RULES, MODEL_RULES, Options
from dml.section import MAX_COUNT, Section, one_of
from dml.topology import Topology, trees

DEFAULTS: dict[str, Any] = {"init": "same", "keep_optimizer": True, "local_steps": 1}
"""Defaults of all algorithms but ``decentralized``: one common start, one step a round, one optimiser."""

OWN_DEFAULTS: dict[str, dict[str, Any]] = {
    "dpsgd": {"aggregation_strategy": "metropolis_hastings"},
    "quasi_global_momentum": {"momentum": 0.9, "nesterov": True},
}
"""Those of one algorithm beside."""

STEP_DEFAULTS: dict[str, Any] = {"rounds": 500, "eval_every": 10, "checkpoint_every": 500}
"""Defaults where a round is a few steps: there are more rounds, and not each is measured."""

_LOSS_RULES = tuple(dict.fromkeys((*GOSSIP_RULES, *MODEL_RULES, *registry.UPDATE_RULES)))


def defaults(name: str, given: Collection[str]) -> dict[str, Any]:
    """What flags are with an algorithm where they are not given.

    Args:
        name: of the algorithm.
        given: the flags that are.
    """
    values = {} if name == registry.DECENTRALIZED or name not in EXPERIMENTS else dict(DEFAULTS)
    if "epochs" in given:
        values.pop("local_steps", None)
    if "local_steps" in {*values, *given}:
        values |= STEP_DEFAULTS
    return values | OWN_DEFAULTS.get(name, {})


class AlgorithmConfig(Section):
    """Which algorithm, over which messages."""

    algorithm: Annotated[str, one_of(EXPERIMENTS, "algorithm")] = Field(
        registry.DECENTRALIZED, description="what makes the next models: " + ", ".join(EXPERIMENTS)
    )
    drop_probability: float = Field(
        0.0, ge=0, lt=1, description="that a message is lost, beside what its edge's weight says"
    )
    loss_rule: Annotated[str, one_of(_LOSS_RULES, "loss rule")] | None = Field(
        None,
        description="what a lost message counts as (default: hold_last; renormalise for decentralized): "
        + ", ".join(_LOSS_RULES),
    )
    failing_nodes: tuple[str, ...] = Field(
        (), description="nodes that fail for good, each from the start of a round on, from 0, as NODE@ROUND"
    )
    edge_weight: float | None = Field(
        None, gt=0, le=1, description="weight of every edge in place of Metropolis-Hastings weights"
    )
    tree: Annotated[str, one_of(trees.CHOICES, "tree")] = Field(
        "auto", description="over which tree sums are relayed: " + ", ".join(trees.CHOICES)
    )
    tree_root: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="root of --tree bfs (default: the node of highest degree)"
    )
    tree_slices: Literal["strided", "contiguous"] = Field(
        "strided", description="how several trees share a model's numbers"
    )
    overlap: bool = Field(False, description="relayed sums travel while the next round computes")
    consensus_strength: float = Field(
        0.5, gt=0, le=1, description="c of relay_mix: how much models are drawn together, 1 as in relaysgd"
    )
    exchanges: int = Field(1, ge=1, le=MAX_COUNT, description="exchanges a round of one_peer_exponential")
    lr_correction: Literal["auto", "off"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="factor on --lr for averages over old models, which move slower: auto (kappa of the "
        "tree), off or a number",
    )

    @field_validator("failing_nodes", mode="before")
    @classmethod
    def _one_alone(cls, given: object) -> object:
        # As the one value of a key in a sweep's file.
        return (given,) if isinstance(given, str) else given

    @field_validator("failing_nodes")
    @classmethod
    def _ordered(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        rounds = living.read(given)
        order = sorted(rounds, key=lambda node: (rounds[node], node))
        return tuple(f"{node}@{rounds[node]}" for node in order)

    @property
    def averages(self) -> bool:
        """Whether the next models are the averages of an aggregation strategy."""
        return self.algorithm in AVERAGING

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        own = set() if self.averages else set(EXPERIMENTS[self.algorithm].reads) - {"momentum"}
        if "tree" in own:
            own |= {"lr_correction"}
            own -= set() if self.tree == "bfs" else {"tree_root"}
            own -= set() if self.tree in ("two_chains", "double_binary_trees") else {"tree_slices"}
        return {"algorithm", "drop_probability", "loss_rule", "failing_nodes"} | own

    def unread(self) -> set[str]:
        """The fields of other sections that mean nothing under this algorithm."""
        fields = set() if self.averages else {"prox_coeff"}
        return fields | ({"keep_optimizer"} if self.algorithm == "quasi_global_momentum" else set())

    def options(self, seed: int, momentum: float) -> Options:
        """What the algorithm's rule reads.

        Args:
            seed: the experiment's seed.
            momentum: of the local optimiser.
        """
        shared = Options.__dataclass_fields__.keys() & type(self).model_fields.keys()
        return Options(seed=seed, momentum=momentum, **{flag: getattr(self, flag) for flag in shared})

    def check(self, topology: Topology, options: Options) -> None:
        """Raises InputError where the algorithm does not run on a graph."""
        if not self.averages:
            registry.check(self.algorithm, topology, options)
