"""The file of peers of an experiment, and what the flags of a call change of it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dml.field_types import UserPath
from dml.network.peers import Peers
from dml.section import Section

MEASURE = Field(
    None,
    description="which models are measured: each peer measures its own (own), or node 0 gets all models, and "
    "also measures their mean and how far they are apart (all) (default: own)",
)

AWAY_S, SLOW_S = 60.0, 86400.0


class WaitingConfig(Section):
    """What a peer measures, and how long it waits."""

    measure: Literal["own", "all"] | None = MEASURE
    deadline: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description=f"seconds that a peer waits for one that is not connected (default: {AWAY_S:g})",
    )
    slow_deadline: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="seconds that a peer waits for one that is there, and may be computing (default: "
        f"{SLOW_S:g})",
    )


class PeerConfig(WaitingConfig):
    """The flags of ``peer.py`` besides those of the experiment."""

    node: int | None = Field(None, description="the number of the node that this process is")
    peers: UserPath | None = Field(None, description="the file of peers (YAML)")


class ExperimentPeers(Peers):
    """The content of a file of peers that run an experiment."""

    experiment: dict[str, Any] = Field({}, description="flags of the experiment")
    run: str = Field("peers", min_length=1, max_length=100, description="the name of the run on the wire")
    parts: UserPath | None = Field(None, description="folder with the part of each node")
    measure: Literal["own", "all"] | None = MEASURE
    deadline: float | None = Field(None, gt=0, le=1e6, description="as the flag")
    slow_deadline: float | None = Field(None, gt=0, le=1e6, description="as the flag")


DEFAULT_FOLDER = Path("results/peers")
"""Where the results of peers are by default, apart from those of one process."""

FOLDER_OF_LAUNCHER = "DML_PEERS_FOLDER"
"""The variable by which launch_peers.py tells the processes that it starts that they end with it."""
