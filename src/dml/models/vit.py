"""A small vision transformer (Dosovitskiy et al., arXiv 2010.11929): an image as a sequence of patches."""

from typing import TYPE_CHECKING

from dml.models.spec import ModelSpec, Shape, images

if TYPE_CHECKING:
    from dml.models.transformer import VisionTransformer

PATCH, WIDTH, HEADS, LAYERS = 4, 192, 3, 6


def vit(shape: Shape, labels: int) -> "VisionTransformer":
    """Patches of 4 x 4, width 192, 6 blocks with 3 heads; 2,693,578 parameters on [3, 32, 32] with L = 10.

    The widths are those of ViT-Tiny, with half its depth. The ViT of the published system differs and is far
    more expensive: width 512, patches of 2 x 2 (sequences of 257), shifted patches and a learned temperature
    (Lee et al., arXiv 2112.13492).
    """
    from dml.models.transformer import VisionTransformer

    return VisionTransformer(shape, labels, PATCH, WIDTH, HEADS, LAYERS)


VIT = ModelSpec(vit, takes="images with sides that are multiples of 4", fits=images(PATCH, multiple=PATCH))
