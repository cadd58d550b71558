"""The command line of the orchestrator: it trains one model on the data of nodes in other processes."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dml.errors import EXIT_AGAIN, EXIT_FAILED, InputError, LostWorkersError, one_line
from dml.main import run
from dml.messages import amount
from dml.models.registry import MODELS
from dml.models.spec import BATCH_NORM
from dml.network.contacts import Contact, address_of
from dml.network.endpoint import Endpoint
from dml.network.errors import Late
from dml.network.header import Scalar
from dml.plan import Plan
from dml.signals import StopRequest
from dml.traversal_network.config import (
    ORCHESTRATOR,
    RUN,
    OrchestratorConfig,
    known_keys,
    name_of,
    with_accelerator,
)
from dml.traversal_network.questions import END
from dml.traversal_scripts.centralized import by_epoch
from dml.traversal_scripts.config import config_of, parse, plan_of

if TYPE_CHECKING:
    from dml.experiment import Assemble
    from dml.results import Loaded

DESCRIPTION = (
    "Trains one model by Traversal Learning on the data of nodes in other processes (tl_node.py), and writes "
    "one HDF5 file. The numbers are those of decentralized_main.py --algorithm traversal --visits "
    "apart."
)

TAKEN = ("mode", "labels", "out_dir", "checkpoint_every")
"""Further flags of experiments that it takes."""

_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Runs the experiment, and prints its losses and accuracies by epoch, and the path of its file.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code: 0 after a result, 1 if a node is lost and this ends the run, 75 if asked to stop or if
        nodes are missing for too long.
    """
    chosen, given = parse(OrchestratorConfig, TAKEN, argv, prog="tl_orchestrator.py", description=DESCRIPTION)
    planned = planned_of(chosen, given)
    names = [name_of(node) for node in range(planned.topology.n)]
    pair, keys = known_keys(chosen.public_keys, ORCHESTRATOR, *names)
    contacts = [Contact(name, None, key) for name, key in zip(names, keys, strict=True)]
    with Endpoint(ORCHESTRATOR, RUN, pair, contacts, address_of(chosen.host, chosen.port)) as end:
        _log.info(f"listening at {end.address} for {len(names)} nodes")
        return _run(planned, chosen, end)


def planned_of(chosen: OrchestratorConfig, given: Mapping[str, Any]) -> Plan:
    """The experiment.

    Args:
        chosen: the flags of the program.
        given: flags of experiments.

    Raises:
        InputError: a value is wrong.
    """
    # A crash costs the rounds since the last checkpoint, and here processes on other hosts compute them.
    given = {"checkpoint_every": 1, **with_accelerator(chosen, given)}
    # The star's centre visits the others.
    fixed = {"algorithm": "traversal", "visits": "apart", "orchestrator": 0, "epochs": 1}
    planned = plan_of(config_of(chosen, given, **fixed))
    model = planned.config.training.model
    if MODELS[model].single == BATCH_NORM:
        raise InputError("model", model, "has batch norm over whole batches, of which nodes see a part each")
    return planned


def _run(planned: Plan, chosen: OrchestratorConfig, end: Endpoint) -> int:
    """Runs the experiment, and tells the nodes how it has ended."""

    def assembling(stop: StopRequest) -> "Assemble":
        # Imported here, because it imports torch.
        from dml.traversal_network.assembly import Assembly

        return Assembly(end, chosen, stop)

    try:
        code = run(planned, fresh=chosen.fresh, text=text, assembling=assembling)
    except LostWorkersError as error:
        tell_end(end, EXIT_AGAIN, str(error))
        raise
    except Exception as error:
        tell_end(end, EXIT_FAILED, str(error))
        raise
    tell_end(end, code, "training has ended" if code == 0 else "the orchestrator was stopped")
    return code


def tell_end(end: Endpoint, code: int, why: str) -> None:
    """Tells the nodes that are connected that there is nothing more to do."""
    if not all(map(end.connected, end.contacts)):
        # Nodes may be about to connect, to a run that was complete before.
        end.serve(0.5)
    here = [name for name in end.contacts if end.connected(name)]
    scalars: dict[str, Scalar | list[Scalar]] = {"code": code, "why": one_line(why)[:1000]}
    with suppress(Late):  # Some are gone.
        end.send(here, END, seconds=0.3, scalars=scalars)


def text(result: "Loaded") -> str:
    """A table with one line per epoch, what was sent, and the accuracy."""
    lines = [by_epoch(result)]
    a = result.attributes
    if "wire_to_nodes" in a:
        wire = int(a["wire_to_nodes"]), int(a["wire_from_nodes"])
        own = int(a["messages_to_nodes"]), int(a["messages_from_nodes"])
        lines += [
            f"on the wire: {amount(wire[0])} to nodes, {amount(wire[1])} from nodes",
            f"tensors of Traversal Learning alone: {amount(own[0])} to nodes, {amount(own[1])} from nodes",
        ]
    if not a["lossless"]:
        lines.append(f"this is not centralized training: {a['lossy_because']}")
    lines.append(f"test accuracy: {float(result.arrays['metrics/test_acc'][-1, 0]):.4f}")
    return "\n".join(lines)
