"""The card of a plug-in: what it is, what it may do, what it needs; attached where it is defined.

    @attack(paper="arXiv:2101.10792", threat=ThreatModel(...), scenarios=("active",))
    @dataclass(frozen=True)
    class FeatureCollision: ...

The fields of the dataclass are the parameters. A decorator sets one attribute, `card`, and returns what
it was given: there is no list of plug-ins anywhere; a file's name is the plug-in's name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Lt

from molebench.types import ThreatModel

Made = TypeVar("Made", bound=Callable[..., Any])

ANY = "any"  # modality of what takes its kind from the user's files
UNRANKED = frozenset({"labels", "ground_truth", "test_images"})  # what no defense, and no attack, could know

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]


class Names(tuple[str, ...]):
    """Words of a parameter that may also be any other bare name, of letters, digits, - and _, whatever the working
    folder holds: a path has a dot or a slash."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(r"[\w-]+", value))


@dataclass(frozen=True)
class UserPath:
    """Marks a parameter that names a user's file or folder: records keep its name and sha256 only.

    words: values that are no path.
    """

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamesPlugin:
    """Marks a parameter that names another plug-in, whose parameters then are a part of the cell."""

    kind: str


ScorerName = Annotated[str, NamesPlugin("scorers")]
Path = Annotated[str, UserPath()]
WeightsPath = Annotated[str, UserPath(("imagenet", "random"))]
AudioWeightsPath = Annotated[str, UserPath(("audioset", "random"))]


@dataclass(frozen=True)
class Resources:
    """What a cell takes of a machine while it runs. cpu: processors, and the threads that it computes with. gpu:
    graphics processors, or a share of one, where it trains on one. memory: GiB."""

    cpu: int = 1
    gpu: float = 1.0
    memory: float = 3.0


@dataclass(frozen=True)
class Card:
    """paper: where the method is defined. profiles: sizes by profile name, and sizes only.

    scenarios: where an attack or defense can act; a victim has exactly one. threat: an attack's. control:
    the attack whose result shows what this one's poisons would do without the method. dataset: a victim's
    default. band: clean accuracy outside which a victim is unhealthy. sees: what a defense is shown beyond its
    ordinary view (molebench.hooks.SEES). modality: what a victim, an extractor or a dataset deals with; ANY where its
    files say. by_modality: parameters in units of inputs or features, where a modality wants others than the
    defaults. cost, needs: in words, for people. resources: what a cell with it takes of a machine.
    """

    kind: str
    paper: str
    scenarios: tuple[str, ...] = ()
    threat: ThreatModel | None = None
    control: str | None = None
    dataset: str | None = None
    band: tuple[float, float] = (0.0, 1.0)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    modality: str = "image"
    by_modality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    licence: str = ""
    cost: str = ""
    resources: Resources = Resources()

    def __post_init__(self) -> None:
        for name in ("scenarios", "needs", "sees"):
            if not isinstance(value := getattr(self, name), tuple):  # a bare string would be read letter by letter
                raise TypeError(f"{name}={value!r} on its card; expected a tuple of strings, such as ({value!r},)")
        for what, of in (("profile", self.profiles), ("modality", self.by_modality)):
            if wrong := [name for name, values in of.items() if not isinstance(values, Mapping)]:
                raise TypeError(f"{what} {wrong[0]} on its card; expected a mapping of parameters to values")


def _attach(card: Card) -> Callable[[Made], Made]:
    def attach(made: Made) -> Made:
        made.card = card  # type: ignore[attr-defined]
        return made

    return attach


def attack(
    paper: str, threat: ThreatModel, scenarios: tuple[str, ...], control: str | None = None, **more: Any
) -> Callable[[Made], Made]:
    """Marks a frozen dataclass with `craft(view, rng) -> Poison` as an attack."""
    return _attach(Card("attack", paper, scenarios, threat, control, **more))


def victim(
    paper: str, scenario: str, dataset: str, band: tuple[float, float] = (0.0, 1.0), **more: Any
) -> Callable[[Made], Made]:
    """Marks what makes a victim of one scenario (a frozen dataclass, or a partial of one)."""
    return _attach(Card("victim", paper, (scenario,), dataset=dataset, band=band, **more))


def defense(paper: str, scenarios: tuple[str, ...], **more: Any) -> Callable[[Made], Made]:
    """Marks a frozen dataclass with any of the defense moments as a defense."""
    return _attach(Card("defense", paper, scenarios, **more))


def dataset(paper: str, licence: str, **more: Any) -> Callable[[Made], Made]:
    """Marks a frozen dataclass with `load(workspace) -> Dataset` as a dataset."""
    return _attach(Card("dataset", paper, licence=licence, **more))


def scorer(paper: str, **more: Any) -> Callable[[Made], Made]:
    """Marks a frozen dataclass that says who P(y = a | x) is asked of as a scorer."""
    return _attach(Card("scorer", paper, **more))


def extractor(paper: str, licence: str, **more: Any) -> Callable[[Made], Made]:
    """Marks a frozen dataclass with `load(workspace) -> FrozenExtractor` as an extractor."""
    return _attach(Card("extractor", paper, licence=licence, **more))
