"""ResNet-18 trained from scratch on a dataset's training images: the paper's offline victim.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, section 4.1.
"""

from functools import partial

from molebench.cards import victim
from molebench.classifiers import resnet18
from molebench.offline_learners import ConvolutionalLearner

offline_resnet18 = victim(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    scenario="offline",
    dataset="fashion_mnist_mini",
    band=(0.3, 1.0),
    profiles={"tiny": {"epochs": 12}, "small": {"epochs": 5}},
    cost="28x28, two cores: a minute an epoch of 60 000 images, then 3 s a pair with 10 000 to test",
)(partial(ConvolutionalLearner, architecture=resnet18))
