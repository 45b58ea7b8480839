"""The victim itself: what the learner under attack believes of the images. The bound that other scorers are below.

    P(y = a | x) by the victim trained without the attack

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 3.
"""

from dataclasses import dataclass

from jaxtyping import Float

from molebench.cards import scorer
from molebench.errors import MolebenchError
from molebench.scoring import Score, ScoringView
from molebench.types import Array, ThreatModel
from molebench.workspace import Workspace

BIBTEX = """
@article{wisdom2023mole,
  title = {Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling},
  author = {Wisdom, Ethan and Gokhale, Tejas and Xiao, Chaowei and Yang, Yezhou},
  journal = {arXiv preprint arXiv:2303.17080}, year = {2023},
  eprint = {2303.17080}, archivePrefix = {arXiv}
}
"""


@scorer(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    threat=ThreatModel(knows=frozenset({"victim"})),
    cost="none: the victim is trained anyway",
)
@dataclass(frozen=True)
class Victim:
    """No parameters."""

    def load(self, workspace: Workspace) -> tuple[Score, None]:
        """The scores by the victim, which has no weights before it is trained."""
        del workspace
        return believed, None


def believed(view: ScoringView) -> Float[Array, "n k"]:
    """What the victim believes of every image of the view."""
    if view.believed is None:
        raise MolebenchError(
            "scorer victim: what the victim believes is not shown here; choose attack.scorer=surrogate or clip"
        )
    return view.believed()
