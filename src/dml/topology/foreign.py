"""Graphs made by any generator of networkx: ``nx.circular_ladder_graph:n=8``."""

import difflib
import inspect
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from dml.errors import InputError

if TYPE_CHECKING:
    import networkx as nx

MAX_ARGUMENT = 10_000
"""The largest number passed on: what size a foreign function makes of it is not known beforehand."""

MAX_SECONDS = 10.0
"""The longest a foreign function may take: some grow exponentially with their arguments."""

# what kind of object comes back, and which library computes it, is ours to decide
_NOT_OFFERED = {"create_using", "backend"}


def call_networkx(text: str, name: str, given: dict[str, str], seed: int) -> "tuple[nx.Graph, str]":
    """Call one of networkx's generators with plain values.

    Args:
        text: what the user typed, for the errors.
        name: the function, without ``nx.``.
        given: its arguments, as typed: numbers, True, False, or a word where the default is one.
        seed: passed on where the function takes a seed and `given` has none.

    Returns:
        The graph, and the text that makes it again, with its arguments in the function's order.

    Raises:
        InputError: no such generator, an argument it does not take or refuses, or no graph came back.
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
        with _at_most(MAX_SECONDS):
            graph = function(**values)
    except _TooLongError:
        right = f"networkx has not made it in {MAX_SECONDS:.0f} s; name a smaller graph"
        raise InputError("topology_file", text, right) from None
    except Exception as error:  # what a foreign function raises at a user's values is not ours to list
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError("topology_file", text, f"networkx refuses: {reason}") from None
    if not isinstance(graph, nx.Graph):
        what = type(graph).__name__
        raise InputError(
            "topology_file", text, f"nx.{name} gives a {what}; name a function that gives a graph"
        )
    arguments = ",".join(f"{key}={value}" for key, value in values.items())
    return graph, ":".join(filter(None, [f"nx.{name}", arguments]))


class _TooLongError(BaseException):
    """Not an Exception, which a foreign function might catch."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends what runs for too long; outside the main thread, where no signal arrives, it does not."""
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


def _public_generators() -> dict[str, Callable[..., Any]]:
    """The functions of networkx.generators, all of them public; none reads a file that the user names."""
    import networkx as nx

    return {name: function for name, function in vars(nx.generators).items() if inspect.isfunction(function)}


def _arguments(
    text: str, name: str, function: Callable[..., Any], given: dict[str, str], seed: int
) -> dict[str, Any]:
    """The values in the function's own order."""
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
    # many of networkx's functions take any iterable for n, and would make one node a letter
    if isinstance(parameter.default, str):
        return word
    for convert in (int, float):
        try:
            value = convert(word)
        except ValueError:
            continue
        if math.isfinite(value) and (key == "seed" or abs(value) <= MAX_ARGUMENT):
            return value
        raise InputError("topology_file", text, f"{key} must be at most {MAX_ARGUMENT}, not {word}")
    raise InputError("topology_file", text, f"{key} must be a number, True or False, not {word}")
