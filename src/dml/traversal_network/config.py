"""The flags of ``tl_orchestrator.py`` and ``tl_node.py``: those of the published programs, and some more."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dml.errors import InputError
from dml.field_types import MAX_COUNT, UserPath
from dml.main import CallConfig
from dml.network import keys
from dml.network.keys import KeyPair
from dml.network.peers import Port, public_keys
from dml.section import Section
from dml.topology.generators import MAX_NODES
from dml.traversal_scripts.config import PublishedConfig

ORCHESTRATOR = "orchestrator"
"""The name of the orchestrator on the wire; a node is called ``node 0``."""

RUN = "traversal learning"
"""The id of all runs on the wire. Which experiment it is, the orchestrator tells each node."""

DAY = 86400.0

OnLost = Literal["wait", "abort", "renormalise"]


class WireConfig(Section):
    """The flags of both programs."""

    host: str = Field("127.0.0.1", min_length=1, max_length=253, description="the orchestrator's host")
    port: Port = Field(12345, description="the orchestrator's port")
    accel: bool = Field(True, description="compute on an accelerator if there is one; otherwise on the CPU")
    public_keys: UserPath | None = Field(
        None, description="file of all public keys, from make_keys.py; one host needs none"
    )
    patience: float = Field(
        300.0,
        gt=0,
        le=DAY,
        description="the longest time in seconds to wait for the other processes to connect, or for the "
        "orchestrator to come back",
    )


class OrchestratorConfig(WireConfig, PublishedConfig, CallConfig):
    """The flags of ``tl_orchestrator.py`` that are no flags of experiments."""

    on_lost: OnLost = Field(
        "wait",
        description="if a node is lost: wait until it is started again (wait), end with the exit code 1 "
        "(abort), or go on with the gradients of the other nodes (renormalise)",
    )
    deadline: float = Field(
        120.0,
        gt=0,
        le=DAY,
        description="the longest time in seconds to wait for the answer of a node, or for one that is lost",
    )


class NodeConfig(WireConfig):
    """The flags of ``tl_node.py`` that are no flags of experiments."""

    node_id: int | None = Field(None, ge=0, le=MAX_COUNT, description="which node this is; it must be given")
    num_nodes: int | None = Field(
        None, ge=1, le=MAX_NODES, description="nodes of the experiment; it must be the orchestrator's number"
    )
    first_id: Literal["0", "1"] = Field(
        "0", description="the id of the first node: 0, or 1 as in the published programs"
    )

    @property
    def node(self) -> int:
        """The number of the node, counted from 0.

        Raises:
            InputError: there is no such node.
        """
        first = int(self.first_id)
        if self.node_id is None:
            raise InputError("node_id", None, f"is missing: give a number from {first} on")
        last = first + (self.num_nodes or MAX_NODES) - 1
        if not first <= self.node_id <= last:
            raise InputError("node_id", self.node_id, f"must be {first} to {last}")
        return self.node_id - first


def name_of(node: int) -> str:
    """The name of a node on the wire."""
    return f"node {node}"


def number_of(name: str) -> int:
    """The node with a name on the wire."""
    found = re.fullmatch(r"node (\d+)", name)
    assert found is not None, name
    return int(found[1])


def with_accelerator(chosen: WireConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of experiments, with the CPU as accelerator if none is wanted.

    Raises:
        InputError: an accelerator is named, too.
    """
    if chosen.accel:
        return dict(given)
    if "accelerator" in given:
        raise InputError("accelerator", given["accelerator"], "does not go with --no_accel: give one of both")
    return {**given, "accelerator": "cpu"}


def known_keys(path: Path | None, own: str, *others: str) -> tuple[KeyPair, list[str]]:
    """The pair of this process, and the public keys of others.

    Args:
        path: a file of public keys by name; None if all processes have the pair of this host.
        own: the name of this process.
        others: the names of the others.

    Raises:
        InputError: a key is not there, can be read by others, or does not belong to its name.
        DamagedFileError: a file of a key is damaged.
    """
    if path is None:
        pair = keys.own_keys()
        return pair, [pair.public] * len(others)
    known = public_keys(path)
    missing = [name for name in (own, *others) if not keys.is_public_key(known.get(name, ""))]
    if missing:
        raise InputError("public_keys", path, f"holds no key of {missing[0]}")
    file = keys.folder_of_host() / keys.file_name(own, keys.SECRET)
    pair = keys.load(file)
    if pair.public != known[own]:
        raise InputError("public_keys", path, f"holds another key of {own} than {file}")
    return pair, [known[name] for name in others]
