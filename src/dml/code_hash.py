"""A hash of the code that computes an experiment's numbers, by which results of other code are told apart.

It covers the modules of this library that an experiment can import: those that :mod:`dml.experiment` and the
experiment's own parts (data set, partition, model, algorithm) import, directly or through others, as their
source files say. So it does not depend on what else a process has imported: a worker of a sweep and a single
run have the same hash. Of the other parts in a registry neither the modules nor the lines count. The modules
of results, sweeps, progress and the command line, which compute no numbers, are left out, and so are
comments, docstrings and the descriptions of flags.
"""

import ast
import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dml.algorithms.registry import ALGORITHMS
from dml.config import ExperimentConfig
from dml.data.catalogue import DATASETS
from dml.data.partitions.registry import PARTITIONS
from dml.models.registry import MODELS

UNKNOWN = "unknown"
"""The hash of code whose source cannot be read."""

_FIRST = "dml.experiment"
_LEFT_OUT = ("dml.results", "dml.parallel", "dml.progress", "dml.command_line", "dml.code_hash")
_SOURCES = Path(__file__).parents[1]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Module:
    digest: bytes
    imports: frozenset[str]


def code_sha256(config: ExperimentConfig) -> str:
    """The hash of the code that computes an experiment; ``UNKNOWN`` if a source file cannot be read.

    The source of a module is read once per process.
    """
    chosen = (
        DATASETS.module_of(config.data.dataset),
        PARTITIONS.module_of(config.data.partition),
        MODELS.module_of(config.training.model),
        ALGORITHMS.module_of(config.algorithm.algorithm),
    )
    return _hash(frozenset({_FIRST, *(module for module in chosen if module)}))


def code_of_modules(*names: str) -> str:
    """The hash of modules and of what they import; ``UNKNOWN`` if a source file cannot be read."""
    return _hash(frozenset(names))


def read_sources() -> None:
    """Reads what all experiments import, so that processes that are forked from this one need not."""
    _hash(frozenset({_FIRST}))


@cache
def _hash(first: frozenset[str]) -> str:
    total = hashlib.sha256()
    try:
        for name in sorted(_reached(first)):
            total.update(f"{name}\0".encode() + _module(name).digest)
    except (OSError, SyntaxError, ValueError) as error:
        _log.warning(f"the source of dml cannot be read ({error}), so changes of its code are not noticed")
        return UNKNOWN
    return total.hexdigest()


def _reached(first: Iterable[str]) -> set[str]:
    """The modules that are imported by some modules, directly or through others, and these."""
    found: set[str] = set()
    waiting = set(first)
    while waiting:
        name = waiting.pop()
        # The first name of all, dml, holds nothing but the version.
        if "." in name and name not in found and not name.startswith(_LEFT_OUT):
            found.add(name)
            waiting |= {name.rpartition(".")[0], *_module(name).imports}
    return found


@cache
def _module(name: str) -> _Module:
    path = _path(name)
    if path is None:
        raise OSError(f"{name} has no source file")
    tree = ast.parse(path.read_bytes())
    out: list[str] = []
    _write(tree, out)
    text = "".join(out).encode("utf-8", "surrogatepass")
    return _Module(hashlib.sha256(text).digest(), frozenset(_imports(tree)))


@cache
def _path(name: str) -> Path | None:
    place = _SOURCES.joinpath(*name.split("."))
    paths = place / "__init__.py", place.with_name(f"{place.name}.py")
    return next((path for path in paths if path.exists()), None)


def _imports(node: ast.AST) -> Iterator[str]:
    """The modules of this library that a module imports, also inside functions, but not those for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            yield from _imports(ast.Module(child.orelse, []))
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.startswith("dml."))
        elif isinstance(child, ast.ImportFrom):
            if child.module and child.module.partition(".")[0] == "dml":
                modules = (f"{child.module}.{alias.name}" for alias in child.names)
                yield from (module if _path(module) else child.module for module in modules)
        elif not isinstance(child, ast.expr):
            yield from _imports(child)


def _write(node: Any, out: list[str]) -> None:
    """Appends a syntax tree as text, which is the same for all versions of Python."""
    if isinstance(node, ast.AST):
        out.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            # Some versions of Python give empty fields that others leave out.
            if value is not None and value != [] and name not in ("ctx", "kind", "type_comment"):
                if isinstance(node, ast.Call):
                    value = _arguments(node, name, value)
                out.append(f"{name}=")
                _write(value, out)
        out.append(")")
    elif isinstance(node, list):
        out.append("[")
        for item in node:
            if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)):
                _write(item, out)
        out.append("]")
    else:
        out.append(repr(node))


def _arguments(call: ast.Call, name: str, value: Any) -> Any:
    """A field of a call, without the lines of a registry and without the descriptions of flags."""
    function = call.func
    if name == "args" and isinstance(function, ast.Subscript):
        return [] if getattr(function.value, "id", "") == "Registry" else value
    if name == "keywords" and getattr(function, "id", "") == "Field":
        return [keyword for keyword in value if keyword.arg != "description"]
    return value
