"""The data of each node in a file of its own, so that a peer opens no other training data.

A folder holds ``part_<node>.safetensors`` for each node, and ``tests.safetensors`` with the test sets, on
which all peers measure their models.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.data.build import Material
from dml.data.dataset import Choices
from dml.data.ood import NodeData, TestSets
from dml.errors import DamagedFileError, InputError
from dml.files import check_regular
from dml.ranks.ranks import Ranks

if TYPE_CHECKING:
    from dml.assembly import Parts
    from dml.plan import Plan

FIELD = "parts"
"""The key that names the folder."""

_TESTS = "tests.safetensors"
_SETS = ("x", "y", "ood_x", "ood_y", "ood_own")
_OWN = ("x", "y", "index", "label_counts", "ood_samples")


@dataclass(frozen=True)
class Part:
    """What one node owns.

    Args:
        arrays: by name, as they stand in the file.
        choices: the labels that stand in sequences of tokens; None without such.
        sha256: of the file.
    """

    arrays: Mapping[str, NDArray[Any]]
    choices: Choices | None
    sha256: str


def file_of(folder: Path, node: int) -> Path:
    """The file with the part of a node."""
    return folder / f"part_{node}.safetensors"


def cut(given: Material, folder: Path, identity: str) -> None:
    """Writes the part of each node, and the test sets.

    Args:
        given: the data of all nodes.
        folder: of the files; it exists.
        identity: the id of the experiment, which a peer compares with its own.

    Raises:
        OSError: a file cannot be written.
    """
    nodes = given.nodes
    choices = {"choices": json.dumps([nodes.choices.first, nodes.choices.tokens])} if nodes.choices else {}
    for node in range(len(nodes.y)):
        arrays = {
            "x": nodes.x[node],
            "y": nodes.y[node],
            "index": nodes.index[node],
            "label_counts": nodes.label_counts[node],
            "ood_samples": nodes.ood_samples[node : node + 1],
        }
        for name, pairs in given.local.items():
            arrays[f"{name}/x"], arrays[f"{name}/y"] = pairs[node]
        about = {"experiment": identity, "node": str(node), "nodes": str(len(nodes.y)), **choices}
        _write(file_of(folder, node), arrays, about)
    tests = {name: getattr(given.tests, name) for name in _SETS}
    if given.black is not None:
        tests["black"] = given.black
    about = {"experiment": identity, "shape": json.dumps(given.shape)}
    _write(folder / _TESTS, tests, about | {"commanded": str(given.tests.commanded), **choices})


def read(folder: Path, node: int, nodes: int, identity: str) -> Part:
    """Reads the part of a node.

    Args:
        folder: of the files.
        node: its number.
        nodes: how many there are.
        identity: the id of the experiment.

    Raises:
        InputError: there is no such file, or it is the part of another node or experiment.
        DamagedFileError: it cannot be read.
    """
    path = file_of(folder, node)
    arrays, about, digest = _read(path, identity)
    for name, right in (("node", node), ("nodes", nodes)):
        if about.get(name) != str(right):
            what = f"is the part of node {about.get('node')} of {about.get('nodes')}"
            raise InputError(FIELD, path, f"{what}, and this is node {node} of {nodes}")
    if missing := [name for name in _OWN if name not in arrays]:
        raise DamagedFileError(f"{path} lacks {missing[0]}")
    return Part(arrays, _choices(about), digest)


def joint(own: Part, folder: Path, ranks: Ranks, identity: str) -> Material:
    """The data of this peer's node, with what all peers know of the others: how many samples they have.

    Args:
        own: the part of this peer's node.
        folder: of the files.
        ranks: all peers.
        identity: the id of the experiment.

    Raises:
        InputError: there is no file of the test sets, or it is that of another experiment.
        DamagedFileError: it cannot be read.
    """
    import torch

    tests, about, _ = _read(folder / _TESTS, identity)
    once = [1] * ranks.size
    told = [len(own.arrays["y"]), int(own.arrays["ood_samples"][0]), *own.arrays["label_counts"].tolist()]
    of_all = ranks.gathered(torch.tensor([told], dtype=torch.int64), once).numpy()
    place = range(ranks.size)

    def only(name: str) -> list[NDArray[Any]]:
        array = own.arrays[name]
        return [array if node == ranks.rank else array[:0] for node in place]

    nodes = NodeData(
        only("x"), only("y"), of_all[:, 2:], of_all[:, 1], only("index"), own.choices, of_all[:, 0]
    )
    # In one order in all peers, as their scores are sent in it.
    names = sorted(name.removesuffix("/x") for name in own.arrays if name.endswith("/x"))
    local = {name: list(zip(only(f"{name}/x"), only(f"{name}/y"), strict=True)) for name in names}
    x, y, ood_x, ood_y, ood_own = (tests[name] for name in _SETS)
    sets = TestSets(x, y, ood_x, ood_y, ood_own, about["commanded"] == "True", _choices(about))
    return Material(nodes, local, sets, tuple(json.loads(about["shape"])), tests.get("black"))


def assembling(own: Part, folder: Path, ranks: Ranks, identity: str) -> "Callable[[Plan, str | None], Parts]":
    """What makes the parts of this peer's run; the arguments are those of :func:`joint`."""
    from dml import assembly

    def assemble(plan: "Plan", before: str | None) -> "Parts":
        return assembly.assemble(
            plan, before, ranks=ranks, source=lambda plan: joint(own, folder, ranks, identity)
        )

    return assemble


def _choices(about: Mapping[str, str]) -> Choices | None:
    if "choices" not in about:
        return None
    first, tokens = json.loads(about["choices"])
    return Choices(first, tuple(tokens))


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], about: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, about)


def _read(path: Path, identity: str) -> tuple[dict[str, NDArray[Any]], dict[str, str], str]:
    """The arrays of a file, what it says about itself, and its hash."""
    import safetensors
    from safetensors.numpy import load

    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise InputError(FIELD, path, f"cannot be read ({error.strerror})") from None
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error})") from None
    if about.get("experiment") != identity:
        what = f"was cut for the experiment {about.get('experiment')}, and this is {identity}"
        raise InputError(FIELD, path, f"{what}; launch_peers.py cuts it anew")
    return arrays, about, hashlib.sha256(content).hexdigest()
