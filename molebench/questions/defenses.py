"""What is asked of every defense: each of its moments on views of sixty real images, twice and watched."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from molebench.collision import extracted
from molebench.errors import CellFailed
from molebench.hooks import MOMENTS, SEES, Pipeline, Sees, View
from molebench.progress import silent
from molebench.questions.bench import STEPS, Bench, NotAsked, Subject, generators, private, watched
from molebench.types import Array

EACH, LABELLED, COUNT = 6, 20, 5
FILTERS = ("screen_pool", "after_label", "filter_train")  # beside these it may also say how suspect each item is
PARTS = (slice(None, LABELLED), slice(LABELLED, None))  # what is labelled, and the rest
ASKED = (*MOMENTS, "suspicion")


def moments(subject: Subject) -> list[str]:
    """The moments at which this defense acts."""
    if "active" not in subject.plugin.card.scenarios:
        raise NotAsked(f"acts in {', '.join(subject.plugin.card.scenarios)}; defenses are tried in active alone")
    return [moment for moment in ASKED if callable(getattr(subject.plugin.make, moment, None))]


def sixty(bench: Bench) -> dict[str, Any]:
    """Sixty images in random order, their features, labels, a nearest-mean classifier's beliefs, and a mask."""
    index = np.random.default_rng(0).permutation(bench.some(EACH))
    data = bench.patches.splits["train"][index]
    z = extracted(bench.extractor, data.x, bench.patches.modality, silent, "")
    means = np.stack([z[data.y == c].mean(axis=0) for c in range(len(bench.patches.classes))])
    near = np.exp(-np.square(z[:, None] - means).mean(axis=2))
    p = (near / near.sum(axis=1, keepdims=True)).astype(np.float32)
    return {"x": data.x, "z": z, "y": data.y, "p": p, "poison": np.arange(len(z)) % 4 == 0}


def _sixty(subject: Subject) -> dict[str, Any]:
    return sixty(subject.bench)


def view(subject: Subject, moment: str) -> View:
    """What a defense sees at this moment, in arrays that nobody else has."""
    all_, sees, k = subject.once(_sixty), subject.plugin.card.sees, len(subject.bench.patches.classes)
    first, rest = ({name: private(a[part]) for name, a in all_.items()} for part in PARTS)
    if moment == "transform":
        return View(rest["x"], np.zeros((len(rest["x"]), 0), np.float32), k, when="pool")
    here = first if moment in ("after_label", "filter_train", "accept") else rest
    labelled: dict[str, Any] = (
        {f"labelled_{name}": private(first[name]) for name in ("x", "z", "y")} if moment != "predict" else {}
    )
    return View(
        here["x"],
        here["z"],
        k,
        y=here["y"] if here is first or "labels" in sees else None,
        p=here["p"] if moment in ("screen_pool", "select", "accept", "predict") else None,
        count=COUNT if moment == "select" else 0,
        extractor=copy.deepcopy(subject.bench.extractor) if "extractor" in sees else None,
        poison=here["poison"] if "ground_truth" in sees else None,
        dropped=np.ones(k, dtype=np.int64) if "dropped" in sees else None,
        **labelled,
    )


def answer(pipeline: Pipeline, moment: str, seen: View) -> Array | None:
    """What a scenario would get at this moment, checked as a scenario checks it."""
    shown = partial(_as_it_is, seen)
    if moment == "transform":
        return pipeline.transformed(seen.x, seen.when, seen.k)
    if moment == "accept":
        return np.array(pipeline.accepts(shown, 0))
    if moment in ("select", "fit", "predict"):
        return pipeline.one(moment, shown, 0)
    return pipeline.mask(moment, shown, len(seen.x), 0, {})


def _as_it_is(seen: View, sees: Sees) -> View:
    del sees  # the view was made for this defense
    return seen


def answers(subject: Subject) -> dict[str, Array | None]:
    """Its checked answer at each of its moments."""
    pipeline = Pipeline(((subject.plugin.name, subject.built(steps=STEPS)),))
    found = {m: answer(pipeline, m, view(subject, m)) for m in moments(subject) if m != "suspicion"}
    for moment in [m for m in found if m in FILTERS]:
        seen = view(subject, moment)
        found[f"suspicion at {moment}"] = pipeline.suspicion(moment, partial(_as_it_is, seen), len(seen.x), 0)
    return found


def it_acts_at_moments_that_there_are(subject: Subject) -> Iterator[str]:
    """A method with a slip in its name would never be called."""
    made = subject.plugin.make
    public = [n for n in vars(made) if not n.startswith("_") and callable(getattr(made, n)) and n != "card"]
    if public and not moments(subject):
        yield f"its methods are {', '.join(public)}; a defense acts at {', '.join(MOMENTS)}"
    if wrong := set(subject.plugin.card.sees) - set(SEES):
        yield f"its card asks to see {', '.join(sorted(wrong))}; allowed: {', '.join(SEES)}"


def its_answers_have_the_shape_and_type_that_each_moment_asks_for(subject: Subject) -> Iterator[str]:
    """The check that every run makes, moment by moment."""
    try:
        subject.once(answers)
    except CellFailed as error:
        yield str(error)


def it_repeats_itself(subject: Subject) -> Iterator[str]:
    """The same view and the same generator give the same answer."""
    first, second = subject.once(answers), answers(subject)
    for moment, array in first.items():
        if not np.array_equal(np.asarray(array), np.asarray(second[moment])):
            yield f"asked twice at {moment}, it answers twice differently: draw from `rng` alone"


def _each(subject: Subject) -> Iterator[tuple[str, View, Callable[..., Any]]]:
    defense = subject.built(steps=STEPS)
    for moment in moments(subject):
        at = next((f for f in FILTERS if hasattr(defense, f)), "screen_pool") if moment == "suspicion" else moment
        yield moment, view(subject, at), getattr(defense, moment)


def it_changes_nothing_that_it_is_shown(subject: Subject) -> Iterator[str]:
    """Its arrays cannot be written, and its view is not its own to change."""
    for moment, seen, method in _each(subject):
        before = {f.name: getattr(seen, f.name) for f in fields(seen)}
        method(seen, np.random.default_rng(3))
        yield from (f"it changes {n} of its view at {moment}" for n, v in before.items() if getattr(seen, n) is not v)


def it_draws_from_its_own_generator_alone(subject: Subject) -> Iterator[str]:
    """The global generators belong to nobody."""
    for moment, seen, method in _each(subject):
        states = generators()
        method(seen, np.random.default_rng(3))
        if generators() != states:
            yield f"it draws from a global generator at {moment}: use the `rng` that it is given"


def it_keeps_nothing_that_it_has_seen(subject: Subject) -> Iterator[str]:
    """What it remembers of one arm would tell it about the next."""
    for moment, seen, method in _each(subject):
        held: dict[str, Any] = {
            f.name: private(a) for f in fields(seen) if isinstance(a := getattr(seen, f.name), np.ndarray)
        }
        own = replace(seen, **held)
        alive: list[weakref.ref[Any]] = [weakref.ref(own), *watched(getattr(own, name) for name in held)]
        method(own, np.random.default_rng(3))
        del own, held
        gc.collect()
        if any(each() is not None for each in alive):
            yield f"something of its view lives on after {moment}: keep nothing in a class or module"
