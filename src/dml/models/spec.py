"""What is known of a model without torch: what inputs it takes, its options, and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dml.section import Section

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
"""Of one input: (channels, height, width) of an image, (length,) of a sequence of tokens."""

BATCH_NORM, DROPOUT = "batch norm", "dropout"
"""Layers that keep the nodes' models from training as one batch; see :attr:`ModelSpec.single`."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that distributed_ml knows of a model; the model's own module ends with it.

    Args:
        build: ``(shape, labels, **options) -> nn.Module``: a new model for inputs of a shape, with as many
            outputs as there are labels (or tokens). It imports torch itself, as this description is read
            where torch is not needed.
        takes: the inputs that the model fits, in words, for error messages.
        fits: whether the model fits inputs of a shape.
        options: the model's own flags. ``build`` gets them by name; they count towards the experiment's id.
        single: the kind of layer that requires the models to be trained one after another, or "".
        version: raised by a change after which the model gives other numbers; part of the id above 1.
    """

    build: Callable[..., "nn.Module"]
    takes: str
    fits: Callable[[Shape], bool]
    options: type[Section] = Section
    single: str = ""
    version: int = 1


def images(side: int, multiple: int = 1) -> Callable[[Shape], bool]:
    """Tells whether a shape is that of images whose sides are large enough.

    Args:
        side: the shortest side that fits.
        multiple: the sides must be multiples of this number.
    """
    return lambda shape: (
        len(shape) == 3 and min(shape[1:]) >= side and not any(length % multiple for length in shape[1:])
    )
