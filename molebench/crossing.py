"""From the lists of a sweep to its cells: every combination that is not excluded, and whose parts go together.

Those that do not go together (an attack of another scenario, a dataset of another modality) are told apart with the
reason, once for all seeds and parameters.
"""

import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from molebench.axes import AXES, Exclude, Row, own_parameters
from molebench.compatible import check_dataset, check_scenario
from molebench.errors import MolebenchError, unknown
from molebench.grid import Cell, Lookup, Profile, extractor_of


@dataclass(frozen=True)
class Names:
    """The plug-ins of a cell; its dataset by name, the victim's own where the sweep names none."""

    attack: str
    victim: str
    dataset: str
    defense: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A combination that is no cell, and why."""

    names: Names
    reason: str


@dataclass(frozen=True)
class Combination:
    """Cells that differ in their seed alone. cell: the one of the first seed. seeds: in order."""

    cell: Cell
    seeds: tuple[int, ...]

    def at(self, seed: int) -> Cell:
        """The cell of a seed."""
        return self.cell.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Crossing:
    """What a sweep's lists make."""

    combinations: tuple[Combination, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Grid:
    """axes: the rows of each, slowest first, seeds left out. seeds: () where the rows of an axis hold them. shared:
    parameters that reach every cell that has them."""

    sweep: str
    axes: Sequence[Sequence[Row]]
    seeds: tuple[int, ...]
    shared: frozenset[str]
    exclude: Sequence[Exclude]
    profile: Profile

    def rows(self) -> Iterator[Row]:
        """One value of every axis, and of every parameter that an entry brings with it."""
        for rows in itertools.product(*self.axes):
            row = {name: value for each in rows for name, value in each.items()}
            mine = own_parameters(row)
            for values in itertools.product(*mine.values()):
                yield row | dict(zip(mine, values, strict=True))


def crossed(grid: Grid, lookup: Lookup) -> Crossing:
    """Every combination, in order; an exclusion that concerns none, or a sweep without a cell, is an error."""
    found: dict[str, Combination] = {}
    skipped: dict[Names, str] = {}
    fits: dict[Names, str] = {}
    used, hit = set[str](), set[int]()
    for row in grid.rows():
        names = names_of(row, lookup)
        ours = [n for n in row if n not in AXES and (n not in grid.shared or applies(n, names, lookup))]
        used.update(ours)
        cell = cell_of(row, ours, grid)
        seeds = remaining(grid, cell, names, hit)
        if names not in fits:
            fits[names] = misfit(names, lookup)
        if seeds and fits[names]:
            skipped[names] = fits[names]
        elif seeds:
            found.setdefault(cell.model_dump_json(), Combination(cell, seeds))
    complain(grid, used, hit, lookup)
    if not found:
        why = next(iter(skipped.values()), "its `exclude` leaves no cell")
        raise MolebenchError(f"sweep {grid.sweep} has no cell: {why}")
    return Crossing(tuple(found.values()), tuple(Skipped(n, why.partition(": try ")[0]) for n, why in skipped.items()))


def names_of(row: Row, lookup: Lookup) -> Names:
    """The plug-ins of a row."""
    victim, dataset = row["victim"].name, row["dataset"].name
    dataset = dataset or str(lookup.find("victims", victim).card.dataset)
    return Names(row["attack"].name, victim, dataset, tuple(each.name for each in row["defense"]))


def cell_of(row: Row, parameters: Sequence[str], grid: Grid) -> Cell:
    """The cell of a row, at the first seed."""
    return Cell(
        attack=row["attack"].name,
        victim=row["victim"].name,
        dataset=row["dataset"].name or None,
        defenses=tuple(each.name for each in row["defense"]),
        parameters={name: row[name] for name in parameters},
        profile=grid.profile,
        seed=row["seed"] if "seed" in row else grid.seeds[0],
    )


def remaining(grid: Grid, cell: Cell, names: Names, hit: set[int]) -> tuple[int, ...]:
    """The seeds of a combination that no exclusion takes away; those exclusions that did are noted in `hit`."""
    seeds = grid.seeds or (cell.seed,)
    gone = set[int]()
    for i, rule in enumerate(grid.exclude):
        if rule.matches(vars(names), cell.parameters):
            mine = set(seeds) if rule.seed is None else set(seeds) & set(rule.seed)
            hit.update([i] if mine else [])
            gone |= mine
    return tuple(seed for seed in seeds if seed not in gone)


def misfit(names: Names, lookup: Lookup) -> str:
    """Why the plug-ins of a cell do not go together; '' where they do."""
    victim, attack = lookup.find("victims", names.victim), lookup.find("attacks", names.attack)
    dataset = lookup.find("datasets", names.dataset)
    acting = [attack, *(lookup.find("defenses", name) for name in names.defense)]
    try:
        for plugin in acting:
            check_scenario(plugin, victim)
        check_dataset(victim, dataset)
    except MolebenchError as error:
        return str(error)
    return ""


def applies(parameter: str, names: Names, lookup: Lookup) -> bool:
    """Whether a cell has a parameter; one of a scorer or an extractor counts where there is any."""
    part, _, name = parameter.partition(".")
    if part == "scorer":
        return any(p.names == "scorers" for p in lookup.parameters("attacks", names.attack).values())
    if part == "extractor":
        return bool(extractor_of(lookup.find("victims", names.victim)))
    kinds = {d: ("defenses", d) for d in names.defense}
    kinds |= {kind: (f"{kind}s", getattr(names, kind)) for kind in ("attack", "victim", "dataset")}
    return part in kinds and name in lookup.parameters(*kinds[part])


def complain(grid: Grid, used: Set[str], hit: Set[int], lookup: Lookup) -> None:
    """Refuses a parameter that no cell has, and an exclusion that matches none: either may be a slip of the pen."""
    if strange := sorted(grid.shared - used):
        raise unknown(f"parameter of any part of sweep {grid.sweep}", strange[0], settable(lookup))
    if idle := [str(rule) for i, rule in enumerate(grid.exclude) if i not in hit]:
        raise MolebenchError(
            f"sweep {grid.sweep}: exclude {idle[0]} matches no cell; correct it, or remove it where it is not needed"
        )


def settable(lookup: Lookup) -> list[str]:
    """Every parameter of the plug-ins that were looked up."""
    found = {(name if kind == "defenses" else kind.rstrip("s"), kind, name) for kind, name in lookup.plugins}
    return sorted({f"{part}.{each}" for part, kind, name in found for each in lookup.parameters(kind, name)})
