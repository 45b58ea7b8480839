"""ResNet-50 trained from scratch on a dataset's training images: the paper's offline victim.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, section 4.1.
"""

from functools import partial

from molebench.cards import victim
from molebench.classifiers import resnet50
from molebench.offline_learners import ConvolutionalLearner

offline_resnet50 = victim(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    scenario="offline",
    dataset="fashion_mnist_mini",
    band=(0.3, 1.0),
    profiles={"tiny": {"epochs": 12}, "small": {"epochs": 5}},
    cost="3.7 times offline_resnet18",
)(partial(ConvolutionalLearner, architecture=resnet50))
