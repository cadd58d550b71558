"""Topologies as files: numpy text adjacency matrices, under a header that says how the graph was made.

Files without our header, such as the published ones, are read too; their name then serves as their source.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dml.errors import InputError
from dml.files import beside, check_regular, read_bytes
from dml.topology.graph import Topology

# The rest of the header is read only if the file starts with this line.
_MARK = "# dml topology: entry [i, j] is the probability that the link between nodes i and j works"

_CHECK = "header"
_KEYS = {"source", "n", "graph", "blocks", _CHECK}
_WITHOUT_SUM = re.compile(rb"^# header: [0-9a-f]+\n", re.MULTILINE)

MAX_BYTES = 2_000_000_000
"""Size of the largest file that is read: a matrix of 30,000 nodes."""


def save(topology: Topology, path: str | Path) -> Path:
    """Writes a topology so that `load` returns it bit for bit; `numpy.loadtxt` can read its matrix.

    The file appears whole or not at all. An existing file is never changed: it must have the same content.

    Returns:
        The path of the file.

    Raises:
        InputError: the file exists with other content, or the folder cannot be written.
    """
    path, content = Path(path), encode(topology)
    if not is_saved(path, content):
        write(path, content)
    return path


def encode(topology: Topology) -> bytes:
    """The content of a topology's file: header and matrix."""
    header = [_MARK, f"# source: {topology.source}", f"# n: {topology.n}", f"# graph: {topology.graph_id}"]
    if topology.blocks is not None:
        header.append("# blocks: " + " ".join(map(str, topology.blocks.tolist())))
    header.append(f"# {_CHECK}: {_sum(header)}")
    rows = [["0"] * topology.n for _ in range(topology.n)]
    for (i, j), weight in zip(topology.edges.tolist(), topology.weights.tolist(), strict=True):
        # repr is the shortest text that reads back to the same bits
        rows[i][j] = rows[j][i] = "1" if weight == 1 else repr(weight)
    return ("\n".join(header + [" ".join(row) for row in rows]) + "\n").encode()


def is_saved(path: Path, content: bytes) -> bool:
    """Whether the file exists with exactly this content.

    Raises:
        InputError: the path exists but holds something else, or cannot be read.
    """
    try:
        check_regular(path)
        # Files from before the header had a sum are the same without it.
        wanted = (content, _WITHOUT_SUM.sub(b"", content))
        if path.stat().st_size in map(len, wanted) and path.read_bytes() in wanted:
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(
            "out_dir", path, f"cannot be read ({error.strerror}); move it or name another folder"
        ) from None
    raise InputError("out_dir", path, "holds something else already; move it or name another folder")


