"""OPT (Zhang et al. 2022, arXiv 2205.01068) of ``transformers`` as a sequence of layers.

They are the embeddings of tokens and places, each block, the last norm, and the output layer, which shares
the embedding of tokens. The model of 350 million parameters has no last norm, and two projections instead.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dml.models.layers import Layer


def layers_of(model: Any, tokens: int) -> nn.Sequential | None:
    """The layers of a causal language model; None if it is no OPT.

    Args:
        model: the model, with or without adapters.
        tokens: how many of its outputs count.
    """
    if type(model).__name__ != "OPTForCausalLM":
        return None
    decoder, output = model.model.decoder, model.lm_head

    def embedded(x: Tensor) -> Tensor:
        x = x.long()
        words, places = decoder.embed_tokens(x), _places(x)
        words = words if decoder.project_in is None else decoder.project_in(words)
        found: Tensor = words + decoder.embed_positions(None, position_ids=places)
        return found

    def logits(x: Tensor) -> Tensor:
        found: Tensor = output(x)[..., :tokens]
        return found

    first = [decoder.embed_tokens, decoder.embed_positions, decoder.project_in]
    last = [decoder.final_layer_norm, decoder.project_out]
    return nn.Sequential(
        Layer(embedded, filter(None, first)),
        *(_Block(block, decoder.config) for block in decoder.layers),
        *filter(None, last),
        Layer(logits, [output]),
    )


class _Block(nn.Module):
    """A block of OPT, which is told the places of its tokens and which of them each token sees."""

    def __init__(self, block: nn.Module, config: Any) -> None:
        super().__init__()
        self.block, self._config = block, config

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, width] -> [b, T, width]."""
        from transformers.masking_utils import create_causal_mask

        seen = create_causal_mask(
            config=self._config, inputs_embeds=x, attention_mask=None, past_key_values=None
        )
        y: Tensor = self.block(x, attention_mask=seen, position_ids=_places(x), use_cache=False)
        return y


def _places(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device)[None]
