"""The scorer `victim`: what the victim believes, where it may be seen at all."""

import numpy as np
import pytest

from molebench import registry
from molebench.errors import MolebenchError
from molebench.rng import stream
from molebench.scorers.victim import Victim
from molebench.scoring import ScoringView
from molebench.types import Samples
from molebench.workspace import Workspace

TWO = Samples(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]))


def test_it_says_what_the_victim_believes_and_has_no_weights(fetched: Workspace) -> None:
    beliefs = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    score, weights = Victim().load(fetched)
    assert score(ScoringView(TWO, ("a", "b"), stream(0, "test"), believed=lambda: beliefs)) is beliefs
    assert weights is None


def test_where_the_victim_is_not_shown_it_is_refused(fetched: Workspace) -> None:
    score, _ = Victim().load(fetched)
    with pytest.raises(MolebenchError, match="scorer victim: what the victim believes is not shown here; choose"):
        score(ScoringView(TWO, ("a", "b"), stream(0, "test")))


def test_it_alone_says_that_it_knows_the_victim() -> None:
    knows = {
        name: getattr(registry.find("scorers", name).card.threat, "knows", ()) for name in registry.files("scorers")
    }
    assert {name for name, known in knows.items() if "victim" in known} == {"victim"}
