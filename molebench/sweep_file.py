"""A sweep file: what to run, as lists whose product it is, with lists that vary together and cells to leave out.

    attack: [none, {feature_collision: {steps: [50, 250]}}]     # parameters of one entry alone
    victim: al_resnet50                                         # one item stands for a list of one
    set: {victim.head: [nn1, nn2]}                              # parameters of every cell that has them
    zip: {seed: [0, 1], victim.seed: [10, 11]}                  # varies together
    exclude: [{attack: none, victim.head: nn2}]

docs/sweeps.md has the whole format; benchmarks/sweep.schema.json is its JSON Schema.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from molebench.axes import (
    AXES,
    PARTS,
    Datasets,
    DistinctSeeds,
    Entries,
    Entry,
    Exclude,
    Excludes,
    Name,
    Pipelines,
    Row,
    Values,
    Zip,
    own_parameters,
)
from molebench.crossing import Crossing, Grid, Names, applies, crossed, settable
from molebench.errors import MolebenchError, listed, unknown
from molebench.grid import MODELS, PROFILES, Cell, Lookup, Profile
from molebench.published import Published, PublishedRow, Scalar
from molebench.strict_yaml import load_mapping

MOST_CELLS = 1_000_000


class Sweep(BaseModel):
    """A grid of cells: every combination of the listed values that goes together. `set` maps 'part.parameter' to
    values. `zip`: lists that vary together. `exclude`: cells to leave out.

    published: what a paper reports of these cells, to be shown beside them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: Name
    """What it is called; the file's name where it says nothing."""
    attack: Entries = []
    """Attacks, each a name or {NAME: {parameter: values}}."""
    victim: Entries = []
    """Victims, likewise."""
    dataset: Datasets = [Entry(name="")]
    """Datasets, likewise; null is each victim's own."""
    defense: Pipelines = [[]]
    """Defenses; a list in the list is several that act together, none is no defense."""
    profile: Profile = "small"
    """Sizes."""
    seed: DistinctSeeds = [0]
    """Trials."""
    set: dict[str, Values] = {}
    """part.parameter to values, for every cell that has the parameter."""
    zip: Zip = Zip()
    """Axes and parameters that vary together: lists of one length."""
    exclude: Excludes = []
    """Cells to leave out, by axis and parameter."""
    published: Published | None = None
    """What a paper reports of these cells."""

    @model_validator(mode="after")
    def _whole(self) -> "Sweep":
        for check in CHECKS:
            check(self)
        return self

    @property
    def lists(self) -> dict[str, list[Any]]:
        """What varies on its own, slowest first: seeds, models, plug-ins, parameters."""
        models = {name: values for name, values in self.set.items() if name == MODELS}
        parts = {axis: getattr(self, axis) for axis in ("victim", "dataset", "attack", "defense")}
        found = {"seed": self.seed, **models, **parts, **self.set}
        return {name: values for name, values in found.items() if name not in self.zip.lists}

    @property
    def axes(self) -> list[list[Row]]:
        """The rows of each axis, slowest first; lists that vary together stand where the slowest of them would."""
        order = ["seed", MODELS, "victim", "dataset", "attack", "defense"]
        first = min((order.index(name) for name in self.zip.lists if name in order), default=len(order))
        found = {name: [{name: value} for value in values] for name, values in self.lists.items()}
        before = [found.pop(name) for name in order[:first] if name in found]
        return [*before, *([self.zip.rows] if self.zip.lists else []), *found.values()]

    @property
    def shared(self) -> dict[str, list[Scalar]]:
        """The parameters that reach every cell that has them, with their values."""
        return self.set | {name: values for name, values in self.zip.lists.items() if name not in AXES}

    @property
    def attacks(self) -> list[str]:
        """The names of its attacks."""
        return [each.name for each in self.zip.attack or self.attack]

    @property
    def victims(self) -> list[str]:
        """The names of its victims."""
        return [each.name for each in self.zip.victim or self.victim]

    @property
    def datasets(self) -> list[str]:
        """The names of its datasets; '' is a victim's own."""
        return [each.name for each in self.zip.dataset or self.dataset]

    def crossed(self, lookup: Lookup | None = None) -> Crossing:
        """Its cells, and the combinations that are none because their parts do not go together."""
        seeds = () if self.zip.seed else tuple(self.seed)
        axes = [axis for axis in self.axes if self.zip.seed or "seed" not in axis[0]]
        grid = Grid(self.name, axes, seeds, frozenset(self.shared), self.exclude, self.profile)
        return crossed(grid, lookup or Lookup())

    def cells(self) -> Iterator[Cell]:
        """Every cell; seeds vary slowest, then models, so that one trial of everything is there first.

        A parameter applies to the cells that have it: `attack.steps` is left out where the attack has none. One
        that no cell has is an error.
        """
        found = self.crossed().combinations
        for seed in [None] if self.zip.seed else self.seed:
            yield from (each.at(s) for each in found for s in each.seeds if seed in (None, s))

    def published_cells(self, row: PublishedRow, attack: str, dataset: str) -> Iterator[Cell]:
        """A row's cell over the sweep's trials: every seed with every model that it lists."""
        wanted = {"seed"} if MODELS in row.set else {"seed", MODELS}
        axes = ([{n: v for n, v in each.items() if n in wanted} for each in axis] for axis in self.axes)
        for trial in itertools.product(*(distinct(axis) for axis in axes)):
            at = {name: value for each in trial for name, value in each.items()}
            yield self.published_cell(row, attack, dataset, at.pop("seed"), at)

    def published_cell(
        self, row: PublishedRow, attack: str, dataset: str, seed: int, more: Mapping[str, Scalar] | None = None
    ) -> Cell:
        """The cell of ours that a published row is about, or with another attack its control.

        Its parameters are the sweep's (of several values the first), then the row's own, then `more`, less those that
        this attack or victim does not have.
        """
        lookup = Lookup()
        for name in row.set:
            if not any(applies(name, Names(a, row.victim, dataset), lookup) for a in self.attacks):
                raise unknown(f"parameter of the published row {row.title!r}", name, settable(lookup))
        names = Names(attack, row.victim, dataset)
        usual = {name: values[0] for name, values in (self.shared | self.own(names)).items()}
        given = usual | row.set | dict(more or {})
        ours = {name: value for name, value in given.items() if applies(name, names, lookup)}
        return Cell(attack=attack, victim=row.victim, dataset=dataset, parameters=ours, profile=self.profile, seed=seed)

    def own(self, names: Names) -> dict[str, list[Scalar]]:
        """What the entries of these plug-ins bring with them."""
        found: dict[str, list[Scalar]] = {}
        for axis in ("attack", "victim", "dataset"):
            for each in self.zip.lists.get(axis) or getattr(self, axis):
                if each.name == getattr(names, axis):
                    for name, values in own_parameters({axis: each}).items():
                        found.setdefault(name, []).extend(values)
        return found


