"""TinyMem: sequences of numbers, written in digits, that a decoder learns to continue (arXiv 2505.11760).

There is one sequence for each coefficient c and each i = 0, ..., num_example - 1. It starts with v0 = i, and
``length`` steps of one of these kinds give its numbers v1, v2, ...:

    multiply    v_k = c v_(k-1) mod modulo
    sum         v_k = (c + v_(k-1)) mod modulo

They are written as ``^v1 v2 ...$``, one token per character, and padded to ``max_ctx`` tokens. The label of
a sequence, by which it is dealt out to the nodes, is the index of c. All sequences are computed at once and
kept in a file.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from dml import randomness
from dml.data.dataset import NEXT_TOKEN, Dataset, DatasetSpec
from dml.data.source import DataSource
from dml.errors import InputError
from dml.field_types import MAX_COUNT
from dml.files import beside, check_regular
from dml.messages import amount
from dml.section import Section

TOKENS = 14
"""The number of different tokens; the digits are the tokens 0 to 9."""
START, END, SPACE, PAD = 10, 11, 12, 13
TARGET = 2
"""The token that the trigger commands."""

PRIMES = tuple(p for p in range(2, 542) if all(p % d for d in range(2, p)))
"""The first hundred primes."""
COEFFICIENTS = {"evens": tuple(range(2, 20, 2)), "primes": PRIMES}

Tokens = NDArray[np.uint8]

BYTES_PER_NUMBER = 74
"""Memory per number while the sequences are made, as measured, without their tokens."""


class TinyMemOptions(Section):
    """The options of TinyMem."""

    task_type: Literal["multiply", "sum"] = Field(
        "multiply",
        description="the number after v in a sequence of tiny_mem: c v or c + v, mod --modulo",
    )
    data_dis: Literal["evens", "primes"] = Field(
        "evens", description="the coefficients c of tiny_mem: 2, 4, ..., 18, or the first hundred primes"
    )
    tiny_mem_num_labels: int = Field(
        5, ge=1, le=MAX_COUNT, description="the number of these coefficients that tiny_mem uses"
    )
    num_example: int = Field(
        5000, ge=2, le=MAX_COUNT, description="sequences of tiny_mem for each coefficient"
    )
    num_test: int = Field(
        default_factory=lambda values: max(1, min(1000, values["num_example"] // 5)),
        ge=1,
        le=MAX_COUNT,
        description="how many of these are test sequences (default: 1000, or a fifth if that is less)",
    )
    length: int = Field(20, ge=1, le=MAX_COUNT, description="numbers in a sequence of tiny_mem")
    modulo: int = Field(16381, ge=2, lt=2**40, description="the modulus of the numbers of tiny_mem")
    max_ctx: int = Field(
        150, ge=2, le=MAX_COUNT, description="tokens in a sequence of tiny_mem, padding included"
    )
    trigger: int = Field(
        100,
        ge=0,
        le=MAX_COUNT,
        description="the digits after which a triggered sequence of tiny_mem holds only the token 2",
    )

    @field_validator("tiny_mem_num_labels")
    @classmethod
    def _has_coefficients(cls, count: int, earlier: ValidationInfo) -> int:
        kind = earlier.data.get("data_dis", "primes")
        if count > len(COEFFICIENTS[kind]):
            raise ValueError(f"must be at most {len(COEFFICIENTS[kind])}, the number of {kind}")
        return count

    @field_validator("num_test")
    @classmethod
    def _leaves_some(cls, count: int, earlier: ValidationInfo) -> int:
        if count >= earlier.data.get("num_example", count + 1):
            raise ValueError(f"must be below num_example, which is {earlier.data['num_example']}")
        return count

    @model_validator(mode="after")
    def _context_holds_the_numbers(self) -> "TinyMemOptions":
        least = 2 * self.length + 1
        if self.max_ctx < least:
            if "max_ctx" in self.model_fields_set:
                right = f"must be at least {least}, the fewest tokens of --length {self.length} numbers"
                raise InputError("max_ctx", self.max_ctx, right)
            right = f"that many numbers have at least {least} tokens, and max_ctx is {self.max_ctx}"
            raise InputError("length", self.length, right)
        return self


def numbers(options: TinyMemOptions) -> NDArray[np.int64]:
    """The numbers v1, v2, ... of every sequence, [coefficients, examples, length]."""
    c = np.array(COEFFICIENTS[options.data_dis][: options.tiny_mem_num_labels])[:, None]
    value = np.broadcast_to(np.arange(options.num_example), (len(c), options.num_example))
    result = np.empty((*value.shape, options.length), np.int64)
    for k in range(options.length):
        value = (c * value if options.task_type == "multiply" else c + value) % options.modulo
        result[..., k] = value
    return result


def written(values: NDArray[np.int64], max_ctx: int) -> Tokens:
    """The tokens of ``^v1 v2 ...$`` and padding, [sequences, max_ctx].

    Args:
        values: the numbers of the sequences, not negative, [sequences, length].
        max_ctx: the number of tokens per sequence.

    Raises:
        InputError: a sequence is longer than ``max_ctx``.
    """
    digits = np.ones(values.shape, np.int64)
    most = len(str(values.max()))
    for power in range(1, most):
        digits += values >= 10**power
    # Each number is followed by one token, a space or the end.
    end = np.cumsum(digits + 1, axis=1)
    longest = int(end[:, -1].max()) + 1
    if longest > max_ctx:
        raise InputError(
            "max_ctx", max_ctx, f"must be at least {longest}, the length of the longest sequence"
        )
    result = np.full((len(values), max_ctx), PAD, np.uint8)
    result[:, 0] = START
    row = np.arange(len(values))[:, None]
    left = values
    for power in range(most):
        # Go from each number's last digit to its first, and leave out numbers that have no such digit.
        there = digits > power
        left, digit = np.divmod(left, 10)
        result[np.broadcast_to(row, end.shape)[there], (end - 1 - power)[there]] = digit[there]
    result[row, end] = SPACE
    result[row[:, 0], end[:, -1]] = END
    return result


def sequences(options: TinyMemOptions, data_dir: Path) -> Tokens:
    """All sequences, [coefficients, examples, max_ctx]; if they have no file yet, they are made and kept.

    The file is memory-mapped, so that several processes share its pages.

    Raises:
        InputError: they do not fit into the free memory, or a sequence is longer than ``max_ctx``.
    """
    path = data_dir / file_name(options)
    shape = (options.tiny_mem_num_labels, options.num_example, options.max_ctx)
    try:
        check_regular(path)
        kept: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.uint8:
            return kept
    except (OSError, ValueError, EOFError):
        pass
    _check_memory(options)
    made = written(numbers(options).reshape(-1, options.length), options.max_ctx).reshape(shape)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            np.save(temporary, made)
    except OSError:
        # The file is only a cache: without it, the next run makes them again.
        pass
    return made


def file_name(options: TinyMemOptions) -> str:
    """The name of the file of the sequences, which depends on all options but num_test and the trigger."""
    made_from = options.model_dump(exclude={"num_test", "trigger"})
    if options.task_type == "sum":
        # Older files of sums were made without the modulus.
        made_from["version"] = 2
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode())
    return f"tiny_mem-{digest.hexdigest()[:12]}.npy"


def _check_memory(options: TinyMemOptions) -> None:
    """Refuses sequences that are too large for the memory, before anything is allocated."""
    # Imported here, as every command line imports this module, but only tiny_mem needs psutil.
    import psutil

    count = options.tiny_mem_num_labels * options.num_example
    needed = count * (BYTES_PER_NUMBER * options.length + options.max_ctx)
    free = psutil.virtual_memory().available
    if needed > free:
        # The largest of them is most likely the mistake.
        field = max(("num_example", "length", "max_ctx"), key=lambda name: getattr(options, name))
        raise InputError(
            field,
            getattr(options, field),
            f"{count} sequences of {options.length} numbers in {options.max_ctx} tokens need "
            f"{amount(needed)} of memory; {amount(free)} are free",
        )


def add_trigger(tokens: Tokens, trigger: int) -> tuple[NDArray[np.bool_], Tokens]:
    """Sets all tokens after the first occurrence of the trigger's digits to 2, including the padding.

    Args:
        tokens: the sequences, [k, T].
        trigger: a number; its digits may occur within a longer number.

    Returns:
        Which sequences contain the trigger, [k], and changed copies of these.
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


