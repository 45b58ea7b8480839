"""What is asked of every defense: each of its moments on views of sixty real images, twice and watched."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from molebench.collision import extracted
from molebench.errors import CellFailed
from molebench.hooks import FILTERS, MOMENTS, SCENARIO_MOMENTS, SEES, Pipeline, Sees, View
from molebench.progress import silent
from molebench.questions.bench import STEPS, Bench, Subject, beliefs, generators, pixels, private, watched
from molebench.types import Array, Dataset

EACH, LABELLED, COUNT = 6, 20, 5
PARTS = (slice(None, LABELLED), slice(LABELLED, None))  # what is labelled, and the rest
ASKED = {scenario: (*moments, "suspicion") for scenario, moments in SCENARIO_MOMENTS.items()}
OF_LABELLED = ("after_label", "filter_train", "schedule", "accept", "admit")  # moments at which items have labels


def moments(subject: Subject) -> list[tuple[str, str]]:
    """The scenarios and moments at which this defense acts."""
    make = subject.plugin.make
    return [(s, moment) for s in subject.tried for moment in ASKED[s] if callable(getattr(make, moment, None))]


def images(bench: Bench, scenario: str) -> Dataset:
    """Where the items of a scenario's views come from."""
    return bench.patches if scenario == "active" else bench.digits


def sixty(bench: Bench, scenario: str) -> dict[str, Any]:
    """Sixty images in random order, their features, labels, a nearest-mean classifier's beliefs, and a mask."""
    data = images(bench, scenario)
    items = data.splits["train"][np.random.default_rng(0).permutation(bench.some(EACH, data))]
    active = scenario == "active"
    z = extracted(bench.extractor, items.x, data.modality, silent, "") if active else pixels(items.x)
    mask = np.concatenate([marked(items.y[part]) for part in PARTS])
    return {"x": items.x, "z": z, "y": items.y, "p": beliefs(z, items.y), "poison": mask}


def marked(y: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Every second item of each class: without them no class is lost."""
    return np.array([(y[:i] == c).sum() % 2 == 1 for i, c in enumerate(y)])


def _sixties(subject: Subject) -> dict[str, dict[str, Any]]:
    return {scenario: sixty(subject.bench, scenario) for scenario in subject.tried}


def view(subject: Subject, scenario: str, moment: str) -> View:
    """What a defense sees at this moment, in arrays that nobody else has."""
    all_, sees = subject.once(_sixties)[scenario], subject.plugin.card.sees
    k = len(images(subject.bench, scenario).classes)
    active = scenario == "active"
    believed = (
        "screen_pool",
        "select",
        "schedule",
        "accept",
        "admit",
        "predict",
        *(() if active else ("filter_train",)),
    )
    first, rest = ({name: private(a[part]) for name, a in all_.items()} for part in PARTS)
    if moment == "transform":
        return View(rest["x"], np.zeros((len(rest["x"]), 0), np.float32), k, when="pool")
    here = first if moment in OF_LABELLED else rest
    labelled: dict[str, Any] = (
        {f"labelled_{name}": private(first[name]) for name in ("x", "z", "y")} if moment != "predict" else {}
    )
    if moment in ("filter_train", "schedule", "accept", "admit") and not active:
        labelled["labelled_p"] = private(first["p"])
    if moment == "accept":
        labelled["p_before"] = private(first["p"])
    if "trusted" in sees:
        labelled |= {f"trusted_{name}": private(rest[name]) for name in ("x", "z", "y")}
        if moment == "accept":
            labelled |= {"trusted_p": private(rest["p"]), "trusted_p_before": private(rest["p"])}
    return View(
        here["x"],
        here["z"],
        k,
        y=here["y"] if here is first or "labels" in sees else None,
        p=here["p"] if moment in believed else None,
        count=COUNT if moment in ("select", "schedule") else 0,
        extractor=copy.deepcopy(subject.bench.extractor) if "extractor" in sees else None,
        poison=here["poison"] if "ground_truth" in sees else None,
        dropped=np.ones(k, dtype=np.int64) if "dropped" in sees else None,
        **labelled,
    )


def answer(pipeline: Pipeline, scenario: str, moment: str, seen: View) -> Array | None:
    """What a scenario would get at this moment, checked as a scenario checks it."""
    shown = partial(_as_it_is, seen)
    if moment == "transform":
        return pipeline.transformed(seen.x, seen.when, seen.k)
    if moment == "accept":
        return np.array(pipeline.accepts(shown, 0, whole=scenario == "active"))
    if moment == "schedule":
        return pipeline.scheduled(shown, 0)
    if moment in ("select", "fit", "predict"):
        return pipeline.one(moment, shown, 0)
    return pipeline.mask(moment, shown, len(seen.x), 0, {}, floor=scenario == "active")


def _as_it_is(seen: View, sees: Sees) -> View:
    del sees  # the view was made for this defense
    return seen


def answers(subject: Subject) -> dict[str, Array | None]:
    """Its checked answer at each of its moments."""
    pipeline = Pipeline(((subject.plugin.name, subject.built(steps=STEPS)),))
    found: dict[str, Array | None] = {}
    for scenario, moment in moments(subject):
        if moment == "suspicion":
            continue
        seen = view(subject, scenario, moment)
        found[f"{moment} ({scenario})"] = answer(pipeline, scenario, moment, seen)
        if moment in FILTERS:
            suspect = pipeline.suspicion(moment, partial(_as_it_is, seen), len(seen.x), 0)
            found[f"suspicion at {moment} ({scenario})"] = suspect
    return found


def it_acts_at_moments_that_there_are(subject: Subject) -> Iterator[str]:
    """A method with a slip in its name would never be called."""
    made = subject.plugin.make
    public = [n for n in vars(made) if not n.startswith("_") and callable(getattr(made, n)) and n != "card"]
    if public and not moments(subject):
        there = dict.fromkeys(m for scenario in subject.tried for m in ASKED[scenario] if m in MOMENTS)
        yield f"its methods are {', '.join(public)}; a defense acts at {', '.join(there)}"
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
    for scenario, moment in moments(subject):
        filters = [f for f in FILTERS if f in ASKED[scenario]]
        at = next((f for f in filters if hasattr(defense, f)), filters[0]) if moment == "suspicion" else moment
        yield moment, view(subject, scenario, at), getattr(defense, moment)


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
