"""Who knows and may do what: attacks and defenses side by side, from records and from cards."""

from collections.abc import Iterator, Sequence
from typing import Any

from molebench.leaderboard.naming import slug
from molebench.leaderboard.plugins import Card
from molebench.leaderboard.site import Page, Site, row_page, several, subject_page
from molebench.leaderboard.subjects import words_of
from molebench.leaderboard.tables import Cell, Column, Row, Table, whole
from molebench.stages import canonical
from molebench.types import KNOWS, MAY

MAYS, KNOWN = sorted(MAY), sorted(KNOWS)
ATTACKS = (
    Column("attack", "attack"),
    *(Column(f"may-{word}", f"may {word}") for word in MAYS),
    *(Column(f"knows-{word}", f"knows {word}") for word in KNOWN),
    Column("bound", "bound of a perturbation"),
    Column("source", "said by"),
    Column("rows", "rows", numeric=True),
)
DEFENSES = (
    Column("defense", "defense"),
    Column("acts", "acts at", wide=True),
    Column("sees", "sees beyond its view"),
    Column("trusted", "given in records", wide=True),
    Column("rows", "rows", numeric=True),
)


def threats(site: Site) -> Iterator[Page]:
    """threats.html."""
    attacks = [row for name in site.cards["attack"] for row in attack_rows(site, name)]
    defenses = [defense_row(site, name) for name in site.cards["defense"]]
    tables = {
        "attacks": Table("threats-attacks", "What each attack may do and knows", ATTACKS, tuple(attacks)),
        "defenses": Table("threats-defenses", "What each defense sees, and when it acts", DEFENSES, tuple(defenses)),
    }
    yield Page("threats.html", "threats.html.j2", "Threat models", tables)


def attack_rows(site: Site, name: str) -> Iterator[Row]:
    """A row for each threat model that records of the attack state; the card's where there is no record."""
    stated: dict[str, list[tuple[str, ...]]] = {}
    for row in site.subjects["attack"].get(name, []):
        stated.setdefault(canonical(site.by_key[row.keys[0]].threat_model), []).append(row.keys)
    for n, keys in enumerate(stated.values()):
        threat = site.by_key[keys[0][0]].threat_model
        yield attack_row(name, threat, "its records", whole(len(keys), row_page(keys[0])), n)
    if not stated and (found := site.cards["attack"][name]):
        threat = {"may": list(found.may), "knows": list(found.knows)}
        yield attack_row(name, threat, "its card", whole(0), 0)


def attack_row(name: str, threat: dict[str, Any], source: str, rows: Cell, n: int) -> Row:
    """A row of the matrix."""
    may, knows = (words_of(threat.get(word)) for word in ("may", "knows"))
    marks = (*(mark(word in may) for word in MAYS), *(mark(word in knows) for word in KNOWN))
    norm = f"{threat['norm']} ≤ {threat.get('bound')}" if threat.get("norm") else unlimited(may)
    first = Cell(name, subject_page("attack", name))
    return Row(f"{slug(name)}-{n}", (first, *marks, Cell(norm), Cell(source), rows))


def mark(held: bool) -> Cell:
    """Yes or no."""
    return Cell("yes" if held else "no")


def unlimited(may: Sequence[str]) -> str:
    """What stands for no bound."""
    return "none: reported as measured" if "perturb" in may else "changes no input"


def defense_row(site: Site, name: str) -> Row:
    """A row of the second matrix."""
    found, rows = site.cards["defense"][name], site.subjects["defense"].get(name, [])
    given = {f"{what}" for row in rows for key in row.keys for what in site.by_key[key].trusted_data}
    acts, sees = said(found)
    href = subject_page("defense", name)
    cells = (Cell(name, href), Cell(acts), Cell(sees), Cell(several(sorted(given))), whole(len(rows), href))
    return Row(slug(name), cells)


def said(found: Card | None) -> tuple[str, str]:
    """When a defense acts and what it sees, as its card says it."""
    if found is None:
        return "not part of this installation", "not known"
    return several(found.moments, "no moment"), several(found.sees)
