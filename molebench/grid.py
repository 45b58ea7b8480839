"""What to run: a Cell by names and parameters, a Sweep as a product of lists, and the key of each.

A cell's key is the sha256 of the canonical JSON of its *resolved* form: every parameter of every component,
whether given, set by the profile or left at its default. A display string is never a key.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from molebench import registry
from molebench.cards import Whole
from molebench.compatible import check_dataset, check_scenario
from molebench.errors import MolebenchError, listed, unknown
from molebench.published import Published, PublishedRow, Scalar
from molebench.registry import Parameter, Plugin
from molebench.stages import key
from molebench.workspace import file_fact

Profile = Literal["tiny", "small", "paper"]
PROFILES: tuple[Profile, ...] = ("tiny", "small", "paper")
MODELS = "victim.seed"  # fixes the model while the cell's seed varies the draw: both together are a trial


class Cell(BaseModel):
    """One experiment, as a user names it. parameters: 'part.name' to value, as `--set` takes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attack: str
    victim: str
    dataset: str | None = None
    defenses: tuple[str, ...] = ()
    parameters: Mapping[str, Scalar] = Field(default_factory=dict)
    profile: Profile = "small"
    seed: Whole = 0

    @field_validator("defenses")
    @classmethod
    def _without_none(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name != "none")  # one cell, one spelling


@dataclass(frozen=True)
class Part:
    """A component of a resolved cell: its plug-in, every parameter, and those parameters fit to publish."""

    plugin: Plugin
    values: dict[str, Any]
    public: dict[str, Any]

    @property
    def name(self) -> str:
        """The plug-in's name."""
        return self.plugin.name

    def build(self) -> Any:
        """The component itself."""
        return self.plugin.build(self.values)


@dataclass(frozen=True)
class Resolved:
    """A cell with every name looked up and every parameter known."""

    cell: Cell
    parts: dict[str, Part]  # dataset, attack, victim; an extractor or a scorer where there is one
    defenses: tuple[Part, ...]

    @property
    def scenario(self) -> str:
        """The one scenario of the victim."""
        return self.parts["victim"].plugin.card.scenarios[0]

    @property
    def modality(self) -> str:
        """What the victim deals with, and so the cell."""
        return self.parts["victim"].plugin.card.modality

    @property
    def canonical(self) -> dict[str, Any]:
        """What the key is over: names and published parameters, no path of this machine."""
        named = {role: {"name": part.name, "parameters": part.public} for role, part in self.parts.items()}
        defenses = [{"name": part.name, "parameters": part.public} for part in self.defenses]
        return {**named, "defenses": defenses, "profile": self.cell.profile, "seed": self.cell.seed}

    @property
    def key(self) -> str:
        """Names the cell, and its folder."""
        return key(self.canonical)

    @property
    def group(self) -> str:
        """The key of the same cell whatever its seed: what a table averages over."""
        return key({k: v for k, v in self.canonical.items() if k != "seed"})


def resolve(cell: Cell) -> Resolved:
    """Looks up and checks everything a cell names; a user's mistake is one clear line."""
    victim = registry.find("victims", cell.victim)
    attack = registry.find("attacks", cell.attack)
    dataset = registry.find("datasets", cell.dataset or str(victim.card.dataset))
    defenses = [registry.find("defenses", name) for name in cell.defenses]
    for plugin in (attack, *defenses):
        check_scenario(plugin, victim)
    check_dataset(victim, dataset)
    plugins = {"dataset": dataset, "attack": attack, "victim": victim}
    if name := getattr(victim.make, "keywords", {}).get("extractor"):
        plugins["extractor"] = registry.find("extractors", name)
    plugins |= named_by(attack, cell, victim.card.modality)
    given = _by_part(cell.parameters, [*plugins, *cell.defenses])

    def part(plugin: Plugin, name: str) -> Part:
        return _part(plugin, given.get(name, {}), cell.profile, victim.card.modality)

    return Resolved(cell, {r: part(p, r) for r, p in plugins.items()}, tuple(part(d, d.name) for d in defenses))


