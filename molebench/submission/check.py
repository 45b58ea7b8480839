"""The static check of a submission: every fault at once, and nothing of it is imported or run.

What one stage refuses the next does not open: files before texts, the form before its claims.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from molebench.errors import MolebenchError, first_line
from molebench.submission import claims, evidence, slugs, source, wheel
from molebench.submission.folder import Files, looked_at
from molebench.submission.form import FILE, MODELS, SOURCES, Faulty, Form, content, neighbours, validated
from molebench.submission.salvage import Part, salvaged, whole
from molebench.submission.standing_in import digest
from molebench.submission.wording import said


@dataclass
class Report:
    """What was found. form: where it holds; part: what of it can be judged in any case. faults: why it cannot be taken.
    notes: what a reviewer may look at. well: what holds."""

    form: Form | None = None
    part: Part | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    well: list[str] = field(default_factory=list)


def checked(folder: Path) -> Report:
    """All that can be said of a submission's folder without running anything in it."""
    files, report = looked_at(folder), Report()
    report.faults += files.faults
    read_form(files, report)
    read_code(files, report)
    if report.part:
        judge(report.part, files, report)
    if report.form:
        read_records(report.form, files, report)
    report.faults = list(dict.fromkeys(one_line(fault) for fault in report.faults))
    report.notes = [one_line(note) for note in report.notes]
    return report


def accepted(folder: Path) -> Form:
    """The form of a submission that has no fault; Faulty with all of them otherwise."""
    report = checked(folder)
    if report.faults or report.form is None:
        raise Faulty(report.faults or [f"{FILE} cannot be read"])
    return report.form


def read_form(files: Files, report: Report) -> None:
    """The form, where its file may be opened."""
    if FILE not in files.sizes:
        report.faults += [] if any(FILE in fault for fault in files.faults) else [f"{FILE} is missing"]
        return
    there: dict[str, Any] = {}
    try:
        there = content(files.folder)
        report.form = validated(there)
        report.part = whole(report.form)
        report.well.append(f"{FILE}: {report.form.kind} {report.form.slug}, {report.form.licence}")
    except ValidationError as error:
        report.faults += [f"{FILE}: {one}" for one in said(error, MODELS)]
        report.part = salvaged(there, error)
    except MolebenchError as error:
        report.faults.append(str(error))


def read_code(files: Files, report: Report) -> None:
    """The code: one file of its kind, or a package."""
    there = [name for name in SOURCES.values() if name in files.sizes]
    form, broken = (report.part.form, report.part.broken) if report.part else (None, {"package", "kind"})
    if form and form.package:
        report.faults += packaged(form.package, files, there)
        return
    if "package" not in broken:
        report.faults += [f"{name}: a wheel is there, and no `package` in the form names it" for name in files.wheels]
    elif files.wheels:
        return  # what names it is broken, and said to be
    due = [form.source] if form and "kind" not in broken else there
    report.faults += [f"{name} is of another kind; the form says {due[0]}" for name in there if due and name not in due]
    for name in due:
        if name in there:
            read_source(name, files, report)
        elif not any(fault.startswith(name) for fault in files.faults):
            report.faults.append(f"{name} is missing; it holds the code, where no `package` is named")


def packaged(package: str, files: Files, there: list[str]) -> Iterator[str]:
    """What is wrong with a submission that is a package."""
    yield from (f"{name}: the form names a package; a submission is one or the other" for name in there)
    yield from wheel.requirement(package)
    if len(files.wheels) > 1:
        yield f"{len(files.wheels)} wheels are there; a package is one"
    for name in files.wheels:
        yield from wheel.matching(package, name, files.read(name))
        yield from wheel.unpacking(files.folder / name)


def read_source(name: str, files: Files, report: Report) -> None:
    """What stands in a source."""
    kind, data = name.removesuffix(".py"), files.read(name)
    tree, why = source.parsed(name, data)
    if tree is None:
        report.faults.append(why)
        return
    judged = report.part.form if report.part and not report.part.broken & {"kind", "card", "params"} else None
    found = list(source.faults(name, kind, data, tree, judged))
    report.faults += found
    report.notes += source.notes(name, tree)
    report.well += [] if found else [f"{name}: is what the form says of it"]


def judge(part: Part, files: Files, report: Report) -> None:
    """What the form says, beside what there is; of a part, what does not hang on what is broken."""
    form, found = part.form, list[str]()
    if not part.broken & {"slug", "kind", "supersedes"}:
        found += [*slugs.faults(form.slug), *slugs.placed(form, files.folder)]
    if not part.broken & {"kind", "card"}:
        found += claims.card_faults(form)
        try:
            found += claims.faults(form, part.numbers, neighbours(files.folder, form))
        except Faulty as error:  # of a defense beside it
            found += error.faults
    report.faults += found
    report.well += (
        [] if found or part.broken else [f"{counted(len(form.claims), 'claim')}: each of a cell that there can be"]
    )


def read_records(form: Form, files: Files, report: Report) -> None:
    """The records, where there are any; those alone whose every file may be opened."""
    if not files.records:
        report.notes.append("no records come with it; molebench verify makes them")
        return
    if any(fault.startswith("records/") for fault in files.faults):
        report.notes.append("its records were not looked at: a file among them is not allowed")
        return
    try:
        found = evidence.said(form, files.records, digest(form, files.folder))
    except (MolebenchError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        report.faults.append(f"records: their parts do not fit together ({first_line(error)})")
        return
    report.faults += found.faults
    report.notes += found.notes
    report.well += (
        [] if found.faults else [f"{counted(len(files.records), 'record')}: sound, its own, and in no claim's way"]
    )


def counted(n: int, word: str) -> str:
    """How many there are."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def one_line(text: str) -> str:
    """A fault as a line of its own, whatever is quoted in it."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in " ".join(text.split()))[:500]
