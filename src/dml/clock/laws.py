"""The laws by which the time of a local step is drawn.

Each law is given by its mean, so that two laws of one mean differ in spread alone. With u uniform in [0, 1),
m the mean, s the standard deviation of the logarithm and a the tail index, a time is

    constant      m
    exponential   -m log(1 - u)
    lognormal     exp(log m - s^2 / 2 + s Phi^-1(u))
    pareto        m (a - 1) / a (1 - u)^(-1 / a)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.errors import one_line
from dml.plain_numbers import odd_number

LEAST, MOST = 1e-30, 1e30
"""The range of every number of the clock: products and quotients of two of them are numbers, and above 0."""

LEAST_UNIFORM = 2.0**-54
"""Half of the smallest number above 0 that is drawn; it stands for 0 where a quantile at 0 is infinite."""

LAWS: dict[str, str | None] = {"constant": None, "exponential": None, "lognormal": "SIGMA", "pareto": "INDEX"}
"""The laws by name, with the name of the second parameter."""


@dataclass(frozen=True)
class Law:
    """The distribution of a time.

    Args:
        name: one of ``LAWS``.
        mean: in seconds, for every law.
        shape: the standard deviation of the logarithm of a lognormal time, or the tail index of a Pareto
            one; None for the other laws.
    """

    name: str
    mean: float
    shape: float | None = None

    def __str__(self) -> str:
        """As :func:`parse` reads it, the same text for the same law."""
        numbers = [self.mean] if self.shape is None else [self.mean, self.shape]
        return f"{self.name}:{','.join(map(shown, numbers))}"

    def seconds(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The quantiles of the law.

        Args:
            u: numbers in [0, 1), of any shape.

        Returns:
            Seconds, of the same shape.
        """
        if self.name == "exponential":
            return -self.mean * np.log1p(-u)
        if self.shape is None:
            return np.full_like(u, self.mean)
        if self.name == "lognormal":
            from scipy.special import ndtri

            # At u = 0 the normal quantile is infinite, and its product with a spread of 0 would be no number.
            normal: NDArray[np.float64] = ndtri(np.maximum(u, LEAST_UNIFORM))
            seconds: NDArray[np.float64] = np.exp(np.log(self.mean) + self.shape * (normal - self.shape / 2))
            return seconds
        least = self.mean * (self.shape - 1) / self.shape
        return least * np.exp(-np.log1p(-u) / self.shape)


def parse(text: str) -> Law:
    """The law of a text such as ``lognormal:1,0.5``: the name, the mean, and the law's second parameter.

    Raises:
        ValueError: the text is none, or a parameter is impossible; the message says what would be right.
    """
    name, _, rest = text.partition(":")
    if name not in LAWS:
        forms = ", ".join(form(known) for known in LAWS)
        raise ValueError(f"{one_line(text)} is no law of times; take one of: {forms}")
    words = rest.split(",")
    if len(words) != (1 if LAWS[name] is None else 2):
        raise ValueError(f"must be of the form {form(name)}")
    mean = number(words[0], "MEAN")
    if LAWS[name] is None:
        return Law(name, mean)
    if name == "lognormal":
        return Law(name, mean, number(words[1], "SIGMA", zero=True))
    shape = number(words[1], "INDEX")
    if shape <= 1:
        raise ValueError("INDEX must be above 1, because the mean would be infinite otherwise")
    return Law(name, mean, shape)


def form(name: str) -> str:
    """How a law is written: ``pareto:MEAN,INDEX``."""
    return f"{name}:MEAN" if LAWS[name] is None else f"{name}:MEAN,{LAWS[name]}"


def number(word: str, name: str, zero: bool = False) -> float:
    """A number of the clock that is part of a longer text.

    Args:
        word: as the user wrote it.
        name: of the number, for messages.
        zero: whether it may be 0.

    Raises:
        ValueError: it is no number, or none of this range.
    """
    objection = odd_number(word)
    if objection:
        raise ValueError(f"{name} {objection}")
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{name} must be a number, and {one_line(word) or 'nothing'} is none") from None
    if zero and value == 0:
        return 0.0
    if not LEAST <= value <= MOST:
        least = "0, or at least 1e-30" if zero else "at least 1e-30"
        raise ValueError(f"{name} must be {least}, and at most 1e30")
    return value


def shown(value: float) -> str:
    """A number as short as it can be written: 1 for 1.0."""
    return repr(value).removesuffix(".0")