def named_by(attack: Plugin, cell: Cell, modality: str) -> dict[str, Plugin]:
    """The plug-ins that an attack's parameters name, such as its scorer, by role."""
    named = [p for p in attack.parameters.values() if p.names]
    if not named:
        return {}
    given = {name.removeprefix("attack."): v for name, v in cell.parameters.items() if name.startswith("attack.")}
    values = attack.resolve(given, cell.profile, modality)
    return {p.names.rstrip("s"): registry.find(p.names, values[p.name]) for p in named}


def _by_part(parameters: Mapping[str, Scalar], parts: list[str]) -> dict[str, dict[str, Scalar]]:
    given: dict[str, dict[str, Scalar]] = {}
    for name, value in parameters.items():
        part, dot, parameter = name.partition(".")
        if not dot:
            raise MolebenchError(f"--set {name}={value}: expected part.parameter=value, such as {parts[1]}.{name}=...")
        if part not in parts:
            raise unknown("part of this cell", part, parts)
        given.setdefault(part, {})[parameter] = value
    return given


def _part(plugin: Plugin, given: Mapping[str, Any], profile: str, modality: str) -> Part:
    values = plugin.resolve(given, profile, modality)
    who = f"{plugin.kind} {plugin.name}"
    public = {p.name: published(who, p, values[p.name]) for p in plugin.parameters.values()}
    return Part(plugin, values, public)


def published(who: str, parameter: Parameter, value: Any) -> Any:
    """A path as name and sha256 of what is there, so that no record or key holds a path of this machine."""
    if not parameter.is_path or value in parameter.words:
        return value
    try:
        path = Path(value).expanduser().resolve()
        fact = file_fact(path) if path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:
        raise MolebenchError(f"{who}: {parameter.name} = {value!r} cannot be read: {error}") from error
    if fact is None:
        raise MolebenchError(
            f"{who}: {parameter.name} = {value!r}: there is no such file or folder; "
            f"expected {' or '.join((*parameter.words, 'a path that exists'))}"
        )
    return f"{path.name}@sha256:{fact.sha256}"


Item = TypeVar("Item")
Several = Annotated[list[Item], Field(min_length=1)]


