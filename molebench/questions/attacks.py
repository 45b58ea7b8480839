"""What is asked of every attack: poisons for a few real images, or recruits from a pool, crafted twice and watched."""

import copy
import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from molebench import registry
from molebench.questions.bench import STEPS, NotAsked, Subject, generators, private, watched
from molebench.types import Array, AttackView, Poison, Samples, ThreatModel, violations
from molebench.updates import Recruitment, RecruitView
from molebench.updates import violations as broken

Seen = AttackView | RecruitView


@dataclass(frozen=True, eq=False)
class Crafting:
    """One crafting: what was shown, what came back, and what else has happened."""

    view: Seen
    poison: Poison | Recruitment
    before: dict[str, Any]
    same_generators: bool


def crafted(subject: Subject) -> Crafting:
    """The attack's poison for the bench's images, from a generator that is always the same."""
    attack = subject.built(steps=STEPS)
    view = shown(subject)
    before, states = contents(view), generators()
    poison = attack.craft(view, np.random.default_rng(3))
    return Crafting(view, poison, before, generators() == states)


def shown(subject: Subject) -> Seen:
    """What this attack may see in the first scenario that it acts in, in arrays that nobody else has."""
    if (scenario := subject.tried[0]) != "active":
        pool, tasks = subject.bench.pool, subject.bench.tasks if scenario == "continual" else None
        asks = any(p.names == "scorers" for p in subject.plugin.parameters.values())
        base = Samples(private(pool.base.x), private(pool.base.y))
        shows = asks or "victim" in threat(subject).knows
        scores = private(pool.scores) if shows and pool.scores is not None else None
        return replace(pool, base=base, scores=scores, tasks=tasks)
    view = subject.bench.view
    base = Samples(private(view.base.x), private(view.base.y))
    extractor = copy.deepcopy(view.extractor) if "extractor" in threat(subject).knows else None
    return replace(view, base=base, extractor=extractor)


def arrays(view: Seen) -> Iterator[Array]:
    """The arrays of a view."""
    yield from (view.base.x, view.base.y)
    if isinstance(view, RecruitView) and view.scores is not None:
        yield view.scores


def contents(view: Seen) -> dict[str, Any]:
    """What a view holds, by field."""
    return {f.name: getattr(view, f.name) for f in fields(view)} | {"data": view.base.fingerprint}


def threat(subject: Subject) -> ThreatModel:
    """The threat model of the attack's card."""
    if (stated := subject.plugin.card.threat) is None:
        raise NotAsked("its card states no threat model: add threat=ThreatModel(...)")
    return stated


def it_states_a_threat_model(subject: Subject) -> Iterator[str]:
    """What it may do and knows is on the board beside its figures."""
    if subject.plugin.card.threat is None:
        yield "its card has none: add threat=ThreatModel(may=..., knows=...)"


def its_poison_keeps_to_its_threat_model_and_budget(subject: Subject) -> Iterator[str]:
    """The check that every run makes."""
    done = subject.once(crafted)
    if isinstance(done.view, AttackView) and isinstance(done.poison, Poison):
        yield from violations(done.poison, done.view, threat(subject))
    elif isinstance(done.view, RecruitView) and isinstance(done.poison, Recruitment):
        yield from broken(done.poison, done.view, threat(subject))
    elif not (isinstance(done.poison, Poison) and not len(done.poison)):  # none of either kind is nothing
        expected = "Poison" if isinstance(done.view, AttackView) else "Recruitment"
        yield f"it returned a {type(done.poison).__name__}; expected a {expected}"


def it_makes_as_many_poisons_as_it_is_asked_for(subject: Subject) -> Iterator[str]:
    """As many as n_poison and the budget allow, and none where it may not inject; recruits, or why there are none."""
    done, attack = subject.once(crafted), subject.built()
    if isinstance(done.view, RecruitView):
        updates = done.poison.updates if isinstance(done.poison, Recruitment) else ()
        if not any(len(update) for update in updates) and not done.poison.unmet:
            yield "it recruits nobody and does not say why: Recruitment(updates, unmet=(reason,))"
        return
    inject = "inject" in threat(subject).may
    most = min(getattr(attack, "n_poison", 1), done.view.budget) if inject else 0
    if len(done.poison) < most or (most == 0 and len(done.poison)):
        yield f"it made {len(done.poison)}; expected {most}{' or more' if not hasattr(attack, 'n_poison') else ''}"


def it_repeats_itself(subject: Subject) -> Iterator[str]:
    """The same view and the same generator give the same poison, to the byte."""
    first, second = subject.once(crafted), crafted(subject)
    if first.poison.sha256 != second.poison.sha256:
        yield "crafting twice from the same generator gives two poisons: draw from `rng` alone"


def it_changes_nothing_that_it_is_shown(subject: Subject) -> Iterator[str]:
    """A view is shared with those who come after."""
    done = subject.once(crafted)
    after = contents(done.view)
    for name, value in done.before.items():
        if after[name] is not value and (name != "data" or after[name] != value):
            yield f"it changes {name} of its view"


def it_draws_from_its_own_generator_alone(subject: Subject) -> Iterator[str]:
    """The global generators belong to nobody."""
    if not subject.once(crafted).same_generators:
        yield "it draws from a global generator: use the `rng` that craft is given"


def it_keeps_nothing_that_it_has_seen(subject: Subject) -> Iterator[str]:
    """What it hides in itself would be there in the next arm."""
    view, attack = shown(subject), subject.built(steps=STEPS)
    seen: list[weakref.ref[Any]] = [weakref.ref(view), *watched(arrays(view))]
    attack.craft(view, np.random.default_rng(3))
    del view
    gc.collect()
    if any(each() is not None for each in seen):
        yield "something of its view lives on when craft has returned: keep nothing in a class or module"


def its_control_is_an_attack_that_may_do_no_more(subject: Subject) -> Iterator[str]:
    """What the poisons do without the method is shown beside what they do with it."""
    name, mine = subject.plugin.card.control, threat(subject)
    if name is None:
        if "perturb" in mine.may:
            yield "it perturbs and names no control: add control='unperturbed' to its card"
        if "recruit" in mine.may and "victim" in mine.knows:
            yield "it chooses what it recruits and names no control: add control='random_recruitment' to its card"
        return
    control = registry.find("attacks", name).card
    if control.threat is None or not control.threat.may <= mine.may:
        yield f"its control {name} may do what it may not"
    if not set(subject.plugin.card.scenarios) <= set(control.scenarios):
        yield f"its control {name} acts in {', '.join(control.scenarios)} only"
