"""A small vision transformer trained from scratch: an offline victim without convolutions; not the paper's ViT-B/16.

Four blocks of width 128, 0.8 million weights, patches of a seventh of a side or so. The paper's transformer is a
hundred times as large and was pretrained on ImageNet-21k (offline_vit): no figure of this one stands for its column.
From so few images a transformer learns less than a ResNet does, so its accuracy before the update is lower too.

Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the schedule is that of Wisdom, Gokhale,
Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 4.1 (AdamW 2e-4, batch 16, linear decay).
"""

from functools import partial

from torch import nn

from molebench.cards import victim
from molebench.classifiers import Shape
from molebench.offline_learners import TransformerLearner

BIBTEX = """
@inproceedings{dosovitskiy2021image,
  title = {An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale},
  author = {Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and Zhai, Xiaohua and
    Unterthiner, Thomas and Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and Gelly, Sylvain and
    Uszkoreit, Jakob and Houlsby, Neil},
  booktitle = {ICLR}, year = {2021}
}
"""


def small_transformer(shape: Shape) -> nn.Module:
    """An untrained transformer; zeros on the right and below make the sides multiples of a patch."""
    from timm.models.vision_transformer import VisionTransformer

    patch = patch_of(min(shape.height, shape.width))
    down, right = -shape.height % patch, -shape.width % patch
    body = VisionTransformer(
        img_size=(shape.height + down, shape.width + right),
        patch_size=patch,
        in_chans=shape.channels,
        num_classes=shape.classes,
        embed_dim=128,
        depth=4,
        num_heads=2,
    )
    return nn.Sequential(nn.ZeroPad2d((0, right, 0, down)), body)


def patch_of(side: int) -> int:
    """The side of a patch, the largest power of two of which seven fit; a pixel alone tells too little, so 2 at least:
    8 to 27 px 2, 28 to 55 px 4, 56 to 111 px 8.
    """
    return max(2, 2 ** ((side // 7).bit_length() - 1))


offline_vit_tiny = victim(
    paper="Dosovitskiy et al., ICLR 2021; protocol of Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    scenario="offline",
    dataset="fashion_mnist_mini",
    band=(0.3, 1.0),
    profiles={"tiny": {"epochs": 6}, "small": {"epochs": 6}},
    cost="training 20 s on digits, 2.5 min on fashion_mnist_mini; there 6 s a pair (1 000 images and a test); one core",
)(partial(TransformerLearner, architecture=small_transformer))
