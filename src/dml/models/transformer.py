"""The block that the vision transformer and the decoder share: attention and a perceptron, norms first.

    x <- x + attention(norm(x));    x <- x + perceptron(norm(x))

With queries, keys and values q, k, v [b, heads, T, d]: attention = softmax(q k^T / sqrt(d)) v, where a causal
one looks at no later place (Vaswani et al., arXiv 1706.03762).
"""

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention of several heads.

    Args:
        width: of a place.
        heads: must divide it.
        causal: a place sees itself and earlier ones only.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.reads = nn.Linear(width, 3 * width)
        self.writes = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, width] -> the same."""
        b, places, width = x.shape
        q, k, v = self.reads(x).view(b, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.writes(seen.transpose(1, 2).reshape(b, places, width))
        return y


class Perceptron(nn.Module):
    """Two layers, place by place.

    Args:
        width: of a place.
        inner: of the layer between.
        activation: after the first.
    """

    def __init__(self, width: int, inner: int, activation: nn.Module) -> None:
        super().__init__()
        self.reads = nn.Linear(width, inner)
        self.activation = activation
        self.writes = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[.., width] -> the same."""
        y: Tensor = self.writes(self.activation(self.reads(x)))
        return y


class Block(nn.Module):
    """Attention and perceptron, each on what a norm leaves, each added to x.

    Args:
        width: of a place.
        heads: of the attention.
        inner: width within the perceptron.
        activation: of the perceptron.
        causal: whether later places are hidden.
    """

    def __init__(self, width: int, heads: int, inner: int, activation: nn.Module, causal: bool) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.before_perceptron = nn.LayerNorm(width)
        self.perceptron = Perceptron(width, inner, activation)

    def forward(self, x: Tensor) -> Tensor:
        """[b, T, width] -> the same."""
        x = x + self.attention(self.before_attention(x))
        y: Tensor = x + self.perceptron(self.before_perceptron(x))
        return y