class Sweep(BaseModel):
    """A grid: every combination of the listed values. `set` maps 'part.parameter' to a list of values.

    published: what a paper reports of these cells, to be shown beside them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    attack: Several[str]
    victim: Several[str]
    dataset: Several[str | None] = [None]
    defense: Several[list[str]] = [[]]
    profile: Profile = "small"
    seed: Several[Whole] = [0]
    set: dict[str, Several[Scalar]] = {}
    published: Published | None = None

    @model_validator(mode="after")
    def _each_published_row_is_one_cell(self) -> "Sweep":
        if self.published is None:
            return self
        for attack in (self.published.attack, *self.published.attacks):
            if attack not in self.attack:
                raise ValueError(f"published.attack {attack!r} is none of this sweep's ({listed(self.attack)})")
        for row in self.published.rows:
            for name, values in self.set.items():
                if len(values) > 1 and name not in row.set and name != MODELS:
                    raise ValueError(f"the published row {row.title!r} must say in its `set` which {name} it is about")
        return self

    def published_cells(self, row: PublishedRow, attack: str, dataset: str) -> Iterator[Cell]:
        """A row's cell over the sweep's trials: every seed with every model that it lists."""
        models = [] if MODELS in row.set else self.set.get(MODELS, [])
        for seed, model in itertools.product(self.seed, models or [None]):
            yield self.published_cell(row, attack, dataset, seed, {MODELS: model} if models else {})

    def published_cell(
        self, row: PublishedRow, attack: str, dataset: str, seed: int, more: Mapping[str, Scalar] | None = None
    ) -> Cell:
        """The cell of ours that a published row is about, or with another attack its control.

        Its parameters are the sweep's (of several values the first), then the row's own, then `more`, less those that
        this attack or victim does not have.
        """
        for name in row.set:
            if not any(applies(name, a, row.victim) for a in self.attack):
                raise unknown(f"parameter of the published row {row.title!r}", name, self._parameters())
        given = {name: values[0] for name, values in self.set.items()} | row.set | dict(more or {})
        ours = {name: value for name, value in given.items() if applies(name, attack, row.victim)}
        return Cell(attack=attack, victim=row.victim, dataset=dataset, parameters=ours, profile=self.profile, seed=seed)

    def cells(self) -> Iterator[Cell]:
        """Every cell; seeds vary slowest, then models, so that one trial of everything is there first.

        A parameter applies to the cells that have it: `attack.steps` is left out where the attack has none. One
        that no cell has is an error.
        """
        for name in self.set:
            if not any(applies(name, a, v) for a in self.attack for v in self.victim):
                raise unknown(f"parameter of any attack or victim of sweep {self.name}", name, self._parameters())
        seen = set()
        models: dict[str, list[Any]] = {name: values for name, values in self.set.items() if name == MODELS}
        parts = {"victim": self.victim, "dataset": self.dataset, "attack": self.attack, "defense": self.defense}
        axes: dict[str, Any] = {"seed": self.seed, **models, **parts, **self.set}
        for values in itertools.product(*axes.values()):
            at: dict[str, Any] = dict(zip(axes, values, strict=True))
            cell = Cell(
                attack=at["attack"],
                victim=at["victim"],
                dataset=at["dataset"],
                defenses=tuple(at["defense"]),
                parameters={name: at[name] for name in self.set if applies(name, at["attack"], at["victim"])},
                profile=self.profile,
                seed=at["seed"],
            )
            if (text := cell.model_dump_json()) not in seen:
                seen.add(text)
                yield cell

    def _parameters(self) -> list[str]:
        plugins = [registry.find("attacks", a) for a in self.attack] + [
            registry.find("victims", v) for v in self.victim
        ]
        return sorted({f"{p.kind}.{name}" for p in plugins for name in p.parameters})


def applies(parameter: str, attack: str, victim: str) -> bool:
    """False only for an attack's or victim's parameter that this one does not have, but a sibling may."""
    part, _, name = parameter.partition(".")
    kinds = {"attack": ("attacks", attack), "victim": ("victims", victim)}
    if part == "scorer":
        return any(p.names == "scorers" for p in registry.find("attacks", attack).parameters.values())
    return part not in kinds or name in registry.find(*kinds[part]).parameters


class _NoDuplicates(yaml.SafeLoader):
    """PyYAML's safe loader, less its silence about a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice.pop()} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_sweep(path: Path) -> Sweep:
    """A sweep file; scalars stand for lists of one."""
    try:
        content = _NoDuplicates(path.read_text("utf-8")).get_single_data()
        if not isinstance(content, dict):
            raise MolebenchError(f"sweep {path.name} holds no mapping; expected keys such as {listed(_keys())}")
        return Sweep.model_validate({k: _listed(k, v) for k, v in {"name": path.stem, **content}.items()})
    except OSError as error:
        raise MolebenchError(f"cannot read sweep {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MolebenchError(f"sweep {path.name} is not YAML: {' '.join(str(error).split())[:200]}") from error
    except ValidationError as error:
        raise MolebenchError(f"sweep {path.name}: {_fault(error)}") from error


def _fault(error: ValidationError) -> str:
    """Where a sweep file is wrong, what came, and which keys there are at that place."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if not where:  # what is wrong is between two keys, and the message says it
        return first["msg"].removeprefix("Value error, ")
    level = PublishedRow if where.startswith("published.rows.") else Published if "published." in where else Sweep
    came = repr(first["input"])
    came = came if len(came) <= 100 else f"{came[:100]}..."
    return f"{where}: {first['msg']} (got {came}); keys are {listed(level.model_fields, 12)}"


def _keys() -> list[str]:
    return list(Sweep.model_fields)


def _listed(name: str, value: Any) -> Any:
    if name in ("name", "profile", "published"):
        return value
    if name == "set" and isinstance(value, dict):
        return {k: v if isinstance(v, list) else [v] for k, v in value.items()}
    if name == "defense":
        value = value if isinstance(value, list) else [value]
        return [v if isinstance(v, list) else [] if v == "none" else [v] for v in value]
    return value if isinstance(value, list) else [value]
