"""What the lists of a sweep file hold: names with parameters of their own, pipelines of defenses, plain values.

Users write a list or its one item, a name or a name with parameters; here they become lists of entries. The second
argument of each BeforeValidator is what users write, for the JSON Schema.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from typing_extensions import TypeAliasType

from molebench import published
from molebench.errors import listed

ONE_NAME = "expected a name, or one name with its parameters, such as {NAME: {parameter: [value, value]}}"
PARTS = ("attack", "victim", "dataset", "defense")
AXES = (*PARTS, "seed")
Row = dict[str, Any]  # axis or parameter to one of its values


def value(given: Any) -> Any:
    """A plain value that is finite."""
    if not isinstance(given, bool | int | float | str | None):
        raise ValueError("expected a number, a word, true, false or null, or a list of them")
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError("expected a finite number")
    return given


def several(given: Any) -> Any:
    """A scalar stands for a list of one."""
    return given if isinstance(given, list) else [given]


def entry(given: Any) -> Any:
    """A name, or a mapping of one name to its parameters, as an entry."""
    if isinstance(given, str) and given:
        return {"name": given}
    if isinstance(given, dict) and len(given) == 1:
        ((name, own),) = given.items()
        if name and isinstance(own, dict | None):
            return {"name": name, "own": own or {}}
    raise ValueError(ONE_NAME)


def dataset_entry(given: Any) -> Any:
    """The same; null is the victim's own dataset."""
    return {"name": ""} if given is None else entry(given)


def pipeline(given: Any) -> Any:
    """Defenses that act together, of which one may stand alone; `none` is no defense."""
    return [each for each in several(given) if each != "none"]


def once(seeds: list[int]) -> list[int]:
    """The seeds, refused where one comes twice."""
    if len(set(seeds)) < len(seeds):
        twice, _ = Counter(seeds).most_common(1)[0]
        raise ValueError(f"seed {twice} comes twice in {listed(map(str, seeds))}; a trial counts once")
    return seeds


Item = TypeVar("Item")
Several = Annotated[list[Item], Field(min_length=1)]
Scalar = TypeAliasType("Scalar", published.Scalar)
Scalars = TypeAliasType("Scalars", Scalar | Several[Scalar])
Named = TypeAliasType("Named", Annotated[str, Field(min_length=1)] | dict[str, dict[str, Scalars] | None])
Pipelined = TypeAliasType("Pipelined", Named | list[Named])

Value = Annotated[published.Scalar, BeforeValidator(value, Scalar)]
Values = Annotated[Several[Value], BeforeValidator(several, Scalars)]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[Several[Name], BeforeValidator(several, Name | Several[Name])]
Seed = Annotated[int, Strict(), Field(ge=0)]
Seeds = Annotated[Several[Seed], BeforeValidator(several, Seed | Several[Seed])]


class Entry(BaseModel):
    """A plug-in by name ('' is a victim's own dataset), and parameters that only its own cells have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    own: dict[str, Values] = {}


Plain = Annotated[Entry, BeforeValidator(entry, Named)]
Data = Annotated[Entry, BeforeValidator(dataset_entry, Named | None)]
Pipeline = Annotated[list[Plain], BeforeValidator(pipeline, Pipelined)]
Entries = Annotated[Several[Plain], BeforeValidator(several, Named | Several[Named])]
Datasets = Annotated[Several[Data], BeforeValidator(several, Named | None | Several[Named | None])]
Pipelines = Annotated[Several[Pipeline], BeforeValidator(several, Named | Several[Pipelined])]
DistinctSeeds = Annotated[Seeds, AfterValidator(once)]
PipelineNames = Annotated[tuple[Name, ...], BeforeValidator(pipeline, Name | list[Name])]
SeveralPipelines = Annotated[Several[PipelineNames], BeforeValidator(several, Name | Several[Name | list[Name]])]


class Zip(BaseModel):
    """Lists of one length that vary together, as one axis: of an axis of the sweep, or of a 'part.parameter'."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Values] = Field(init=False)

    attack: Entries | None = None
    victim: Entries | None = None
    dataset: Datasets | None = None
    defense: Pipelines | None = None
    seed: Seeds | None = None

    @property
    def lists(self) -> dict[str, list[Any]]:
        """What varies, by axis or parameter."""
        return {name: values for name, values in self if values is not None}

    @property
    def rows(self) -> list[Row]:
        """One of each list, in step."""
        lists = self.lists
        return [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]


class Exclude(BaseModel):
    """Cells to leave out: those that have, of everything named here, one of the values."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Values] = Field(init=False)

    attack: Names | None = None
    victim: Names | None = None
    dataset: Names | None = None
    defense: SeveralPipelines | None = None
    seed: Seeds | None = None

    @property
    def named(self) -> dict[str, list[Any]]:
        """What is named here, by axis or parameter."""
        return {name: values for name, values in self if values is not None}

    def matches(self, names: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
        """Whether a cell is one of them, whatever its seed. names: its plug-ins by axis."""
        for name, values in self.named.items():
            if name in PARTS and names[name] not in values:
                return False
            if name not in AXES and not (name in parameters and any(same(parameters[name], v) for v in values)):
                return False
        return True

    def __str__(self) -> str:
        """As a user may have written it."""
        words = (f"{name}: {values[0] if len(values) == 1 else values}" for name, values in self.named.items())
        return "{" + ", ".join(words) + "}"


Excludes = Annotated[list[Exclude], BeforeValidator(several, Exclude | list[Exclude])]


def same(one: Any, other: Any) -> bool:
    """Whether two values are one to a parameter: 30, 30.0 and '30' are; 1 and true are not."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    return str(one) == str(other) or (numbers and one == other)


def own_parameters(row: Row) -> dict[str, list[published.Scalar]]:
    """What the entries of a row bring with them: 'part.parameter' to a list of values."""
    return {f"{part}.{name}": values for part, one in _entries(row) for name, values in one.own.items()}


def _entries(row: Row) -> Iterator[tuple[str, Entry]]:
    """The entries of a row, each with the part by which its parameters are named."""
    yield from ((axis, row[axis]) for axis in PARTS if isinstance(row.get(axis), Entry))
    yield from ((each.name, each) for each in row.get("defense", ()))
