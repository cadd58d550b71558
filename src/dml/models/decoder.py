"""The decoder of TinyMem: a small GPT-2 (Radford et al. 2019) that says the next token at every place.

Embeddings of tokens and places, blocks with norms first, a last norm, and logits by the token embedding
itself (tied): logits = norm(x) E^T, [T, 128] x [128, V]. Width 128, 4 heads, inner width 512, ReLU, no
dropout. It is causal, and padding is a token like all others.

Weights and embeddings ~ N(0, s^2) with s = 0.8 / sqrt(128), biases 0. The two layers of a block that write
into x ~ N(0, (s / sqrt(2 n_layer))^2): there are 2 n_layer of them, and so x, their sum, keeps its size
whatever the depth.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dml.models.transformer import Attention, Block, Perceptron

WIDTH, HEADS = 128, 4
INITIAL_STD = 0.8 / math.sqrt(WIDTH)


class Decoder(nn.Module):
    """The model.

    Args:
        tokens: how many there are, V.
        places: the longest sequence.
        n_layer: blocks.
    """

    def __init__(self, tokens: int, places: int, n_layer: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, WIDTH)
        self.places = nn.Embedding(places, WIDTH)
        self.blocks = nn.Sequential(
            *(Block(WIDTH, HEADS, 4 * WIDTH, nn.ReLU(), causal=True) for _ in range(n_layer))
        )
        self.norm = nn.LayerNorm(WIDTH)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Attention | Perceptron):
                nn.init.normal_(module.writes.weight, std=INITIAL_STD / math.sqrt(2 * n_layer))

    def forward(self, tokens: Tensor) -> Tensor:
        """Whole numbers [b, T] -> logits of each next token, [b, T, V]."""
        tokens = tokens.long()
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.blocks(self.tokens(tokens) + self.places(places)))
        return functional.linear(x, self.tokens.weight)


def decoder(shape: tuple[int, ...], labels: int, n_layer: int) -> Decoder:
    """For sequences of shape (T,) of so many tokens: 814,336 parameters with 14, T = 150 and 4 layers."""
    return Decoder(labels, shape[0], n_layer)
