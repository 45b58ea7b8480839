"""What is asked of every plug-in: that it says what it is, and that its parameters can be set and are checked."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, cast, get_args

from molebench import registry
from molebench.errors import MolebenchError
from molebench.grid import PROFILES
from molebench.questions.bench import Subject, needed
from molebench.registry import Parameter, Plugin
from molebench.types import MODALITIES

SCENARIOS = frozenset({"offline", "continual", "active"})
WRONG: tuple[Any, ...] = ([], {"a": 1}, float("nan"))
CANDIDATES = ("given", 1, 0.5, True)  # one of them is allowed by most annotations


def its_first_line_is_a_short_sentence(subject: Subject) -> Iterator[str]:
    """The line that `molebench list` shows."""
    line = subject.plugin.doc.split("\n", 1)[0]
    if not 10 <= len(line) <= 120:
        yield f"it has {len(line)} characters; expected 10 to 120"
    if not (line[:1].isupper() or line[:1].isdigit()) or not line.endswith((".", "?", "!")):
        yield f"{line!r} does not begin with a capital and end with a full stop"


def it_says_where_it_is_from(subject: Subject) -> Iterator[str]:
    """A reference, a licence for data, and scenarios that exist."""
    kind, card = subject.plugin.kind, subject.plugin.card
    if len(card.paper) <= 4:
        yield f"paper={card.paper!r} names no reference"
    if kind in ("dataset", "extractor") and not card.licence:
        yield "it names no licence"
    if kind in ("attack", "victim", "defense") and not (card.scenarios and set(card.scenarios) <= SCENARIOS):
        yield f"its scenarios are {card.scenarios}; expected some of {', '.join(sorted(SCENARIOS))}"


def it_is_a_frozen_dataclass(subject: Subject) -> Iterator[str]:
    """Its fields are its parameters, and nothing changes them."""
    made = made_by(subject.plugin)
    if not dataclasses.is_dataclass(made):
        yield f"{made.__name__} is no dataclass"
    elif not getattr(made, "__dataclass_params__").frozen:  # noqa: B009 - mypy does not know it
        yield f"{made.__name__} is not frozen: write @dataclass(frozen=True)"


def made_by(plugin: Plugin) -> type:
    """The class behind a plug-in."""
    made: Any = plugin.make.func if isinstance(plugin.make, functools.partial) else plugin.make
    return cast("type", made)


def every_parameter_says_what_it_means_and_what_is_allowed(subject: Subject) -> Iterator[str]:
    """One sentence of the class docstring for each field: `name: meaning.`"""
    for parameter in subject.plugin.parameters.values():
        if len(parameter.meaning) <= 4 or parameter.meaning == parameter.name:
            yield f"the class docstring does not say what {parameter.name} is: write '{parameter.name}: ...'"
        if not parameter.allowed or parameter.annotation is Any:
            yield f"the annotation of {parameter.name} allows anything"


def every_default_and_profile_value_passes_its_own_check(subject: Subject) -> Iterator[str]:
    """Nothing but what a user might type."""
    plugin = subject.plugin
    for p in (p for p in plugin.parameters.values() if not p.required):
        kept = registry.checked(f"{plugin.kind} {plugin.name}", p, p.default)
        if (kept, type(kept)) != (p.default, type(p.default)):
            yield f"the default of {p.name} is {p.default!r}, which its annotation turns into {kept!r}"
    for profile in PROFILES:
        values = plugin.resolve(something(plugin), profile)
        if any(values[name] != size for name, size in plugin.card.profiles.get(profile, {}).items()):
            yield f"a size of profile {profile} is changed by its own annotation"
        plugin.build(values)


def profiles_are_known_and_set_only_parameters_that_there_are(subject: Subject) -> Iterator[str]:
    """tiny, small and paper set sizes, and sizes only."""
    for name, sizes in subject.plugin.card.profiles.items():
        if name not in PROFILES:
            yield f"there is no profile {name!r}; allowed: {', '.join(PROFILES)}"
        if wrong := sorted(set(sizes) - set(subject.plugin.parameters)):
            yield f"profile {name} sets {', '.join(wrong)}, which is no parameter"
    for name, values in subject.plugin.card.by_modality.items():
        if name not in MODALITIES:
            yield f"there is no modality {name!r}; allowed: {', '.join(MODALITIES)}"
        if wrong := sorted(set(values) - set(subject.plugin.parameters)):
            yield f"its values for {name} set {', '.join(wrong)}, which is no parameter"


def a_parameter_without_a_default_is_asked_for_by_name(subject: Subject) -> Iterator[str]:
    """The error says what to type."""
    plugin, values = subject.plugin, something(subject.plugin)
    for name in needed(plugin):
        said = refusal(plugin, {k: v for k, v in values.items() if k != name})
        if f".{name}=" not in said or "needs --set" not in said:
            yield f"without {name} it says {said!r}"


def a_value_of_the_wrong_type_is_refused_and_its_parameter_named(subject: Subject) -> Iterator[str]:
    """Lists, mappings and NaN are nobody's parameters."""
    plugin = subject.plugin
    for name in plugin.parameters:
        for wrong in WRONG:
            said = refusal(plugin, {**something(plugin), name: wrong})
            if f"{plugin.name}: {name} = " not in said or "expected" not in said or "\n" in said:
                yield f"{name}={wrong!r} is {'accepted' if not said else f'answered {said!r}'}"


def an_unknown_parameter_is_refused(subject: Subject) -> Iterator[str]:
    """A slip in a name is never silent."""
    if "named 'nonsense'" not in refusal(subject.plugin, {"nonsense": 1}):
        yield "it accepts nonsense=1"


def refusal(plugin: Plugin, values: dict[str, Any]) -> str:
    """What it says of values that it does not take; '' where it takes them."""
    try:
        plugin.resolve(values, "small")
    except MolebenchError as error:
        return str(error)
    return ""


def something(plugin: Plugin) -> dict[str, Any]:
    """A value for each parameter that has no default."""
    return {name: allowed(plugin, plugin.parameters[name]) for name in needed(plugin)}


def allowed(plugin: Plugin, parameter: Parameter) -> Any:
    """Any value that a parameter takes."""
    words = [a for a in get_args(parameter.annotation) if isinstance(a, str)]
    for value in (*words, *CANDIDATES):
        if not refusal_of(plugin, parameter, value):
            return value
    raise MolebenchError(f"nothing was found that {parameter.name} ({parameter.allowed}) takes; give it a default")


def refusal_of(plugin: Plugin, parameter: Parameter, value: Any) -> str:
    """What is said of one value; '' where it is taken."""
    try:
        registry.checked(plugin.name, parameter, value)
    except MolebenchError as error:
        return str(error)
    return ""
