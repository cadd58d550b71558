"""The engines that train models, by name, and which one an experiment takes.

Both give the same numbers to rounding. ``loop`` trains one row after another, and any model; ``batched``
takes each step for all rows at once, which is faster if a step of one row is little work.
"""

from dataclasses import dataclass

SMALL = 100_000
"""Numbers in a model up to which all nodes at once are faster on a CPU.

The loop's time over that of batched, perceptrons on 33 nodes (8 from 203,530 on), processor time of 1 thread
of an AMD EPYC with AVX-512, 2026-11; batches of 16 and of 64:

    64-64-10      4,810     3.6    1.9        784-64-10      50,890     1.2     1.15
    64-128-10     9,610     2.7    1.5        784-256-10    203,530     0.9     0.9
    64-256-10    19,210     2.05   1.2        784-512-10    407,050     0.8     0.9
    64-1024-10   76,810     1.05   1.0        784-1024-10   814,090     0.75    0.9

Two small convolutions (1,898 numbers) were faster as a batch too: 3.9 and 1.8. Other models were not, by
processor time on 4 to 8 nodes: the decoder of one block (203,264 numbers) 0.95, that of four (814,208) 0.87,
the cnn (1.9 M) 0.77 and the vit (2.7 M) 0.74.
"""


@dataclass(frozen=True)
class EngineSpec:
    """One engine of the registry.

    Args:
        version: raised when a change moves its numbers by more than rounding.
    """

    version: int = 1


ENGINES = {"loop": EngineSpec(), "batched": EngineSpec()}


def choose(asked: str, obstacle: str | None, before: str | None, size: int, accelerator: str) -> str:
    """The engine of an experiment: by what is asked of it, never by how busy or large the machine is.

    Args:
        asked: auto, loop or batched.
        obstacle: what keeps the nodes from training at once (:func:`dml.training.config.obstacle`).
        before: the engine that made the rounds that are there, or None.
        size: numbers in a model.
        accelerator: its type, as ``cpu``.
    """
    if asked != "auto":
        return asked
    if obstacle:
        return "loop"
    # On a card, where each call costs alike, whatever can be batched is. No card has measured this yet, which
    # `benchmarks/gpu.py --parts engines` does.
    return before or ("batched" if accelerator != "cpu" or size <= SMALL else "loop")
