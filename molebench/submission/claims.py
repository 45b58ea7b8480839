"""What a submission claims: figures that records have, of cells that there can be, with intervals that hold them."""

import ast
from collections.abc import Iterator, Mapping, Sequence

from molebench import places, registry
from molebench.errors import listed
from molebench.hooks import SCENARIO_MOMENTS
from molebench.metrics import DEFINITIONS, definition
from molebench.submission.form import Claim, Form
from molebench.submission.source import literal
from molebench.submission.wording import nearest

PARTS = ("attack", "victim", "dataset", "extractor", "scorer")  # that a claim may set parameters of
ROLES = {"victim": "victims", "attack": "attacks", "dataset": "datasets"}


def card_faults(form: Form) -> Iterator[str]:
    """What does not fit together on a form's card."""
    card = form.card
    if form.kind == "attack":
        for word in ("moments", "sees"):
            if getattr(card, word):
                yield f"card, {word}: a defense has them; leave them out of an attack's"
        if not card.may:
            yield "card, may is empty; say what the attack does: recruit, reorder, perturb or inject"
        if (card.norm is None) != (card.bound is None):
            yield "card, norm and bound belong together; give both, or null for both: unlimited"
        return
    for word in ("may", "knows", "norm", "bound"):
        if getattr(card, word):
            yield f"card, {word}: an attack has it; leave it out of a defense's"
    yield from moment_faults(form)
    if "trusted" in card.sees and not isinstance(form.params.get("trusted"), int):
        yield "card, sees trusted: a parameter `trusted` says how many images of each class; give it in params"


def moment_faults(form: Form) -> Iterator[str]:
    """Moments that no scenario of a defense has, and scenarios at which it never acts."""
    acting = set(form.card.moments) - {"suspicion"}
    if not acting:
        yield "card, moments names none at which the defense acts; suspicion alone is only asked beside a filter"
        return
    had = {scenario: acting & set(SCENARIO_MOMENTS[scenario]) for scenario in form.card.scenarios}
    for moment in sorted(acting.difference(*had.values())):
        fit = [scenario for scenario, moments in SCENARIO_MOMENTS.items() if moment in moments]
        yield f"card, moments: {moment} is a moment of {listed(fit)} alone; the card has {listed(form.card.scenarios)}"
    if idle := [scenario for scenario, moments in had.items() if not moments]:
        yield f"card, scenarios: in {listed(idle)} none of its moments is called; leave that out"


def faults(form: Form, numbers: Sequence[int], others: Mapping[str, Form]) -> Iterator[str]:
    """What is wrong with the claims of these numbers, and with the names in the disclosure. others: submitted defenses
    that claims may name."""
    for name in form.disclosure.tuned_on_attacks:
        yield from named("disclosure, tuned_on_attacks", "attacks", name)
    for number, claim in zip(numbers, form.claims, strict=True):
        who = f"claim {number}"
        yield from figure(who, claim)
        yield from party(who, form, claim)
        ours = [(role, name) for role, name in roles(claim) if role != "defense" or name not in others]
        found = [fault for role, name in ours for fault in named(f"{who}, {role}", f"{role}s", name)]
        yield from found or scenario(who, form, claim, others)
        yield from settings(who, form, claim)


def roles(claim: Claim) -> list[tuple[str, str]]:
    """The plug-ins that a claim names, each with its role."""
    single = [(role, name) for role in ROLES if (name := getattr(claim, role))]
    return [*single, *(("defense", name) for name in claim.defenses)]


def named(who: str, kind: str, name: str) -> list[str]:
    """A plug-in that there is not."""
    if registry.has(kind, name):
        return []
    return [f"{who}: there is no {kind.rstrip('s')} {name}{nearest(name, registry.alike(kind, name))}"]


def figure(who: str, claim: Claim) -> Iterator[str]:
    """A metric that no record has, and an interval that does not hold its value."""
    try:
        definition(claim.metric)
    except KeyError:
        yield f"{who}, metric: no record has {ascii(claim.metric)[1:-1]}{nearest(claim.metric, known())}"
    if not claim.low <= claim.value <= claim.high:
        yield f"{who}: low {claim.low:g}, value {claim.value:g}, high {claim.high:g} are not in order"


def known() -> list[str]:
    """The metrics by name, and as a defense has them."""
    return [*DEFINITIONS, *(f"{name}_defended" for name in DEFINITIONS)]


def party(who: str, form: Form, claim: Claim) -> Iterator[str]:
    """What a claim of this kind must name, or must not."""
    if form.kind == "defense" and claim.attack is None:
        yield f"{who}, attack is missing: which attack does the defense meet?"
    if form.kind == "defense" and claim.defenses:
        yield f"{who}, defenses: a defense's claim is of the defense alone; leave that out"
    if form.kind == "attack" and claim.attack not in (None, form.slug):
        yield f"{who}, attack is this submission itself; leave that out"


def scenario(who: str, form: Form, claim: Claim, submitted: Mapping[str, Form]) -> Iterator[str]:
    """Parties that do not meet in one scenario."""
    (learns,) = declared("victims", claim.victim)
    if learns not in form.card.scenarios:
        yield f"{who}, victim: {claim.victim} belongs to {learns}; the card has {listed(form.card.scenarios)}"
    others = [("attacks", claim.attack)] if claim.attack and form.kind == "defense" else []
    for kind, name in [*others, *(("defenses", defense) for defense in claim.defenses)]:
        acts = submitted[name].card.scenarios if name in submitted else declared(kind, name)
        if learns not in acts:
            yield f"{who}: {name} acts in {listed(acts)}; victim {claim.victim} belongs to {learns}"


def settings(who: str, form: Form, claim: Claim) -> Iterator[str]:
    """Parameters of a part that the cell does not have; those of the submission are its params."""
    for name in claim.set_:
        part, dot, parameter = name.partition(".")
        if part == form.slug or (part == form.kind and form.kind == "attack"):
            yield f"{who}, set: {name} is a parameter of the submission; say it in params"
        elif not dot or not parameter.isidentifier() or part not in (*PARTS, *claim.defenses):
            yield f"{who}, set: {ascii(name)[1:-1]}: expected part.parameter, part being one of {listed(PARTS)}"


def declared(kind: str, name: str) -> tuple[str, ...]:
    """The scenarios on the card of one of ours, from its text: importing it would take as long as PyTorch does."""
    singular = kind.rstrip("s")
    for node in ast.walk(places.parsed(registry.place(kind, name).path)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == singular:
            words = {word.arg: literal(word.value) for word in node.keywords}
            if found := words.get("scenarios") or words.get("scenario"):
                return (found,) if isinstance(found, str) else tuple(found)
    return registry.find(kind, name).card.scenarios
