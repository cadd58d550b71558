"""Graphs made by any generator of networkx: ``nx.circular_ladder_graph:n=8``."""

import difflib
import inspect
import math
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dml.errors import InputError
from dml.plain_numbers import odd_number

if TYPE_CHECKING:
    import networkx as nx

MAX_ARGUMENT = 10_000
"""The largest number that is passed on, as the size of the resulting graph is not known beforehand."""

MAX_SECONDS = 10.0
"""The longest that a generator may take: the work of some grows exponentially with their arguments."""

MAX_BYTES = 2 * 10**9
"""The largest memory that a generator may take, for the same reason."""

# These choose the type of the result and the library that computes it; both are fixed here.
_NOT_OFFERED = {"create_using", "backend"}


def call_networkx(text: str, name: str, given: dict[str, str], seed: int) -> "tuple[nx.Graph, str]":
    """Calls one of networkx's generators with plain values.

    Args:
        text: what the user typed, for the errors.
        name: the function, without ``nx.``.
        given: its arguments as typed: numbers, True, False, or a word if the argument's default is one.
        seed: the seed to pass on if the function takes one and `given` has none.

    Returns:
        The graph, and the text that makes it again, with its arguments in the function's order.

    Raises:
        InputError: there is no such generator, it does not take or accept an argument, or its result is not
            a graph.
    """
    import networkx as nx

    functions = _public_generators()
    if name not in functions:
        close = difflib.get_close_matches(name, functions, n=3)
        hint = f" (did you mean {' or '.join('nx.' + match for match in close)}?)" if close else ""
        raise InputError("topology_file", text, f"networkx has no graph generator of that name{hint}")
    function = functions[name]
    values = _arguments(text, name, function, given, seed)
    try:
        with _at_most(MAX_SECONDS), _within(MAX_BYTES):
            graph = function(**values)
    except _TooLongError:
        right = f"networkx needs more than {MAX_SECONDS:.0f} s to make it; choose a smaller graph"
        raise InputError("topology_file", text, right) from None
    except MemoryError:
        right = (
            f"networkx needs more than {MAX_BYTES / 1e9:.0f} GB of memory to make it; choose a smaller graph"
        )
        raise InputError("topology_file", text, right) from None
    except Exception as error:  # The generators may raise anything for a user's values.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError("topology_file", text, f"networkx refuses: {reason}") from None
    if not isinstance(graph, nx.Graph):
        what = type(graph).__name__
        raise InputError(
            "topology_file", text, f"nx.{name} returns a {what}; choose a function that returns a graph"
        )
    arguments = ",".join(f"{key}={value}" for key, value in values.items())
    return graph, ":".join(filter(None, [f"nx.{name}", arguments]))


class _TooLongError(BaseException):
    """Ends a generator that takes too long. It is no Exception, which the generator might catch."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Limits the time of the block; without effect outside the main thread, which alone receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _within(more: int) -> Iterator[None]:
    """Limits the memory that the block may take; without effect where the system does not tell what is taken.

    A generator that is one call of compiled code is not ended by a signal, but by the memory that it lacks.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + more
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _public_generators() -> dict[str, Callable[..., Any]]:
    """The functions of networkx.generators. All are public, and none reads a file that the user names."""
    import networkx as nx

    return {name: function for name, function in vars(nx.generators).items() if inspect.isfunction(function)}


def _arguments(
    text: str, name: str, function: Callable[..., Any], given: dict[str, str], seed: int
) -> dict[str, Any]:
    """The arguments that the user gave, converted, in the function's own order."""
    takes = {
        key: parameter
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in _NOT_OFFERED
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    offer = f"nx.{name} takes {', '.join(takes) or 'no argument'}"
    for key in given:
        if key not in takes:
            raise InputError("topology_file", text, f"{offer}, not {key}")
    values: dict[str, Any] = {}
    for key, parameter in takes.items():
        if key in given:
            values[key] = _scalar(text, parameter, given[key])
        elif key == "seed":
            values[key] = seed
        elif parameter.default is parameter.empty:
            raise InputError("topology_file", text, f"{offer}; {key} is missing")
    return values


def _scalar(text: str, parameter: inspect.Parameter, word: str) -> int | float | bool | str:
    key = parameter.name
    if word in ("True", "False"):
        return word == "True"
    # Many of networkx's functions take any iterable for n, and would make one node per letter of a word.
    if isinstance(parameter.default, str):
        return word
    for convert in (int, float):
        try:
            value = convert(word)
        except ValueError:
            continue
        if odd_number(word):
            break
        if math.isfinite(value) and (key == "seed" or abs(value) <= MAX_ARGUMENT):
            return value
        raise InputError("topology_file", text, f"{key} must be at most {MAX_ARGUMENT}, not {word}")
    raise InputError("topology_file", text, f"{key} must be a number, True or False, not {word}")