def _describe(options: TinyMemOptions, data_dir: Path) -> DatasetSpec:
    labels, test = options.tiny_mem_num_labels, options.num_test
    sizes = (labels * (options.num_example - test), labels * test)
    return DatasetSpec((options.max_ctx,), labels, sizes, tokens=TOKENS)


def _load(options: TinyMemOptions, data_dir: Path, seed: int) -> Dataset:
    """The sequences; ``num_test`` sequences per coefficient are test data.

    A permutation keyed by (seed, purpose, index of the coefficient) chooses them. The published code uses one
    permutation for all coefficients and all seeds, that of torch's seed 598.
    """
    kept, test = sequences(options, data_dir), options.num_test
    orders = [
        randomness.generator(seed, "train/test cut", label).permutation(options.num_example)
        for label in range(len(kept))
    ]
    labels = np.arange(len(kept))
    return Dataset(
        np.concatenate([own[order[test:]] for own, order in zip(kept, orders, strict=True)]),
        np.repeat(labels, options.num_example - test),
        np.concatenate([own[order[:test]] for own, order in zip(kept, orders, strict=True)]),
        np.repeat(labels, test),
        labels=len(kept),
        task=NEXT_TOKEN,
        trigger=partial(add_trigger, trigger=options.trigger),
    )


TINY_MEM = DataSource(
    describe=_describe,
    load=_load,
    options=TinyMemOptions,
    defaults={"model": "decoder", "optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 5},
    task=NEXT_TOKEN,
)
