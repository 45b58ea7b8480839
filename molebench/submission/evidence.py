"""The records that come with a submission: whether they hold, are its own, and bear out its claims.

They are the submitter's word, yet not any word: a record's metrics follow from its predictions, and a claim's value
from its records. That somebody else gets the same is another question (molebench verify).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molebench.leaderboard.loading import check
from molebench.record import Record
from molebench.report import number, over_seeds
from molebench.submission.form import Claim, Form

BEARING = ("ok", "unhealthy")  # statuses of records on which a claim can rest
WIDER = 1.5  # times the records' own interval, from which on a claim's is called wide


@dataclass(frozen=True)
class Said:
    """What records say of a submission. notes: what is no fault."""

    faults: list[str]
    notes: list[str]


def said(form: Form, paths: Sequence[Path], code: str) -> Said:
    """What is wrong with the records of a submission, and with claims that all their records are there of. code: the
    digest of what it is now."""
    faults: list[str] = []
    notes: list[str] = []
    sound: list[Record] = []
    for path in paths:
        checked = check(path)
        found = [checked.fault] if checked.fault else list(foreign(form, checked.record, code))
        faults += [f"records/{path.parent.name[:12]}: {fault}" for fault in found]
        sound += [checked.record] if checked.record and not found else []
    for name, claim in enumerate(form.claims, 1):
        held = of_claim(form, claim, sound)
        if {record.cell["seed"] for record in held} >= set(claim.seeds):
            faults += (f"claim {name}: {fault}" for fault in contradicted(claim, held))
            notes += (f"claim {name}: {note}" for note in wide(claim, held))
    return Said(faults, notes)


def foreign(form: Form, record: Record | None, code: str) -> Iterator[str]:
    """Why a record is not of this submission."""
    if record is None:
        return
    mine = own(form, record)
    if mine is None:
        yield f"is of another {form.kind} than {form.slug}"
    elif mine["parameters"] != dict(form.params):
        yield f"was made with other parameters of {form.slug} than params says"
    elif not (made := [c for c in record.components if (c.kind, c.name) == (form.kind, form.slug)]):
        yield f"does not name {form.slug} among what took part"
    elif made[0].code_sha256 != code:
        yield f"was made by other code than {form.package or form.source} is now; run molebench verify again"
    elif record.status not in BEARING:
        yield f"has the status {record.status}; no claim can rest on it"


def own(form: Form, record: Record) -> Mapping[str, Any] | None:
    """What a record's cell says of the submission; None where it has no part in it."""
    there = record.cell["defenses"] if form.kind == "defense" else [record.cell["attack"]]
    return there[0] if len(there) == 1 and there[0]["name"] == form.slug else None


def of_claim(form: Form, claim: Claim, records: Sequence[Record]) -> list[Record]:
    """The records of a claim's cells."""
    return [record for record in records if record.cell["seed"] in claim.seeds and meant(form, claim, record)]


def meant(form: Form, claim: Claim, record: Record) -> bool:
    """Whether a record, but for its seed, is of the cell that a claim is about."""
    cell = record.cell
    names = {"victim": claim.victim, "attack": claim.attack or form.slug, "dataset": claim.dataset}
    same = all(cell[role]["name"] == name for role, name in names.items() if name)
    if form.kind == "attack":
        same = same and [each["name"] for each in cell["defenses"]] == list(claim.defenses)
    return same and cell["profile"] == claim.profile and all(has(cell, *each) for each in claim.set_.items())


def has(cell: Mapping[str, Any], setting: str, value: object) -> bool:
    """Whether a cell has a parameter at a value."""
    part, _, name = setting.partition(".")
    parts = {each["name"]: each for each in cell["defenses"]} | {
        role: cell[role] for role in cell if role != "defenses"
    }
    return bool(part in parts and parts[part]["parameters"].get(name, ...) == value)


def contradicted(claim: Claim, records: Sequence[Record]) -> Iterator[str]:
    """Where a claim is not what its records say, to the digits that `molebench run` prints."""
    if len({record.group for record in records}) > 1:
        yield "its records are of several settings; keep those of one, or tell them apart by `set`"
        return
    if (figure := over_seeds(records).get(claim.metric)) is None:
        yield f"its records have no {claim.metric}; they have {', '.join(sorted(records[0].metrics)[:8])}, ..."
        return
    printed = number(figure.value, claim.metric)
    step = 10.0 ** -len(printed.partition(".")[2])
    if abs(claim.value - figure.value) > 0.5000001 * step:
        yield f"says {claim.metric} {number(claim.value, claim.metric)}; its records say {printed}"
    elif not claim.low - step <= figure.value <= claim.high + step:
        yield f"its interval [{claim.low:g}, {claim.high:g}] does not hold what its records say, {printed}"


def wide(claim: Claim, records: Sequence[Record]) -> Iterator[str]:
    """An interval that could hardly be missed."""
    figure = over_seeds(records).get(claim.metric)
    if figure and figure.low is not None and figure.high is not None:
        step = 0.1 if "delta" in claim.metric else 0.01
        if claim.high - claim.low > WIDER * (figure.high - figure.low) + step:
            low, high = (number(v, claim.metric) for v in (figure.low, figure.high))
            yield f"its interval [{claim.low:g}, {claim.high:g}] is wider than that of its records, [{low}, {high}]"
