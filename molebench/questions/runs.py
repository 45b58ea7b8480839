"""What is asked of every attack, victim and defense in the end: a run of seconds, from the cell to its record."""

from collections.abc import Iterator

from molebench import registry
from molebench.compatible import check_dataset
from molebench.errors import CellFailed, MolebenchError, listed
from molebench.grid import Cell
from molebench.published import Scalar
from molebench.questions.bench import POOL, STEPS, NotAsked, Subject, needed
from molebench.record import Record
from molebench.registry import Plugin

# who plays against a plug-in
VICTIM = {"active": "al_efficientnet_lite0", "offline": "offline_resnet18", "continual": "cl_finetune"}
ATTACK = {"active": "unperturbed", "offline": "mole_recruitment", "continual": "random_recruitment"}
DATASET = {"offline": POOL, "continual": f"split:{POOL}"}  # the victim's own elsewhere
SIZES: dict[str, dict[str, dict[str, Scalar]]] = {
    "active": {
        "victim": {"queries": 10, "query_batch": 5, "pool": 160, "epochs": 5},
        "attack": {"n_poison": 10, "steps": STEPS},
        "defense": {"steps": STEPS},
    },
    "offline": {
        "victim": {"pool": 200, "epochs": 1},
        "attack": {"pairs": "3<5", "n": 5, "unit": 5, "steps": STEPS},
        "defense": {"steps": STEPS},
    },
    "continual": {
        "victim": {"pool": 200, "exam": 100, "epochs": 1, "tasks": 2, "base": 1, "memory": 20},
        "attack": {"n": 5, "unit": 5, "rho_min": 0.0, "scorer": "victim", "steps": STEPS},
        "defense": {"steps": STEPS},
    },
}


def its_dataset_and_extractor_are_there(subject: Subject) -> Iterator[str]:
    """The names on a victim's card."""
    card, make = subject.plugin.card, subject.plugin.make
    check_dataset(subject.plugin, registry.find("datasets", str(card.dataset)))
    if name := getattr(make, "keywords", {}).get("extractor"):
        registry.place("extractors", name)
    yield from ()


def a_tiny_run_with_it_gives_a_valid_record(subject: Subject) -> Iterator[str]:
    """Everything that `molebench run` does, at the smallest sizes, in a store that is thrown away."""
    if missing := needed(subject.plugin):
        raise NotAsked(f"needs a value of {listed(missing)}, which has no default")
    for scenario in subject.tried:
        record = recorded(subject, tiny(subject.plugin, scenario))
        if record.status == "invalid":
            yield f"its record is invalid: {'; '.join(record.warnings)}"
        if str(subject.plugin.place.path.parent) in record.text():
            yield "its record holds a path of this machine"


def recorded(subject: Subject, cell: Cell) -> Record:
    """The record of a cell; what a plug-in's card says that it needs may be missing here."""
    try:
        return subject.bench.record(cell)
    except CellFailed:
        raise
    except MolebenchError as error:
        if needs := subject.plugin.card.needs:
            raise NotAsked(f"needs {listed(needs)}: {error}") from error
        raise


def tiny(plugin: Plugin, scenario: str) -> Cell:
    """The smallest cell of a scenario in which this plug-in takes part."""
    names = {"victim": VICTIM[scenario], "attack": ATTACK[scenario]} | {plugin.kind: plugin.name}
    parts = {part: registry.find(f"{part}s", name) for part, name in names.items()}
    sizes = {
        f"{plugin.name if part == 'defense' else part}.{name}": value
        for part, found in parts.items()
        for name, value in SIZES[scenario][part].items()
        if name in found.parameters
    }
    return Cell(
        attack=names["attack"],
        victim=names["victim"],
        dataset=DATASET.get(scenario),
        defenses=(plugin.name,) if plugin.kind == "defense" else (),
        parameters=sizes,
        profile="tiny",
    )
