"""The decoder of TinyMem: a small GPT-2 (Radford et al. 2019) that predicts the next token."""

from typing import TYPE_CHECKING

from pydantic import Field

from dml.models.spec import ModelSpec, Shape
from dml.section import Section

if TYPE_CHECKING:
    from dml.models.transformer import Decoder

WIDTH, HEADS = 128, 4
MAX_LAYERS = 1000
"""More layers than any decoder has; each takes some milliseconds to describe."""


class DecoderOptions(Section):
    """The decoder's own flags."""

    n_layer: int = Field(4, ge=1, le=MAX_LAYERS, description="blocks of the decoder")


def decoder(shape: Shape, labels: int, n_layer: int) -> "Decoder":
    """A decoder of up to shape[0] tokens; 814,336 parameters with 14 tokens, length 150 and 4 layers."""
    from dml.models.transformer import Decoder

    return Decoder(labels, shape[0], WIDTH, HEADS, n_layer)


DECODER = ModelSpec(
    decoder, takes="sequences of tokens", fits=lambda shape: len(shape) == 1, options=DecoderOptions
)
