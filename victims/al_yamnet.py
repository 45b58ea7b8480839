"""Active learner on frozen YAMNet embeddings of sounds: the paper's audio victim.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, section IV-A.
"""

from functools import partial

from molebench.cards import victim
from molebench.scenarios.active import SIZES, ActiveLearner

al_yamnet = victim(
    paper="Mueller and Boettinger, IDA 2021, arXiv:2101.10792",
    scenario="active",
    dataset="spoken_commands",
    modality="audio",
    band=(0.2, 1.0),
    profiles=SIZES,
    cost="",
)(partial(ActiveLearner, extractor="yamnet"))
