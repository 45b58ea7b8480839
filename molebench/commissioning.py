"""An attack in a process of its own: what stands for it here, sends it a view and gets back a poison or a recruitment.

It is to attacks what molebench.isolating is to defenses, for those that nobody here has read.
"""

from dataclasses import dataclass

import numpy as np

from molebench import views
from molebench.errors import CellFailed, MolebenchError
from molebench.grid import Part
from molebench.isolating import Child, Question, child_of
from molebench.limits import OverLimit
from molebench.messages import drawn
from molebench.types import AttackView, Poison
from molebench.updates import Recruitment, RecruitView
from molebench.workspace import Workspace


@dataclass(frozen=True)
class Commissioned:
    """Stands for an attack of this name."""

    name: str
    child: Child

    def craft(self, view: AttackView | RecruitView, rng: np.random.Generator) -> Poison | Recruitment:
        """What it makes of a view."""
        head, arrays = views.shown(view)
        most, who = views.greatest(view), f"attack {self.name}"
        try:
            reply = self.child.ask(
                Question(who, {**head, "name": self.name, "rng": drawn(rng), "most": most}, arrays, most)
            )
            return views.believed(reply.head, reply.arrays)
        except CellFailed:
            raise
        except (OverLimit, MolebenchError) as error:
            raise CellFailed(f"{who}: {error}") from error


def commissioned(part: Part, extractor: Part | None, workspace: Workspace, seconds: float) -> Commissioned:
    """What stands for an attack; a view may take it so many seconds."""
    threat = part.plugin.card.threat
    known = extractor if threat is not None and "extractor" in threat.knows else None
    return Commissioned(part.name, child_of(part, known, workspace, seconds))
