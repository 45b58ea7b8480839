"""A board per scenario: for each setting, where every defense stands and what each attack did to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from molebench.leaderboard.naming import file_safe, slug
from molebench.leaderboard.site import Page, Site, board_page, row_page, subject_page
from molebench.leaderboard.standings import Entry, Interval, Met, Standings
from molebench.leaderboard.tables import NOTHING, Cell, Column, Row, Table, points, whole

FIRST = (
    Column("defense", "defense"),
    Column("place", "place", numeric=True, help="method.html#places"),
    Column("group", "tie group", numeric=True, help="method.html#places"),
    Column("score", "score", numeric=True, help="method.html#score"),
    Column("worst", "worst attack"),
)
MORE = (
    Column("cost", "cost", numeric=True, help="metrics.html#clean_cost"),
    Column("seeds", "seeds", numeric=True),
    Column("state", "state", help="method.html#states"),
    Column("tier", "checked by others", help="method.html#tiers"),
)
WHY = Column("why", "why", wide=True)


@dataclass(frozen=True)
class Section:
    """A setting on a page: its anchor, heading, what it is, and its table."""

    anchor: str
    heading: str
    said: str
    table: Table


def boards(site: Site) -> Iterator[Page]:
    """The page of each scenario that has records."""
    for scenario in site.scenarios:
        sections = [section(standings) for standings in site.board(scenario)]
        context = {"sections": sections, "charts": site.figures_of(f"scenario {scenario}")}
        tables = tuple(each.table for each in sections)
        yield Page(board_page(scenario), "board.html.j2", f"Board: {scenario}", context, tables=tables)


def section(standings: Standings) -> Section:
    """A setting of a board."""
    said = f"The score is the worst {standings.figure} over attacks, in points."
    return Section(anchor(standings), title(standings), said, table(standings))


def anchor(standings: Standings) -> str:
    """Where a setting stands on its board."""
    return f"setting-{file_safe(standings.setting.name)}"


def title(standings: Standings) -> str:
    """A setting in words."""
    setting = standings.setting
    return ", ".join(
        filter(None, (f"{setting.victim} on {setting.dataset}", f"profile {setting.profile}", setting.apart))
    )


def table(standings: Standings) -> Table:
    """The entries of a setting, with a column an attack."""
    why = any(entry.why for entry in standings.entries)
    return Table(
        slug=f"board-{slug(standings.setting.scenario)}-{file_safe(standings.setting.name)}",
        caption=f"{standings.setting.scenario}: {title(standings)}",
        columns=(*FIRST, *MORE, *([WHY] if why else []), *map(met_by, standings.attacks)),
        rows=tuple(row(entry, standings.attacks, why) for entry in standings.entries),
        files=True,
    )


def met_by(attack: str) -> Column:
    """The column of an attack: its name, and the parameters that are not as usual."""
    name, _, own = attack.partition(" ")
    return Column(f"attack-{slug(attack)}", name, numeric=True, note=own)


def row(entry: Entry, attacks: Sequence[str], why: bool) -> Row:
    """An entry: the first cells, what each attack did, and the rest."""
    met = {each.attack: each for each in entry.met}
    first = (defense(entry), place(entry), group(entry), measured(entry.score, worst_page(entry)), Cell(entry.worst))
    more = [measured(entry.cost, worst_page(entry)), whole(entry.seeds), Cell(entry.state), Cell(entry.tier)]
    more += [Cell(entry.why)] if why else []
    return Row(slug(entry.defense), (*first, *more, *(suffered(met.get(attack)) for attack in attacks)))


def place(entry: Entry) -> Cell:
    """The places that an entry may have: '2', '1-3'."""
    if entry.rank is None:
        return NOTHING
    low, high = entry.rank
    return Cell(str(low) if low == high else f"{low}–{high}", value=float(low), low=float(low), high=float(high))


def group(entry: Entry) -> Cell:
    """Its tie group."""
    return NOTHING if entry.group is None else whole(entry.group)


def defense(entry: Entry) -> Cell:
    """Its name, which leads to the defense's page where it is one defense."""
    name = entry.defense.split(" ")[0]
    return Cell(entry.defense, "" if "+" in name else subject_page("defense", name))


def suffered(met: Met | None) -> Cell:
    """What an attack did, with the way to its records."""
    if met is None or met.figure is None:
        return NOTHING
    return measured(met.figure, row_page(met.keys) if met.keys else "")


def measured(figure: Interval | None, href: str) -> Cell:
    """A figure in points."""
    return NOTHING if figure is None else points(figure.value, figure.low, figure.high, href)


def worst_page(entry: Entry) -> str:
    """Where the records of its worst attack are."""
    return next((row_page(met.keys) for met in entry.met if met.attack == entry.worst and met.keys), "")
