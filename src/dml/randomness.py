"""Random numbers keyed by what they are for, never taken from a running stream.

A number depends on its key alone: (seed, purpose, indices), as node, round or pass. So a result does
not depend on the number of workers, on the order of tasks, or on a stop and resume. All numbers are
drawn on the host in numpy, whose generators give the same values on every machine.

No strategy or algorithm name ever enters a key: experiments that differ in those alone share start,
data and batches, and their comparison is paired.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _words(seed: int, purpose: str, indices: tuple[int, ...]) -> NDArray[np.uint32] | list[int]:
    """The key as 32-bit words: the purpose is hashed, so that a new one never disturbs an old one.

    How many indices there are is a word too, as numpy takes (1,) and (1, 0) for the same entropy.
    """
    words = [seed, *_purpose_words(purpose), len(indices), *indices]
    # The same sequence as from the list, in a quarter of the time; only a list may hold longer numbers.
    return np.array(words, np.uint32) if max(words) < 2**32 else words


@cache
def _purpose_words(purpose: str) -> tuple[int, int]:
    digest = hashlib.sha256(purpose.encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A numpy generator for one key.

    Args:
        seed: the experiment's seed, at least 0.
        purpose: what the numbers are for, such as ``"batch order"``.
        *indices: node, round, pass.., each at least 0.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_words(seed, purpose, indices))))


def torch_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for ``torch.manual_seed``, for the library's own initialisers."""
    state = np.random.SeedSequence(_words(seed, purpose, indices)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(
    seed: int, purpose: str, step: int | NDArray[np.int64], i: ArrayLike, j: ArrayLike
) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each directed message (i, j) of a step.

    The value of a message is a hash of its own key, so it stays the same whatever other messages
    there are; the arrays are hashed at once.

    Args:
        seed: the experiment's seed.
        purpose: what the numbers are for, such as ``"link"``.
        step: the round; or the number of each message on its link, [k].
        i: receivers, [k].
        j: senders, [k].
    """
    h = _hash(seed, purpose, step, np.asarray(i), np.asarray(j))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def words(seed: int, purpose: str, step: int, i: ArrayLike, count: int) -> NDArray[np.uint16]:
    """So many numbers, uniform on 0 .. 65535, for each index of a step; [k, count].

    The row of an index is a hash of its own key, whatever other indices there are.

    Args:
        seed: the experiment's seed.
        purpose: what the numbers are for, such as ``"dropout"`` with the layer's name.
        step: the pass over the data.
        i: samples, [k].
        count: numbers for each.
    """
    h = _hash(seed, purpose, step, np.asarray(i)[:, None], np.arange(-(-count // 4))[None])
    return h.astype("<u8", copy=False).view("<u2")[:, :count]


def _hash(
    seed: int,
    purpose: str,
    step: int | NDArray[np.int64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
) -> NDArray[np.uint64]:
    """64 bits for each pair (i, j) of a step; i and j are broadcast, and the steps if there are several."""
    if isinstance(step, np.ndarray):
        steps, which = np.unique(step, return_inverse=True)
        start = np.concatenate([_start(seed, purpose, s) for s in steps.tolist()])[which]
    else:
        start = _start(seed, purpose, step)
    with np.errstate(over="ignore"):
        h = _mix(i.astype(np.uint64) * _GAMMA + start)
        return _mix(h + j.astype(np.uint64) * _GAMMA + _GAMMA)


def _start(seed: int, purpose: str, step: int) -> NDArray[np.uint64]:
    words = np.random.SeedSequence(_words(seed, purpose, (step,))).generate_state(1, np.uint64)
    return words.astype(np.uint64, copy=False)
