"""Active learner on frozen YAMNet embeddings of sounds: the paper's audio victim.

YAMNet's features are several times smaller than ResNet-50's, so the head learns with four times the step: at the image
victims' 1e-3, sixty epochs end long before it fits the few labels that it has (docs/decisions.md has the table).

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
    by_modality={"audio": {"lr": 4e-3}},
    cost="15 s of extraction for 6 000 clips of a second, then 10 s an arm, on two cores",
)(partial(ActiveLearner, extractor="yamnet"))
