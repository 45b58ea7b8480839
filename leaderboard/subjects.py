"""A page for each attack, victim, defense and dataset: its card, what it was run with, its rows and its charts."""

from collections.abc import Iterable, Iterator, Sequence

from molebench.leaderboard.cells import columns_of, line
from molebench.leaderboard.entered import successors
from molebench.leaderboard.naming import slug
from molebench.leaderboard.plugins import KINDS, Card, paragraphs
from molebench.leaderboard.rows import Row, parts
from molebench.leaderboard.site import SUBJECTS, Crumb, Page, Site, numbered, several, subject_page
from molebench.leaderboard.tables import Cell, Column, Table, whole
from molebench.leaderboard.tables import Row as Line
from molebench.record import Record
from molebench.report import number

MOST = 200  # rows of a page; the rest are among all cells
VALUES = 12  # of a parameter


def subjects(site: Site) -> Iterator[Page]:
    """A page for each that has records, or that this installation has; and a list of each kind."""
    for kind in KINDS:
        yield Page(f"{SUBJECTS[kind]}.html", "subjects.html.j2", SUBJECTS[kind].capitalize(), listing(site, kind))
        for name in site.cards[kind]:
            yield page(site, kind, name, site.subjects[kind].get(name, []))


def listing(site: Site, kind: str) -> dict[str, object]:
    """What the list of a kind is given."""
    columns = (
        Column("name", kind),
        Column("summary", "what it is", wide=True),
        Column("rows", "rows", numeric=True),
        Column("records", "records", numeric=True),
    )
    rows = tuple(
        entry(kind, name, found, site.subjects[kind].get(name, [])) for name, found in site.cards[kind].items()
    )
    return {"kind": kind, "table": Table(SUBJECTS[kind], f"Every {kind}", columns, rows)}


def entry(kind: str, name: str, found: Card | None, rows: Sequence[Row]) -> Line:
    """A line of the list."""
    summary = found.summary if found else "not part of this installation; its records say what it did"
    href = subject_page(kind, name)
    counts = (whole(len(rows), href), whole(sum(len(row.keys) for row in rows), href))
    return Line(slug(name), (Cell(name, href), Cell(summary), *counts))


def page(site: Site, kind: str, name: str, rows: Sequence[Row]) -> Page:
    """The page of one."""
    found = site.cards[kind][name]
    records = [site.by_key[key] for row in rows for key in row.keys]
    used = (columns_of(site), tuple(rows[:MOST]))
    table = Table(f"{kind}-{slug(name)}", caption(rows), used[0], tuple(line(row, used[0]) for row in used[1]))
    context = {
        "kind": kind,
        "name": name,
        "card": found,
        "paragraphs": list(paragraphs(found.text)) if found else [],
        "threats": threats(records) if kind == "attack" else [],
        "submission": submitted(site, name) if site.forms.get(name) and site.forms[name].kind == kind else [],
        "parameters": parameters(kind, name, rows, site),
        "components": versions(kind, name, records),
        "facts": data_facts(records) if kind == "dataset" else [],
        "table": table if rows else None,
        "charts": site.figures_of(f"{kind} {name}"),
        "cite": f"cite/{kind}-{slug(name)}.bib",
    }
    crumbs = (Crumb(SUBJECTS[kind].capitalize(), f"{SUBJECTS[kind]}.html"),)
    return Page(subject_page(kind, name), "subject.html.j2", f"{kind.capitalize()} {name}", context, crumbs)


def submitted(site: Site, slug: str) -> list[tuple[str, str, str]]:
    """What the form of a submission says, in words: term, text, address."""
    form, newer = site.forms[slug], successors(site.forms).get(slug, "")
    told = form.disclosure
    claims = (
        f"{c.metric} {number(c.value, c.metric)} [{number(c.low, c.metric)}, {number(c.high, c.metric)}], "
        f"{' + '.join(filter(None, (c.attack, c.victim, *c.defenses)))}, profile {c.profile}, "
        f"seeds {several(map(str, c.seeds))}"
        for c in form.claims
    )
    found = [
        ("title", form.title, ""),
        ("authors", several(form.authors), ""),
        ("contact", form.contact or "", ""),
        ("paper", form.paper or "", form.paper or ""),
        ("code", form.code or "", form.code or ""),
        ("licence", form.licence, ""),
        ("package", form.package or "", ""),
        ("supersedes", form.supersedes or "", subject_page(form.kind, form.supersedes) if form.supersedes else ""),
        ("superseded by", newer, subject_page(form.kind, newer) if newer else ""),
        ("tuned on attacks", several(told.tuned_on_attacks), ""),
        ("trusted data", told.trusted_data, ""),
        ("extra data", told.extra_data, ""),
        ("pretrained", told.pretrained, ""),
        *(("claim", claim, "") for claim in claims),
    ]
    return [each for each in found if each[1]]


def caption(rows: Sequence[Row]) -> str:
    """What its table holds."""
    if len(rows) > MOST:
        return f"The first {MOST} of {len(rows)} rows; the others are among all cells"
    return numbered(len(rows), "row")


def threats(records: Iterable[Record]) -> list[str]:
    """The threat models that its records state, in words."""
    return sorted({in_words(record.threat_model) for record in records})


def in_words(threat: dict[str, object]) -> str:
    """A threat model as a sentence."""
    may, knows = (several(words_of(threat.get(name))) for name in ("may", "knows"))
    bound = f"; {threat['norm']} of a perturbation at most {threat['bound']}" if threat.get("norm") else ""
    return f"may {may}; knows {knows}{bound}"


def words_of(value: object) -> list[str]:
    """A list of words, whatever a record holds there."""
    return [str(word) for word in value] if isinstance(value, list) else []


def parameters(kind: str, name: str, rows: Sequence[Row], site: Site) -> list[tuple[str, str]]:
    """The parameters that it was run with: every value of each."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for role, part in parts(site.by_key[row.keys[0]].cell):
            if part["name"] == name and role == (name if kind == "defense" else kind):
                for parameter, value in part["parameters"].items():
                    found.setdefault(str(parameter), {})[str(value) or "''"] = None
    return [(parameter, shortened(list(values))) for parameter, values in sorted(found.items())]


def shortened(values: Sequence[str]) -> str:
    """The first values, and how many more there are."""
    more = f" and {len(values) - VALUES} more" if len(values) > VALUES else ""
    return ", ".join(values[:VALUES]) + more


def versions(kind: str, name: str, records: Iterable[Record]) -> list[tuple[str, str]]:
    """Whose code it was, and the sha256 of that code."""
    there = (part for record in records for part in record.components if (part.kind, part.name) == (kind, name))
    return sorted({(f"{part.origin} {part.version}", part.code_sha256) for part in there})


def data_facts(records: Iterable[Record]) -> list[tuple[str, str]]:
    """The files that a dataset was read from, and what was used of it."""
    files = {
        (name, f"{fact.bytes} bytes, sha256 {fact.sha256}") for r in records for name, fact in r.data.files.items()
    }
    classes = {("classes", several(record.data.classes)) for record in records}
    return [*sorted(files), *sorted(classes)]
