"""Random numbers that are keyed by their purpose, never drawn from a running stream.

A number depends only on its key: seed, purpose, and indices such as node, round or pass. So results do not
depend on the number of workers, on the order of tasks, or on a stop and resume. All numbers are drawn on the
host with numpy, whose generators give the same values on every machine.

The name of a strategy or algorithm is never part of a key. Experiments that differ only in these share
initial models, data and batches, so their comparison is paired.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _words(seed: int, purpose: str, indices: tuple[int, ...]) -> NDArray[np.uint32] | list[int]:
    """The key as 32-bit words. The purpose is hashed, so that new purposes do not affect old ones.

    The number of indices is a word too, as numpy takes (1,) and (1, 0) for the same entropy.
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
        purpose: the purpose of the numbers, such as ``"batch order"``.
        *indices: indices such as node, round or pass, each at least 0.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_words(seed, purpose, indices))))


def torch_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for one key, for ``torch.manual_seed`` and torch's own initialisers."""
    state = np.random.SeedSequence(_words(seed, purpose, indices)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit affects every output bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(
    seed: int, purpose: str, step: int | NDArray[np.int64], i: ArrayLike, j: ArrayLike
) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each directed message (i, j) of a step, [k].

    The value of a message is a hash of its own key, so it does not depend on other messages.

    Args:
        seed: the experiment's seed.
        purpose: the purpose of the numbers, such as ``"link"``.
        step: the round, or the number of each message on its link, [k].
        i: the receivers, [k].
        j: the senders, [k].
    """
    h = _hash(seed, purpose, step, np.asarray(i), np.asarray(j))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def words(seed: int, purpose: str, step: int, i: ArrayLike, count: int) -> NDArray[np.uint16]:
    """Uniform whole numbers from 0 to 65535 for each index of a step, [k, count].

    The row of an index is a hash of its own key, so it does not depend on other indices.

    Args:
        seed: the experiment's seed.
        purpose: the purpose of the numbers, such as ``"dropout"`` with the layer's name.
        step: the pass over the data.
        i: the indices of samples, [k].
        count: the number of values per index.
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
    """64 bits for each pair (i, j) of a step; i, j and an array of steps are broadcast."""
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
