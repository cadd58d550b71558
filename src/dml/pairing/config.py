"""What the file of peers says about pairwise averaging; dpwa's own files are understood, too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from dml import yaml_text
from dml.algorithms.pairwise.interpolation import METHODS, Interpolation
from dml.errors import InputError
from dml.field_types import MAX_COUNT, one_of, suggestion
from dml.network import peers
from dml.section import Section

_PUBLISHED_METHODS = {"loss_divergence": "divergence"}


def _our_name(method: Any) -> Any:
    return _PUBLISHED_METHODS.get(method, method)


def _no_arguments(given: Any) -> Any:
    # Published files give a method without arguments as clock: 0.
    return {} if given in (None, "", "0", 0) else given


class Constant(Section):
    """The arguments of ``constant``."""

    value: float = Field(0.5, ge=0, le=1, description="share of the fetched model")


class Linear(Section):
    """The arguments of ``linear``."""

    start: float = Field(0.5, ge=0, le=1, description="share of the fetched model at first")
    end: float = Field(0.05, ge=0, le=1, description="share of the fetched model in the end")
    target: int = Field(5000, ge=1, le=MAX_COUNT, description="updates until the share is ``end``")


class Divergence(Section):
    """The arguments of ``loss_divergence``."""

    target_divergence_loss: float = Field(
        0.2, gt=0, le=1e30, description="loss below which a peer takes over less"
    )


class PairingConfig(peers.Peers):
    """The content of a file of peers for :class:`dml.pairing.Peer`."""

    other_names: ClassVar[Mapping[str, str]] = {"fetch_probability": "pull_probability", **_PUBLISHED_METHODS}

    pull_probability: float = Field(
        1.0, ge=0, le=1, description="probability that a peer begins to fetch a model at an update"
    )
    timeout_ms: float = Field(2500.0, gt=0, le=1e8, description="the longest time for a fetch, in ms")
    interpolation: Annotated[str, BeforeValidator(_our_name), one_of(METHODS, "interpolation")] = Field(
        "constant", description="what says how much of a fetched model a peer takes over"
    )
    divergence_threshold: float = Field(
        0.0, ge=0, le=1e30, description="loss below which a peer takes over less; 0 for none"
    )
    constant: Constant = Field(Constant(), description="arguments of constant")
    linear: Linear = Field(Linear(), description="arguments of linear")
    divergence: Divergence = Field(Divergence(), description="arguments of loss_divergence")
    clock: Annotated[Section, BeforeValidator(_no_arguments)] = Field(
        Section(), description="without arguments"
    )
    loss: Annotated[Section, BeforeValidator(_no_arguments)] = Field(
        Section(), description="without arguments"
    )
    edges: tuple[tuple[str, str], ...] | None = Field(
        None, description="pairs of peers that exchange models; by default all do"
    )
    peer_score_rate: float = Field(
        0.2, ge=0, le=1, description="weight of the latest fetch in the score of a peer; 0: no preference"
    )
    peer_exploration: float = Field(
        0.1, gt=0, le=1, description="share of the choices of peers that ignore their scores"
    )
    backoff_ms: float = Field(
        250.0,
        gt=0,
        le=1e8,
        description="the rest of a peer after a failed fetch, which doubles up to 16 times this",
    )
    run: str = Field(
        "pairing", min_length=1, max_length=100, description="name of the run, equal for all peers"
    )
    seed: int = Field(0, ge=0, le=MAX_COUNT, description="seed of the choices of peers")

    @property
    def timeout(self) -> float:
        """The longest time for a fetch, in seconds."""
        return self.timeout_ms / 1000

    def interpolate(self) -> Interpolation:
        """What chooses the share of a fetched model, as in the simulation."""
        values = {
            "mixing_weight": self.constant.value,
            "linear_start": self.linear.start,
            "linear_end": self.linear.end,
            "linear_updates": self.linear.target,
            "divergence_target": self.divergence.target_divergence_loss,
        }
        reads = METHODS[self.interpolation].reads
        return Interpolation(
            self.interpolation, self.divergence_threshold, **{key: values[key] for key in reads}
        )

    def neighbours(self, name: str) -> list[str]:
        """The peers with which a peer exchanges models, in the order of the file.

        Raises:
            InputError: there is no such peer, or an edge is wrong.
        """
        place = self.names.index(self.node(name).name)
        others = {i for i in range(len(self.names)) if i != place}
        if self.edges is not None:
            edges = [tuple(map(self._place, edge)) for edge in self.edges]
            others = {i + j - place for i, j in edges if place in (i, j)}
        return [self.names[i] for i in sorted(others)]

    def check_edges(self) -> None:
        """Raises InputError if an edge is wrong."""
        for edge in self.edges or ():
            if self._place(edge[0]) == self._place(edge[1]):
                raise InputError("edges", list(edge), "must join two different peers")

    def _place(self, end: str) -> int:
        """The place of one end of an edge, which is a name or a place."""
        if end in self.names:
            return self.names.index(end)
        if end.isascii() and end.isdecimal() and int(end) < len(self.names):
            return int(end)
        right = f"there is no such peer{suggestion(end, self.names)}; there are: {', '.join(self.names)}"
        raise InputError("edges", end, right)


def load(path: Path) -> PairingConfig:
    """Reads a file of peers.

    Raises:
        InputError: it cannot be read, or a value is wrong, which is named.
        DamagedFileError: the key of this host is damaged.
    """
    config = peers.load(path, PairingConfig)
    try:
        config.check_edges()
    except InputError as error:
        raise yaml_text.in_file(peers.FIELD, path, error) from None
    return config
