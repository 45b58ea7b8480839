"""Active learner on frozen ResNet-50 ImageNet features: the paper's image victim.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, section IV-A.
"""

from functools import partial

from molebench.cards import Resources, victim
from molebench.scenarios.active import SIZES, ActiveLearner

al_resnet50 = victim(
    paper="Mueller and Boettinger, IDA 2021, arXiv:2101.10792",
    scenario="active",
    dataset="photo_patches",
    band=(0.2, 1.0),
    profiles=SIZES,
    resources=Resources(memory=4.0),
    cost="10 s of extraction for 6 000 images of 32x32, then 10 s an arm, on two cores",
)(partial(ActiveLearner, extractor="resnet50"))