def distinct(rows: list[Row]) -> list[Row]:
    """The rows, each once."""
    return list({repr(row): row for row in rows}.values())


# What pydantic cannot see: how the keys of a sweep go together


def _complete(sweep: Sweep) -> None:
    """Every name is an axis or a part.parameter, and every axis has its names."""
    for name in sweep.set:
        if not all(name.partition(".")):
            raise ValueError(f"set: {name}: expected part.parameter, such as attack.{name}")
    for where, names in (("zip", sweep.zip.lists), *(("exclude", rule.named) for rule in sweep.exclude)):
        if strange := [name for name in names if name not in AXES and not all(name.partition("."))]:
            raise ValueError(f"{where}: {unknown('axis', strange[0], AXES)}, nor is it part.parameter")
    if not all(rule.named for rule in sweep.exclude):
        raise ValueError("exclude: one of its mappings is empty; expected what to leave out, such as {attack: none}")
    for axis in ("attack", "victim"):
        if not getattr(sweep, axis) and axis not in sweep.zip.lists:
            raise ValueError(f"{axis}: it is missing; name one {axis} or several")


def _zipped(sweep: Sweep) -> None:
    """Lists that vary together have one length, and nothing else varies what they vary."""
    lists = sweep.zip.lists
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in lists.items())
        raise ValueError(f"zip: lists that vary together have one length; {lengths}")
    if twice := [name for name in lists if name in sweep.set or name in sweep.model_fields_set]:
        where = "set" if twice[0] in sweep.set else "a list of its own"
        raise ValueError(f"{twice[0]} is given in zip and in {where}; give it once")
    if len(distinct(sweep.zip.rows)) < len(sweep.zip.rows):
        raise ValueError("zip: one of its rows comes twice; each must differ")


