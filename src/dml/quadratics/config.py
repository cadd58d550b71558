"""The configuration of the table of quadratics: its cells, and the search in each."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dml.errors import InputError
from dml.field_types import MAX_COUNT, UserPath
from dml.quadratics.constants import check_constants
from dml.section import Section

PUBLISHED = (
    "relaysgd@chain",
    "relaysgd@binary_tree",
    "d2@cycle",
    "gradient_tracking@cycle",
    "allreduce@complete",
    "one_peer_exponential@complete",
    "dpsgd@cycle",
)
"""The lines of figure 2 of Vogels et al. (2021)."""


class QuadraticsConfig(Section):
    """A table of the steps that algorithms need on random quadratics."""

    algorithms: tuple[str, ...] = Field(
        PUBLISHED,
        min_length=1,
        description="the lines of the table, as name@graph; the graph is a generator without its n",
    )
    nodes: tuple[Annotated[int, Field(le=MAX_COUNT)], ...] = Field(
        (12, 24, 48, 96), min_length=1, description="the columns of the table: numbers of nodes"
    )
    zeta2: tuple[float, ...] = Field(
        (0.01, 1.0),
        min_length=1,
        description="heterogeneities: the mean squared norm of the nodes' gradients at the optimum",
    )
    tune: Literal["fastest", "plateau"] = Field(
        "fastest",
        description="the learning rate that needs the fewest steps to the target, or the highest one whose "
        "error settles under it",
    )
    target: float = Field(1e-6, gt=0, description="the error f(mean of the models) - f*")
    d: int = Field(10, le=MAX_COUNT, description="dimensions")
    L: float = Field(1.0, description="largest curvature")
    mu: float = Field(0.25, description="smallest curvature")
    r0: float = Field(100.0, description="distance from the start to the optimum")
    noise: float = Field(0.0, description="expected squared norm of the noise on a gradient")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the problem and the noise")
    lr: float = Field(
        4.0,
        gt=0,
        description="the learning rate at which the search begins, before it is multiplied by the factor by "
        "which averages over old models slow an algorithm down",
    )
    max_steps: int = Field(10_000, ge=10, le=MAX_COUNT, description="the maximum number of steps of one run")
    momentum: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="momentum of the local steps, in Nesterov's form; also that of quasi_global_momentum",
    )
    edge_weight: float = Field(
        1 / 3 - 0.01,
        gt=0,
        le=1,
        description="weight of every edge for d2, which does not run with Metropolis-Hastings weights on an "
        "even cycle",
    )
    drop_probability: float = Field(0.0, ge=0, lt=1, description="probability that a message is lost")
    loss_rule: str | None = Field(
        None, description="what a lost message counts as (default: that of each algorithm)"
    )
    placement: Literal["random", "clustered", "mixed"] = Field(
        "random",
        description="which node has which loss: at random, similar ones on neighbours (clustered), or "
        "dissimilar ones on neighbours (mixed)",
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="candidates that run at a time, each in a process of its own (default: one, in this "
        "process)",
    )
    parsl_config: str | None = Field(
        None,
        description="the site of the workers: a name in parsl_configs/, or a path to a .py file (default: "
        "local, if there are several workers)",
    )
    site_options: tuple[str, ...] = Field((), description="options of the site, as key=value")
    cache: UserPath | None = Field(
        None, description="keep the candidates that were run in this file, and use those that it has"
    )
    fresh: bool = Field(
        False,
        description="run all candidates again; the file of --cache is moved to replaced/<time> in its folder",
    )
    json_file: UserPath | None = Field(
        None, alias="json", description="also write all candidates to this file"
    )

    @field_validator("algorithms")
    @classmethod
    def _each_with_its_graph(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        for text in algorithms:
            name, _, graph = text.partition("@")
            if not graph:
                raise InputError("algorithms", text, f"name its graph too, as in {name}@chain")
        return algorithms

    @model_validator(mode="after")
    def _possible_problems(self) -> Self:
        for n in self.nodes:
            for zeta2 in self.zeta2:
                try:
                    check_constants(n, self.d, self.L, self.mu, zeta2, self.r0, self.noise)
                except InputError as error:
                    flag = "nodes" if error.field == "n" else error.field
                    raise InputError(flag, error.value, error.right) from None
        return self

    @model_validator(mode="after")
    def _site_options_have_a_site(self) -> Self:
        if self.site_options and not self.on_site:
            right = "needs a site: name one with --parsl_config"
            raise InputError("site_options", self.site_options[0], right)
        return self

    @property
    def on_site(self) -> bool:
        """Whether candidates run in the workers of a site instead of this process."""
        return self.parsl_config is not None or (self.workers or 1) > 1
