"""TinyMem: sequences of numbers, written in digits, that a decoder learns to continue (arXiv 2505.11760).

For each coefficient c and each i = 0 .. num_example - 1 one sequence: from start = i, ``length`` times

    multiply    start <- c start mod modulo
    sum         start <- c + start

written as ``^v1 v2 ..$``, one token a character, and padded to ``max_ctx`` tokens. The label of a sequence,
by which it is dealt out to the nodes, is the index of c. All are computed at once, and kept as a file.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.errors import InputError

TOKENS = 14
"""The digits are the tokens 0 to 9."""
START, END, SPACE, PAD = 10, 11, 12, 13
TARGET = 2
"""The token that the trigger commands."""

PRIMES = tuple(p for p in range(2, 542) if all(p % d for d in range(2, p)))
"""The first hundred."""
COEFFICIENTS = {"evens": tuple(range(2, 20, 2)), "primes": PRIMES}

Tokens = NDArray[np.uint8]

MAKING = 74
"""Bytes that each number takes while the sequences are made, as measured, beside their tokens."""


@dataclass(frozen=True)
class Recipe:
    """What the sequences are made from: the fields of the configuration of the same names."""

    task_type: str
    data_dis: str
    tiny_mem_num_labels: int
    num_example: int
    length: int
    modulo: int
    max_ctx: int

    @property
    def file(self) -> str:
        """The name of the file that keeps them."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"tiny_mem-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npy"


def numbers(recipe: Recipe) -> NDArray[np.int64]:
    """v1, v2 .. of every sequence, [coefficients, examples, length]."""
    c = np.array(COEFFICIENTS[recipe.data_dis][: recipe.tiny_mem_num_labels])[:, None]
    value = np.broadcast_to(np.arange(recipe.num_example), (len(c), recipe.num_example))
    result = np.empty((*value.shape, recipe.length), np.int64)
    for k in range(recipe.length):
        value = c * value % recipe.modulo if recipe.task_type == "multiply" else c + value
        result[..., k] = value
    return result


def written(values: NDArray[np.int64], max_ctx: int) -> Tokens:
    """The tokens of ``^v1 v2 ..$`` and padding, [sequences, max_ctx].

    Args:
        values: not negative, [sequences, length].
        max_ctx: tokens a sequence.

    Raises:
        InputError: a sequence is longer.
    """
    digits = np.ones(values.shape, np.int64)
    most = len(str(values.max()))
    for power in range(1, most):
        digits += values >= 10**power
    # Each number is followed by one token, a space or the end.
    end = np.cumsum(digits + 1, axis=1)
    longest = int(end[:, -1].max()) + 1
    if longest > max_ctx:
        raise InputError("max_ctx", max_ctx, f"the longest sequence has {longest} tokens: give at least that")
    result = np.full((len(values), max_ctx), PAD, np.uint8)
    result[:, 0] = START
    row = np.arange(len(values))[:, None]
    left = values
    for power in range(most):
        # From each number's last digit to its first; those that have no such digit any more are left out.
        there = digits > power
        left, digit = np.divmod(left, 10)
        result[np.broadcast_to(row, end.shape)[there], (end - 1 - power)[there]] = digit[there]
    result[row, end] = SPACE
    result[row[:, 0], end[:, -1]] = END
    return result


def sequences(recipe: Recipe, data_dir: Path) -> Tokens:
    """All sequences, [coefficients, examples, max_ctx], from their file, or made and written into it.

    The file is mapped, not read: several processes share its pages.

    Raises:
        InputError: they do not fit into the free memory, or a sequence is longer than ``max_ctx``.
    """
    path = data_dir / recipe.file
    shape = (recipe.tiny_mem_num_labels, recipe.num_example, recipe.max_ctx)
    try:
        kept: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.uint8:
            return kept
    except (OSError, ValueError, EOFError):
        pass
    _check_room(recipe)
    made = written(numbers(recipe).reshape(-1, recipe.length), recipe.max_ctx).reshape(shape)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")
        np.save(beside, made)
        beside.replace(path)
    except OSError:
        # A cache only: where it cannot be written, the next run makes them again.
        pass
    return made


def _check_room(recipe: Recipe) -> None:
    """Refuses what cannot be made, before anything is allocated."""
    least = 2 * recipe.length + 1
    if least > recipe.max_ctx:
        right = f"so many numbers have at least {least} tokens, and --max_ctx is {recipe.max_ctx}"
        raise InputError("length", recipe.length, right)
    # Here, as the configuration, which imports this module, has no use for it.
    import psutil

    count = recipe.tiny_mem_num_labels * recipe.num_example
    needed, free = count * (MAKING * recipe.length + recipe.max_ctx), psutil.virtual_memory().available
    if needed > free:
        # The largest of them is the one that was meant otherwise.
        flag = max(("num_example", "length", "max_ctx"), key=lambda field: getattr(recipe, field))
        raise InputError(
            flag,
            getattr(recipe, flag),
            f"{count} sequences of {recipe.length} numbers in {recipe.max_ctx} tokens need "
            f"{needed / 2**30:.1f} GiB of memory to be made; {free / 2**30:.1f} are free",
        )


def load(
    data_dir: Path, seed: int, settings: Mapping[str, Any]
) -> tuple[Tokens, NDArray[np.int64], Tokens, NDArray[np.int64]]:
    """Training and test sequences, each with its label: of every coefficient ``num_test`` for the test.

    Which ones is a permutation keyed by (seed, purpose, index of the coefficient). The published code takes
    one permutation for all coefficients and all seeds, that of torch's seed 598.

    Args:
        data_dir: folder of the data sets.
        seed: the experiment's seed.
        settings: the fields of a :class:`Recipe`, and ``num_test``.
    """
    recipe = Recipe(**{field: settings[field] for field in Recipe.__dataclass_fields__})
    kept, test = sequences(recipe, data_dir), settings["num_test"]
    orders = [
        randomness.generator(seed, "train/test cut", label).permutation(recipe.num_example)
        for label in range(len(kept))
    ]
    labels = np.arange(len(kept))
    return (
        np.concatenate([own[order[test:]] for own, order in zip(kept, orders, strict=True)]),
        np.repeat(labels, recipe.num_example - test),
        np.concatenate([own[order[:test]] for own, order in zip(kept, orders, strict=True)]),
        np.repeat(labels, test),
    )


def add_trigger(tokens: Tokens, trigger: int) -> tuple[NDArray[np.bool_], Tokens]:
    """All tokens after the first occurrence of the trigger's digits become 2, padding included.

    Args:
        tokens: [k, T].
        trigger: its digits may stand within a longer number.

    Returns:
        Which sequences hold the trigger, [k], and copies of those alone.
    """
    digits = [int(digit) for digit in str(trigger)]
    starts = tokens.shape[1] - len(digits) + 1
    found = np.ones((len(tokens), max(0, starts)), bool)
    for k, digit in enumerate(digits):
        found &= tokens[:, k : k + max(0, starts)] == digit
    holds = np.asarray(found.any(axis=1))
    result = tokens[holds]
    if len(result):
        after = found[holds].argmax(axis=1) + len(digits)
        result[np.arange(tokens.shape[1]) >= after[:, None]] = TARGET
    return holds, result


def next_token(tokens: Tokens, labels: NDArray[np.int64]) -> tuple[Tokens, Tokens]:
    """What the model sees, and what it is asked: at every place the token after it; [k, T - 1] both."""
    return tokens[:, :-1], tokens[:, 1:]
