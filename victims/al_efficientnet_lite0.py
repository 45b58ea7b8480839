"""Active learner on frozen EfficientNet-Lite0 ImageNet features: small, quick, and another architecture.

The protocol is al_resnet50's; only the extractor differs.
"""

from functools import partial

from molebench.cards import victim
from molebench.scenarios.active import SIZES, ActiveLearner

al_efficientnet_lite0 = victim(
    paper="the protocol of Mueller and Boettinger, IDA 2021, on EfficientNet-Lite0",
    scenario="active",
    dataset="photo_patches",
    band=(0.2, 1.0),
    profiles=SIZES,
    cost="3 s of extraction for 6 000 images of 32x32, then 8 s an arm, on two cores",
)(partial(ActiveLearner, extractor="efficientnet_lite0"))