def write(path: Path, content: bytes) -> None:
    """Writes the file in one go, so that no reader sees half of it.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path, sync=True) as new:
            new.write_bytes(content)
    except OSError as error:
        raise InputError(
            "out_dir", path.parent, f"cannot be written ({error.strerror}); name another folder"
        ) from None


def load(path: str | Path) -> Topology:
    """Reads an adjacency matrix: n rows of n numbers in [0, 1], symmetric, 0 on the diagonal.

    The matrix gives the edges; the header gives only the source and the blocks, as labels. If the matrix was
    edited after it was saved, its generator did not make it, and the file's name becomes the source.

    Raises:
        InputError: the file is missing or holds no such matrix; the message names the first wrong entry.
    """
    text = _text(Path(path))
    lines = text.splitlines()
    header = _header(lines)
    rows = [words for line in lines if (words := line.partition("#")[0].split())]
    if not rows:
        raise InputError("topology_file", path, "is empty; it must hold an adjacency matrix")
    matrix = _matrix(path, rows)
    _refuse_wrong_entries(path, matrix)
    edges = np.argwhere(np.triu(matrix)).astype(np.int32)
    blocks = _blocks(path, header, len(matrix))
    _check_header(path, header, lines)
    loaded = Topology(len(matrix), edges, matrix[edges[:, 0], edges[:, 1]], Path(path).stem, blocks)
    source = header.get("source")
    # A line that we do not write may be the damaged line of the sum, without which nothing is sure.
    ours = header.keys() <= _KEYS and header.get("graph") == loaded.graph_id
    return replace(loaded, source=source) if source and ours else loaded


def _text(path: Path) -> str:
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        right = "no such file; give a path or a generator such as barabasi_albert:n=33,m=2"
        raise InputError("topology_file", path, right) from None
    except IsADirectoryError:
        raise InputError("topology_file", path, "is a folder; name one of the files in it") from None
    except OSError as error:
        raise InputError("topology_file", path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(
            "topology_file", path, "is not text; it must be a matrix written as by numpy.savetxt"
        )
    return text


def _header(lines: list[str]) -> dict[str, str]:
    if not lines or lines[0].strip() != _MARK:
        return {}
    fields = (line[1:].partition(":") for line in lines[1:] if line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in fields}


def _check_header(path: str | Path, header: dict[str, str], lines: list[str]) -> None:
    """Refuses a header that is not as it was written; older ones have no sum."""
    comments = [line.rstrip() for line in lines if line.startswith("#")]
    if _CHECK in header and header[_CHECK] != _sum(comments[:-1]):
        right = (
            "its header was damaged or changed after it was saved; make the file again, or remove the header"
        )
        raise InputError("topology_file", path, right)


def _sum(header: list[str]) -> str:
    """A hash of a header, by which damage to it is noticed."""
    return hashlib.sha256("\n".join(header).encode()).hexdigest()[:12]


def _matrix(path: str | Path, rows: list[list[str]]) -> NDArray[np.float64]:
    n = len(rows)
    for i, row in enumerate(rows):
        if len(row) != n:
            right = f"is not square: row {i} (from 0) has {len(row)} entries, but there are {n} rows"
            if len(row) == 1 and "," in row[0]:
                right += "; separate entries by spaces, not by commas"
            raise InputError("topology_file", path, right)
    if n == 1:
        raise InputError("topology_file", path, "has one node; a topology has at least 2")
    matrix = np.empty((n, n))
    for i, row in enumerate(rows):
        for j, word in enumerate(row):
            try:
                matrix[i, j] = float(word if word.isascii() and "_" not in word else "no number")
            except ValueError:
                raise InputError(
                    "topology_file", path, f"entry [{i}, {j}] is {word}, which is not a number"
                ) from None
    return matrix


def _refuse_wrong_entries(path: str | Path, matrix: NDArray[np.float64]) -> None:
    """Refuses a matrix that is not a topology's, and names its first wrong entry."""
    checks = {
        "is {a}; a link probability is in [0, 1]": ~((matrix >= 0) & (matrix <= 1)),
        "is {a}, a link of node {i} to itself; the diagonal must be 0": np.diag(matrix.diagonal() != 0),
        "is {a}, but [{j}, {i}] is {b}; the matrix must be symmetric": matrix != matrix.T,
    }
    for right, wrong in checks.items():
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            entry = right.format(a=f"{matrix[i, j]:g}", b=f"{matrix[j, i]:g}", i=i, j=j)
            raise InputError("topology_file", path, f"entry [{i}, {j}] {entry}")


def _blocks(path: str | Path, header: dict[str, str], n: int) -> NDArray[np.int32] | None:
    """The blocks in the header; None if it has none.

    Raises:
        InputError: the header and the matrix disagree on the number of nodes.
    """
    try:
        blocks = np.array([int(word) for word in header.get("blocks", "").split()], dtype=np.int32)
        fits = int(header.get("n", n)) == n and len(blocks) in (0, n)
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        right = f"its header does not fit its matrix of {n} nodes; correct it or remove the header"
        raise InputError("topology_file", path, right)
    return blocks if len(blocks) else None