def _once(sweep: Sweep) -> None:
    """What an entry brings with it is given nowhere else, and what is excluded varies."""
    mine = {name: axis for axis in PARTS for name in own_names(sweep, axis)}
    if twice := [name for name in mine if name in sweep.shared]:
        raise ValueError(f"{twice[0]} is given with an entry of {mine[twice[0]]} and for every cell; give it once")
    for rule in sweep.exclude:
        if strange := [name for name in rule.named if name not in {*AXES, *mine, *sweep.shared}]:
            raise ValueError(str(unknown("axis or parameter of this sweep", strange[0], {*AXES, *mine, *sweep.shared})))


def _small(sweep: Sweep) -> None:
    """As many cells as anyone can run."""
    if (count := size(sweep)) > MOST_CELLS:
        raise ValueError(f"its lists make {count} cells; at most {MOST_CELLS} are allowed: split it into several files")


def size(sweep: Sweep) -> int:
    """How many cells its lists make, counted and not enumerated."""
    return math.prod(sum(math.prod(map(len, own_parameters(row).values())) for row in axis) for axis in sweep.axes)


def own_names(sweep: Sweep, axis: str) -> list[str]:
    """The parameters that the entries of an axis bring with them."""
    entries = sweep.zip.lists.get(axis) or getattr(sweep, axis)
    return [name for each in entries for name in own_parameters({axis: each})]


def _published(sweep: Sweep) -> None:
    """Each published row is about one cell of the sweep, over its trials."""
    if (table := sweep.published) is None:
        return
    for attack in (table.attack, *table.attacks):
        if attack not in sweep.attacks:
            raise ValueError(f"published.attack {attack!r} is none of this sweep's ({listed(sweep.attacks)})")
    trials = {name: values for name, values in sweep.shared.items() if name != MODELS}
    for row in table.rows:
        for name, values in (trials | sweep.own(Names(table.attack_of(row), row.victim, ""))).items():
            if len(values) > 1 and name not in row.set:
                raise ValueError(f"the published row {row.title!r} must say in its `set` which {name} it is about")


CHECKS = (_complete, _zipped, _once, _small, _published)


# Reading


def load_sweep(path: Path, profile: str | None = None) -> Sweep:
    """A sweep file; scalars stand for lists of one. profile: in place of the file's own, where given."""
    content = load_mapping(path, "sweep", listed(Sweep.model_fields))
    if profile is not None and profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    try:
        return Sweep.model_validate({"name": path.stem, **content, **({"profile": profile} if profile else {})})
    except ValidationError as error:
        raise MolebenchError(f"sweep {path.name}: {_fault(error)}") from error


def schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    found = Sweep.model_json_schema()
    del found["required"]  # the name is the file's where it is not given
    found["properties"]["dataset"]["default"] = None
    named = [
        {"anyOf": [{"required": [axis]}, {"required": ["zip"], "properties": {"zip": {"required": [axis]}}}]}
        for axis in ("attack", "victim")
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "allOf": named}


LEVELS: dict[str, type[BaseModel]] = {"zip": Zip, "exclude": Exclude, "published": Published, "rows": PublishedRow}
TAGS = ("bool", "int", "float", "str", "none")  # pydantic's, of the alternatives of a value
WORDS = {
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "list_type": "expected a list",
    "too_short": "expected one item or more",
    "missing": "it is missing",
}


def _fault(error: ValidationError) -> str:
    """Where a sweep file is wrong, what came, and the nearest key where one is unknown."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in TAGS]
    if first["type"] == "extra_forbidden":
        *place, key = where
        level = next((LEVELS[part] for part in reversed(place) if part in LEVELS), Sweep)
        return ": ".join(filter(None, [".".join(place), str(unknown("key", key, level.model_fields))]))
    said = WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
    came = f" (got {first['input']!r})" if where else ""  # otherwise it is between keys, and the message says it
    return ": ".join(filter(None, [".".join(where), said])) + (came if len(came) <= 100 else "")
