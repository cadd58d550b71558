"""The decoder and the vision transformer, and the block that they share: attention and a perceptron.

    x <- x + attention(norm(x));    x <- x + perceptron(norm(x))

With queries, keys and values q, k, v [b, heads, T, d], attention = softmax(q k^T / sqrt(d)) v. In causal
attention, no position sees a later one (Vaswani et al., arXiv 1706.03762).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dml.models.layers import InLayers, Layer


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: numbers per position.
        heads: the number of heads, a divisor of the width.
        causal: each position sees only itself and earlier positions.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.reads = nn.Linear(width, 3 * width)
        self.writes = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, width] -> [b, T, width]."""
        b, places, width = x.shape
        q, k, v = self.reads(x).view(b, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.writes(seen.transpose(1, 2).reshape(b, places, width))
        return y


class Perceptron(nn.Module):
    """A perceptron of two layers, applied to each position.

    Args:
        width: numbers per position.
        inner: the width between the layers.
        activation: the activation after the first layer.
    """

    def __init__(self, width: int, inner: int, activation: nn.Module) -> None:
        super().__init__()
        self.reads = nn.Linear(width, inner)
        self.activation = activation
        self.writes = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        y: Tensor = self.writes(self.activation(self.reads(x)))
        return y


class Block(nn.Module):
    """Attention and a perceptron with four times the width; each gets the norm of x and is added to x.

    Args:
        width: numbers per position.
        heads: the number of attention heads.
        activation: the activation of the perceptron.
        causal: each position sees only itself and earlier positions.
    """

    def __init__(self, width: int, heads: int, activation: nn.Module, causal: bool) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.before_perceptron = nn.LayerNorm(width)
        self.perceptron = Perceptron(width, 4 * width, activation)

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, width] -> [b, T, width]."""
        x = x + self.attention(self.before_attention(x))
        y: Tensor = x + self.perceptron(self.before_perceptron(x))
        return y


class Decoder(InLayers):
    """A GPT-2: embeddings of tokens and positions, causal blocks with ReLU, a norm, and logits.

    The token embedding E is tied to the output: logits = norm(x) E^T, [T, width] x [width, V]. There is no
    dropout, and padding is a token like any other.

    Weights and embeddings are drawn from N(0, s^2) with s = 0.8 / sqrt(width); biases are 0. The two layers
    of each block whose output is added to x are drawn from N(0, (s / sqrt(2 layers))^2) instead, so that the
    size of x does not depend on the depth.

    Args:
        tokens: the number of different tokens, V.
        length: the length of the longest sequence.
        width: numbers per position.
        heads: the number of attention heads.
        layers: the number of blocks.
    """

    def __init__(self, tokens: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, nn.ReLU(), causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        std = 0.8 / math.sqrt(width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Attention | Perceptron):
                nn.init.normal_(module.writes.weight, std=std / math.sqrt(2 * layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Integer tokens [b, T] -> logits of the token after each position, [b, T, V]."""
        return self._logits(self.norm(self.blocks(self._embedded(tokens))))

    def in_layers(self) -> nn.Sequential:
        """The embeddings, each block, the norm, and the output layer, which shares E with the embeddings."""
        embedded = Layer(self._embedded, [self.tokens, self.places])
        return nn.Sequential(embedded, *self.blocks, self.norm, Layer(self._logits, [self.tokens]))

    def _embedded(self, tokens: Tensor) -> Tensor:
        tokens = tokens.long()
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x: Tensor = self.tokens(tokens) + self.places(places)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.tokens.weight)


class VisionTransformer(InLayers):
    """Embedded patches after a learned class token, and blocks with GELU; there is no dropout.

    Args:
        shape: the shape of an image: channels, height, width.
        labels: the number of outputs.
        patch: the side of a patch, a divisor of the sides of the image.
        width: numbers per patch.
        heads: the number of attention heads.
        layers: the number of blocks.
    """

    def __init__(
        self, shape: tuple[int, ...], labels: int, patch: int, width: int, heads: int, layers: int
    ) -> None:
        super().__init__()
        channels, rows, columns = shape
        patches = (rows // patch) * (columns // patch)
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.places = nn.Parameter(torch.empty(1, patches + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, nn.GELU(), causal=False) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)
        for tensor in (self.token, self.places):
            nn.init.normal_(tensor, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, h, w] -> logits [b, L]."""
        y: Tensor = self.head(self.norm(_first(self.blocks(self._embedded(x)))))
        return y

    def in_layers(self) -> nn.Sequential:
        """The embeddings, each block, the norm of what the last one makes of the token, and the head."""
        embedded = Layer(self._embedded, [self.patches], [self.token, self.places])
        return nn.Sequential(embedded, *self.blocks, Layer(_first), self.norm, self.head)

    def _embedded(self, x: Tensor) -> Tensor:
        words = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), words], 1) + self.places


def _first(x: Tensor) -> Tensor:
    return x[:, 0]
