"""The part of an experiment's configuration that says which graph it runs on."""

from pydantic import Field

from dml.section import Section


class TopologyConfig(Section):
    """The graph of an experiment."""

    topology_file: str = Field(
        "barabasi_albert:n=16,m=2",
        description="the graph: a file of numpy adjacency text, or a generator such as "
        "barabasi_albert:n=33,m=2,seed=0; a generator without a seed takes that of the experiment",
    )
