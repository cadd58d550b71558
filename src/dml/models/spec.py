"""Descriptions of models that can be read without torch: valid inputs, options, and how to build a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dml.section import Section

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
"""The shape of one input: (channels, height, width) of an image, (length,) of a sequence of tokens."""

BATCH_NORM, DROPOUT = "batch norm", "dropout"
"""Layers that keep the nodes' models from training as one batch; see :attr:`ModelSpec.single`."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that distributed_ml knows about a model; the model's own module ends with it.

    Args:
        build: ``(shape, labels, **options) -> nn.Module``: a new model for inputs of a shape, with as many
            outputs as there are labels (or tokens). It imports torch itself, as this description is also
            read where torch is not needed.
        takes: the inputs that the model accepts, in words, for error messages.
        fits: tells whether the model accepts inputs of a shape.
        options: the model's own flags. ``build`` gets them by name; they are part of the experiment's id.
        single: what requires the nodes' models to be trained one by one, such as a kind of layer, or "".
        marks: ``(options) -> hashes``: by the name of an option that names files, a hash of their content,
            which takes the place of its value in the experiment's id.
        check: raises InputError if packages that the model needs are not installed.
        version: raised when a change alters the model's numbers; part of the experiment's id if above 1.
    """

    build: Callable[..., "nn.Module"]
    takes: str
    fits: Callable[[Shape], bool]
    options: type[Section] = Section
    single: str = ""
    marks: Callable[[Section], Mapping[str, str]] = lambda options: {}
    check: Callable[[], None] = lambda: None
    version: int = 1


def images(side: int, multiple: int = 1) -> Callable[[Shape], bool]:
    """A function that tells whether a shape is that of images whose sides are large enough.

    Args:
        side: the shortest side that is accepted.
        multiple: a number that must divide both sides.
    """
    return lambda shape: (
        len(shape) == 3 and min(shape[1:]) >= side and not any(length % multiple for length in shape[1:])
    )
