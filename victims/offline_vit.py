"""ViT-B/16 pretrained on ImageNet-21k and fine-tuned on a dataset's training images: the paper's offline transformer.

86 million weights; images are resized to 224 px inside the network. On two cores the paper's size is out of reach
(17 GFLOP an image): profiles tiny and small make images smaller, and what they give is no figure of the paper's.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, section 4.1; weights of Steiner et al., "How to train your ViT?", TMLR 2022.
"""

from functools import partial

from molebench.cards import victim
from molebench.pretrained_learner import PretrainedTransformer

BIBTEX = """
@article{steiner2022train,
  title = {How to train your {ViT}? Data, Augmentation, and Regularization in Vision Transformers},
  author = {Steiner, Andreas and Kolesnikov, Alexander and Zhai, Xiaohua and Wightman, Ross and Uszkoreit, Jakob and
    Beyer, Lucas},
  journal = {Transactions on Machine Learning Research}, year = {2022}
}
"""

offline_vit = victim(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    scenario="offline",
    dataset="fashion_mnist_mini",
    band=(0.3, 1.0),
    profiles={"tiny": {"px": 32, "pool": 300, "epochs": 1}, "small": {"px": 48, "pool": 1000, "epochs": 2}},
    needs=("ViT-B/16 weights of ImageNet-21k from huggingface.co/timm/vit_base_patch16_224.augreg_in21k, 410 MB",),
    cost="tiny: 30 s to train, 15 s an update of 200 images; small: 4 min, 2 min an update of 1 000; one core",
)(partial(PretrainedTransformer, model="vit_base_patch16_224.augreg_in21k"))
