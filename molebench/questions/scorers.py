"""What is asked of every scorer: P(y | x) of a few real images, asked for twice and watched."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from molebench.errors import MolebenchError
from molebench.questions.bench import NotAsked, Subject, generators, private
from molebench.scoring import ScoringView
from molebench.types import Array, Samples

PX = 32  # of whatever resizes: what is asked does not depend on it


@dataclass(frozen=True, eq=False)
class Scoring:
    """What was shown, what came back, and whether a global generator is as it was."""

    view: ScoringView
    scores: Array
    same_generators: bool


def scored(subject: Subject) -> Scoring:
    """The scorer's answer for the bench's digits, from a generator that is always the same; no weights are fetched."""
    bench, threat = subject.bench, subject.plugin.card.threat
    base, beliefs = bench.pool.base, np.asarray(bench.pool.scores)
    believed = (lambda: beliefs) if threat and "victim" in threat.knows else None
    samples = Samples(private(base.x), private(base.y))
    view = ScoringView(samples, bench.pool.classes, np.random.default_rng(3), believed=believed)
    states = generators()
    try:
        score, _ = subject.built(px=PX).load(replace(bench.workspace, offline=True))
    except MolebenchError as error:
        raise NotAsked(f"needs its weights: {error}") from error
    return Scoring(view, score(view), generators() == states)


def its_scores_are_probabilities_over_the_whole_label_set(subject: Subject) -> Iterator[str]:
    """A row an image, a column a class, in the dataset's order."""
    done = subject.once(scored)
    p, shape = np.asarray(done.scores), (len(done.view.samples), len(done.view.classes))
    if p.shape != shape or p.dtype.kind != "f":
        yield f"it returned {p.dtype} {p.shape}; expected float {shape}"
    elif not np.isfinite(p).all() or p.min() < 0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        yield "its rows must be finite, >= 0 and sum to 1"


def it_repeats_itself(subject: Subject) -> Iterator[str]:
    """The same view and the same generator give the same scores, to the byte."""
    if subject.once(scored).scores.tobytes() != scored(subject).scores.tobytes():
        yield "scoring twice from the same generator gives two answers: draw from the view's `rng` alone"


def it_draws_from_its_own_generator_alone(subject: Subject) -> Iterator[str]:
    """The global generators belong to nobody."""
    if not subject.once(scored).same_generators:
        yield "it draws from a global generator: use the `rng` of its view"
