"""What is asked of every attack, victim and defense in the end: a run of seconds, from the cell to its record."""

from collections.abc import Iterator

from molebench import registry
from molebench.errors import listed
from molebench.grid import Cell
from molebench.published import Scalar
from molebench.questions.bench import STEPS, NotAsked, Subject, needed
from molebench.registry import Plugin

VICTIM = {"active": "al_efficientnet_lite0"}  # who plays against a plug-in of this scenario
ATTACK = {"active": "unperturbed"}
SIZES: dict[str, dict[str, Scalar]] = {
    "victim": {"queries": 10, "query_batch": 5, "pool": 160, "epochs": 5},
    "attack": {"n_poison": 10, "steps": STEPS},
    "defense": {"steps": STEPS},
}


def its_dataset_and_extractor_are_there(subject: Subject) -> Iterator[str]:
    """The names on a victim's card."""
    card, make = subject.plugin.card, subject.plugin.make
    registry.place("datasets", str(card.dataset))
    if name := getattr(make, "keywords", {}).get("extractor"):
        registry.place("extractors", name)
    yield from ()


def a_tiny_run_with_it_gives_a_valid_record(subject: Subject) -> Iterator[str]:
    """Everything that `molebench run` does, at the smallest sizes, in a store that is thrown away."""
    if missing := needed(subject.plugin):
        raise NotAsked(f"needs a value of {listed(missing)}, which has no default")
    record = subject.bench.record(tiny(subject.plugin))
    if record.status == "invalid":
        yield f"its record is invalid: {'; '.join(record.warnings)}"
    if str(subject.plugin.place.path.parent) in record.text():
        yield "its record holds a path of this machine"


def tiny(plugin: Plugin) -> Cell:
    """The smallest cell in which this plug-in takes part."""
    known = [s for s in plugin.card.scenarios if s in VICTIM]
    if not known:
        raise NotAsked(f"acts in {', '.join(plugin.card.scenarios)}; tiny runs are of {', '.join(VICTIM)}")
    names = {"victim": VICTIM[known[0]], "attack": ATTACK[known[0]]} | {plugin.kind: plugin.name}
    parts = {part: registry.find(f"{part}s", name) for part, name in names.items()}
    sizes = {
        f"{plugin.name if part == 'defense' else part}.{name}": value
        for part, found in parts.items()
        for name, value in SIZES[part].items()
        if name in found.parameters
    }
    defenses = (plugin.name,) if plugin.kind == "defense" else ()
    return Cell(attack=names["attack"], victim=names["victim"], defenses=defenses, parameters=sizes, profile="tiny")
