"""Which attack has met which defense where, how that ended, and what failed, with the reasons."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from molebench.leaderboard.boards import Section
from molebench.leaderboard.naming import slug
from molebench.leaderboard.rows import Row
from molebench.leaderboard.site import Failure, Page, Site, row_page
from molebench.leaderboard.tables import NOTHING, Cell, Column, Table, whole
from molebench.leaderboard.tables import Row as Line

PATH = re.compile(r"(?<![\w/:])(?:[A-Za-z]:\\|~?/)[^\s'\":;,)]+")
BARRED = (
    Column("cell", "cell", wide=True),
    Column("status", "status"),
    Column("why", "why", wide=True),
    Column("records", "records", numeric=True),
)
FAILED = (
    Column("cell", "cell", wide=True),
    Column("attempts", "attempts", numeric=True),
    Column("error", "error"),
    Column("message", "what the last one said", wide=True),
)
Setting = tuple[str, str, str]


def coverage(site: Site) -> Iterator[Page]:
    """coverage.html."""
    context = {
        "sections": [section(n, setting, rows) for n, (setting, rows) in enumerate(settings(site).items())],
        "barred": barred([row for row in site.rows if not row.rankable]),
        "failed": Table("failures", "Cells without a record", FAILED, tuple(failed(each) for each in site.failures)),
    }
    yield Page("coverage.html", "coverage.html.j2", "Coverage", context)


def settings(site: Site) -> dict[Setting, list[Row]]:
    """The rows of each victim, dataset and profile."""
    found: dict[Setting, list[Row]] = {}
    for row in site.rows:
        found.setdefault((row.names["victim"], row.names["dataset"], row.names["profile"]), []).append(row)
    return dict(sorted(found.items()))


def section(n: int, setting: Setting, rows: Sequence[Row]) -> Section:
    """Defenses by attacks: how many records of which status."""
    victim, dataset, profile = setting
    attacks, defenses = (sorted({row.names[name] for row in rows}) for name in ("attack", "defenses"))
    met: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        met.setdefault((row.names["defenses"], row.names["attack"]), []).append(row)
    columns = (Column("defenses", "defenses"), *(Column(f"attack-{slug(a)}", a, numeric=True) for a in attacks))
    lines = tuple(Line(slug(d), (Cell(d), *(tally(met.get((d, a), [])) for a in attacks))) for d in defenses)
    missing = sum((d, a) not in met for d in defenses for a in attacks)
    said = (
        f"Profile {profile}. Records by status; {missing} of {len(attacks) * len(defenses)} combinations are missing."
    )
    heading = f"{victim} on {dataset}"
    return Section(
        f"coverage-{n + 1}", heading, said, Table(f"matrix-{n + 1}", heading, columns, lines, enhanced=False)
    )


def tally(rows: Sequence[Row]) -> Cell:
    """How many records of which status, with the way to the first."""
    if not rows:
        return NOTHING
    counts = sum((row.statuses for row in rows), Counter[str]())
    text = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    return Cell(text, row_page(rows[0].keys), value=float(sum(len(row.keys) for row in rows)))


def barred(rows: Sequence[Row]) -> Table:
    """The rows that no board ranks, and why."""
    lines = tuple(
        Line(
            row.keys[0],
            (Cell(row.title, row_page(row.keys)), Cell(row.status), Cell(row.why), whole(len(row.keys))),
        )
        for row in rows
    )
    return Table("not-ranked", "Shown, never ranked", BARRED, lines)


def failed(each: Failure) -> Line:
    """A cell that has attempts only; no path of the machine that tried."""
    last = each.attempts[-1]
    message = PATH.sub("‹path›", last.message)
    return Line(each.key, (tried(each), whole(len(each.attempts)), Cell(last.type), Cell(message)))


def tried(each: Failure) -> Cell:
    """What was tried, where the file of the attempt says so."""
    names = [part_name(each.cell, role) for role in ("attack", "victim", "dataset")]
    if not all(names):
        return Cell(each.key[:12])
    text = "{} against {} on {}".format(*names)
    return Cell(f"{text}, seed {each.cell.get('seed')}")


def part_name(cell: Mapping[str, Any], role: str) -> str:
    """The name of a part of a cell; nothing where there is none."""
    part = cell.get(role)
    return str(part.get("name", "")) if isinstance(part, Mapping) else ""
