"""The flags of ``centralized.py`` and ``tl_compare.py``, and the experiments that they describe.

They are the flags of the published programs (arXiv 2504.07471), with the same defaults: a linear network,
Adadelta, whose learning rate is multiplied by gamma after each epoch, and the same batches in every epoch.
Both programs deal the samples out to nodes, so with the same flags they train on the same batches.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from dml import command_line, config
from dml.config import ExperimentConfig
from dml.data.catalogue import DATASET_ALIASES, check_fetched
from dml.data.config import DataConfig
from dml.errors import InputError
from dml.field_types import MAX_COUNT
from dml.plan import Plan, make_plan
from dml.section import Section
from dml.shown_defaults import shown_defaults
from dml.topology.generators import MAX_NODES
from dml.validation import input_error

DEFAULTS: Mapping[str, Any] = {
    "model": "deep_linear",
    "partition": "equal",
    "batch_size": 64,
    "batch_order": "fixed",
    "lr": 1.0,
    "seed": 1,
}
"""What was published, where an experiment's own defaults differ."""

SHARED = {"dataset", "data_dir", *DEFAULTS, "accelerator", "threads"}
SHARED |= DataConfig.choices()["partition_options"].flags().keys()
"""The flags of experiments that both programs take."""


class PublishedConfig(Section):
    """The flags that are no flags of experiments."""

    epochs: int = Field(14, ge=1, le=MAX_COUNT, description="passes over the samples of all nodes")
    gamma: float = Field(0.7, gt=0, le=1, description="factor on the learning rate after each epoch")
    num_nodes: int = Field(
        3,
        ge=2,
        le=MAX_NODES,
        description="nodes to which the samples are dealt out; batches are drawn from node after node",
    )


S = TypeVar("S", bound=Section)


def parse(
    section: type[S], more: Collection[str], argv: Sequence[str], *, prog: str, description: str
) -> tuple[S, dict[str, Any]]:
    """The flags of a call: those of the section, and those of experiments that were given.

    Args:
        section: the program's own flags.
        more: further flags of experiments that it takes.
        argv: the words after the program's name.
        prog: the program's name.
        description: the first lines of ``--help``.

    Raises:
        InputError: a word is not a flag, or a value of the section is wrong.
        SystemExit: after ``--help``.
    """
    own = list(section.flags())
    fields = [("", flag, info) for flag, info in own]
    fields += [("", flag, info) for _, flag, info in config.fields() if flag in SHARED | {*more}]
    shown = shown_defaults() | {flag: str(value) for flag, value in DEFAULTS.items()}
    for flag, _ in own:
        shown.pop(flag, None)
    given = command_line.parse(fields, argv, prog=prog, description=description, defaults=shown)
    values = {flag: given.pop(flag) for flag, _ in own if flag in given}
    try:
        return section(**values), given
    except ValidationError as error:
        raise input_error(error, own) from None


def config_of(chosen: PublishedConfig, given: Mapping[str, Any], **fixed: Any) -> ExperimentConfig:
    """The experiment that the flags describe.

    Its graph is a star, whose centre is node 0.

    Args:
        chosen: the program's own flags.
        given: flags of experiments.
        **fixed: flags of experiments that the user cannot give.

    Raises:
        InputError: a value is wrong.
    """
    published = DATASET_ALIASES.get(str(given.get("dataset")), {})
    flags = {
        **DEFAULTS,
        **published,
        "optimizer": "adadelta",
        "lr_schedule": f"step:1,{chosen.gamma!r}",
        "topology_file": f"star:n={chosen.num_nodes}",
        "rounds": chosen.epochs,
        **given,
        **fixed,
    }
    return config.make(flags)


def loss_text(loss: float) -> str:
    """A loss as at most eleven characters, so that columns do not touch, however fast training diverges."""
    return f"{loss:.4e}" if abs(loss) >= 1000 else f"{loss:.6f}"


def plan_of(described: ExperimentConfig) -> Plan:
    """The plan of an experiment.

    Raises:
        InputError: a value is wrong, the data set is not there, or there are more nodes than samples.
    """
    try:
        plan = make_plan(described)
    except InputError as error:
        if error.field != "topology_file":
            raise
        # Nobody has named the graph; what can be wrong with it is its number of nodes.
        nodes = described.topology.topology_file.partition("n=")[2]
        raise InputError("num_nodes", nodes, error.right) from None
    check_fetched([plan.config.data.dataset], plan.config.data.data_dir)
    return plan
