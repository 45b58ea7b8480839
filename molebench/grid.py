"""What to run: a Cell by names and parameters, what it stands for, and its key.

A cell's key is the sha256 of the canonical JSON of its *resolved* form: every parameter of every component,
whether given, set by the profile or left at its default. A display string is never a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from molebench import registry
from molebench.cards import Whole
from molebench.compatible import check_dataset, check_scenario
from molebench.errors import MolebenchError, unknown
from molebench.published import Scalar
from molebench.registry import Parameter, Plugin
from molebench.stages import canonical, key
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


@dataclass(frozen=True)
class Lookup:
    """Plug-ins and parts, each looked up once for all the cells that share it.

    For one command: between two a user may edit a plug-in, or a file that a parameter names.
    """

    plugins: dict[tuple[str, str], Plugin] = field(default_factory=dict)
    fields: dict[tuple[str, str], dict[str, Parameter]] = field(default_factory=dict)
    parts: dict[tuple[str, ...], Part] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Plugin:
        """A plug-in by name."""
        if (kind, name) not in self.plugins:
            self.plugins[kind, name] = registry.find(kind, name)
        return self.plugins[kind, name]

    def parameters(self, kind: str, name: str) -> dict[str, Parameter]:
        """The parameters of a plug-in."""
        if (kind, name) not in self.fields:
            self.fields[kind, name] = self.find(kind, name).parameters
        return self.fields[kind, name]

    def part(self, plugin: Plugin, given: Mapping[str, Any], profile: str, modality: str) -> Part:
        """A component with every parameter that is given, set by the profile or left at its default."""
        known_by = (plugin.kind, plugin.name, canonical(dict(given)), profile, modality)
        if known_by not in self.parts:
            self.parts[known_by] = _part(plugin, given, profile, modality)
        return self.parts[known_by]


def resolve(cell: Cell, lookup: Lookup | None = None) -> Resolved:
    """Looks up and checks everything a cell names; a user's mistake is one clear line."""
    lookup = lookup or Lookup()
    victim, attack = lookup.find("victims", cell.victim), lookup.find("attacks", cell.attack)
    dataset = lookup.find("datasets", cell.dataset or str(victim.card.dataset))
    defenses = [lookup.find("defenses", name) for name in cell.defenses]
    for plugin in (attack, *defenses):
        check_scenario(plugin, victim)
    check_dataset(victim, dataset)
    plugins = {"dataset": dataset, "attack": attack, "victim": victim}
    if name := extractor_of(victim):
        plugins["extractor"] = lookup.find("extractors", name)
    modality = victim.card.modality
    plugins |= named_by(attack, cell, modality, lookup)
    given = _by_part(cell.parameters, [*plugins, *cell.defenses])

    def part(plugin: Plugin, name: str) -> Part:
        return lookup.part(plugin, given.get(name, {}), cell.profile, modality)

    return Resolved(cell, {r: part(p, r) for r, p in plugins.items()}, tuple(part(d, d.name) for d in defenses))


def modules(resolved: Resolved, lookup: Lookup | None = None) -> dict[str, str]:
    """'kind name' of every plug-in that takes part, of the attack's control and of the scenario, to its module."""
    plugins = [part.plugin for part in (*resolved.parts.values(), *resolved.defenses)]
    if name := resolved.parts["attack"].plugin.card.control:
        plugins.append((lookup or Lookup()).find("attacks", name))
    scenario = {f"scenario {resolved.scenario}": f"molebench.scenarios.{resolved.scenario}"}
    return {f"{each.kind} {each.name}": each.module.__name__ for each in plugins} | scenario


def extractor_of(victim: Plugin) -> str:
    """The name of the extractor on which a victim learns; '' where it has none."""
    return str(getattr(victim.make, "keywords", {}).get("extractor", ""))


def named_by(attack: Plugin, cell: Cell, modality: str, lookup: Lookup) -> dict[str, Plugin]:
    """The plug-ins that an attack's parameters name, such as its scorer, by role."""
    named = [p for p in lookup.parameters("attacks", attack.name).values() if p.names]
    if not named:
        return {}
    given = {name.removeprefix("attack."): v for name, v in cell.parameters.items() if name.startswith("attack.")}
    values = lookup.part(attack, given, cell.profile, modality).values
    return {p.names.rstrip("s"): lookup.find(p.names, values[p.name]) for p in named}


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
