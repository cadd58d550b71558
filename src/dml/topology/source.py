"""Reads the value of ``--topology_file``: a file or a generator."""

import os

from dml.topology.files import load
from dml.topology.generators import make
from dml.topology.graph import Topology

_FILE_ENDINGS = (
    ".txt",
    ".adj",
    ".csv",
    ".dat",
    ".tsv",
    ".npy",
    ".npz",
    ".json",
    ".edgelist",
    ".gml",
    ".graphml",
)


def read(text: str, seed: int = 0) -> Topology:
    """Loads or makes the topology that a user's text names.

    Args:
        text: the path of a saved topology, or a generator such as ``barabasi_albert:n=33,m=2``.
        seed: the seed to use if the generator takes one and the text gives none.

    Raises:
        InputError: the text is neither, or the file or generator is wrong; the message says what is right.
    """
    if text.startswith("~"):
        text = os.path.expanduser(text)
    looks_like_path = os.sep in text.partition(":")[0] or text.endswith(_FILE_ENDINGS)
    return load(text) if looks_like_path or os.path.exists(text) else make(text, seed)
