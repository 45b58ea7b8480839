"""What can be taken away: records as JSON, tables as CSV and LaTeX, references as BibTeX, and what pages need."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from molebench.describing import OURS
from molebench.leaderboard.cells import shards
from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.many import begun
from molebench.leaderboard.naming import file_safe, slug
from molebench.leaderboard.plugins import KINDS
from molebench.leaderboard.rows import Row
from molebench.leaderboard.site import File, Page, Site
from molebench.leaderboard.tables import as_csv, as_latex, csv_text
from molebench.record import Record
from molebench.stages import canonical
from molebench.store import RECORD

HERE = Path(__file__).parent
NAMES = ("attack", "victim", "dataset", "defenses", "profile")

ALONE = 10  # charts up to which starting other processes takes longer than it saves


def downloads(site: Site) -> Iterator[File]:
    """Every file that is no page."""
    yield from assets()
    yield from shards(site)
    yield text("data/records.csv", records_csv(site))
    yield from boards(site)
    yield from references(site)
    for record in site.records:
        yield File(f"data/{record.key}.json", as_it_is(site, record))


def text(path: str, content: str) -> File:
    """A file of text."""
    return File(path, content.encode())


def as_it_is(site: Site, record: Record) -> bytes:
    """A record's file, or what would stand in it."""
    folder = site.folders.get(record.key)
    return (folder / RECORD).read_bytes() if folder else record.text().encode()


def assets() -> Iterator[File]:
    """Styles and scripts, ours and others'."""
    for folder in ("static", "vendor"):
        for path in sorted((HERE / folder).glob("*")):
            if path.is_file():
                yield File(f"{folder}/{path.name}", path.read_bytes())


# Numbers


def records_csv(site: Site) -> str:
    """A line for each record with all its metrics: value and interval."""
    metrics = sorted({name for record in site.records for name in record.metrics})
    spans = [name for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")]
    head = ("key", "group", "scenario", *NAMES, "seed", "status", "rankable", "tier", *spans)
    return csv_text(head, (record_line(site, row, key, metrics) for row in site.rows for key in row.keys))


def record_line(site: Site, row: Row, key: str, metrics: Sequence[str]) -> list[str | float | int | None]:
    """A record's fields."""
    record = site.by_key[key]
    names = [row.names[name] for name in NAMES]
    said = [record.status, "yes" if record.rankable else "no", site.tier(key)]
    found = (record.metrics.get(metric) for metric in metrics)
    spans = [value for m in found for value in ((m.value, m.low, m.high) if m else (None, None, None))]
    return [record.key, record.group, record.scenario, *names, record.seeds["cell"], *said, *spans]


def boards(site: Site) -> Iterator[File]:
    """The standings as they are, for programs."""
    yield text("data/board.json", canonical([asdict(each) for each in site.standings]) + "\n")
    head = ("scenario", "victim", "dataset", "profile", "apart", "defense", "state", "place_low", "place_high", "group")
    figures = ("score", "score_low", "score_high", "worst", "cost", "cost_low", "cost_high", "seeds", "tier", "why")
    yield text("data/board.csv", csv_text((*head, *figures), board_lines(site)))


def board_lines(site: Site) -> Iterator[list[str | float | int | None]]:
    """A line for each entry of each setting."""
    for each in site.standings:
        setting = each.setting
        where = [setting.scenario, setting.victim, setting.dataset, setting.profile, setting.apart]
        for entry in each.entries:
            low, high = entry.rank or (None, None)
            score = [entry.score.value, entry.score.low, entry.score.high]
            cost = [entry.cost.value, entry.cost.low, entry.cost.high] if entry.cost else [None] * 3
            place = [entry.defense, entry.state, low, high, entry.group]
            yield [*where, *place, *score, entry.worst, *cost, entry.seeds, entry.tier, entry.why]


def of_tables(page: Page) -> Iterator[File]:
    """The tables of a page for spreadsheets and for papers."""
    for table in page.tables:
        yield text(f"tables/{table.slug}.csv", as_csv(table))
        yield text(f"tables/{table.slug}.tex", as_latex(table))


# References


def references(site: Site) -> Iterator[File]:
    """A file for each attack, victim, defense and dataset, and one of all of them."""
    every: list[str] = []
    for kind in KINDS:
        for name, found in site.cards[kind].items():
            entries = [found.bibtex] if found and found.bibtex else []
            every += entries if name in site.subjects[kind] else []
            yield bib(f"cite/{kind}-{slug(name)}.bib", entries)
    yield bib("cite/all.bib", every)


def bib(path: str, entries: Iterable[str]) -> File:
    """References, each once, and molebench's own."""
    return text(path, "\n\n".join([*dict.fromkeys(entries), OURS]) + "\n")


# Charts


def painting(site: Site) -> AbstractContextManager[Iterator[dict[str, bytes]]]:
    """The pictures of its charts, in order, made while something else is."""
    return begun(painted, site.charts, ALONE)


def charts(site: Site, pictures: Iterable[dict[str, bytes]]) -> Iterator[File]:
    """Each chart as pictures and as numbers."""
    for chart, drawn in zip(site.charts, pictures, strict=True):
        yield from (File(f"charts/{file_safe(chart.name)}.{form}", content) for form, content in drawn.items())
        yield text(f"charts/{file_safe(chart.name)}.csv", csv_text(chart.columns, chart.rows))


def painted(chart: Chart) -> dict[str, bytes]:
    """A chart as pictures."""
    from molebench.leaderboard.charts.drawing import pictures

    return pictures(chart, ("svg", "png"))
