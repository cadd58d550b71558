"""A small vision transformer (Dosovitskiy et al., arXiv 2010.11929): an image as a sentence of patches."""

import torch
from torch import Tensor, nn

from dml.models.transformer import Block

PATCH, WIDTH, HEADS, LAYERS = 4, 192, 3, 6
INITIAL_STD = 0.02


class VisionTransformer(nn.Module):
    """Patches of 4 x 4, width 192, 6 blocks of 3 heads and inner width 768, GELU; no dropout.

    The widths are those of ViT-Tiny, at half its depth. The published system's own is another and far
    dearer: 512 wide, patches of 2 x 2 (257 words), shifted patches and a learned temperature (Lee et al.,
    arXiv 2112.13492).
    """

    def __init__(self, channels: int, patches: int, labels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.places = nn.Parameter(torch.empty(1, patches + 1, WIDTH))
        self.blocks = nn.Sequential(
            *(Block(WIDTH, HEADS, 4 * WIDTH, nn.GELU(), causal=False) for _ in range(LAYERS))
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, labels)
        for tensor in (self.token, self.places):
            nn.init.normal_(tensor, std=INITIAL_STD)

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, h, w] -> logits [b, L]."""
        words = self.patches(x).flatten(2).transpose(1, 2)
        words = torch.cat([self.token.expand(len(x), -1, -1), words], 1) + self.places
        y: Tensor = self.head(self.norm(self.blocks(words)[:, 0]))
        return y


def vit(shape: tuple[int, ...], labels: int) -> VisionTransformer:
    """On [3, 32, 32], 64 patches; 2,693,578 parameters with L = 10."""
    channels, height, width = shape
    return VisionTransformer(channels, (height // PATCH) * (width // PATCH), labels)
