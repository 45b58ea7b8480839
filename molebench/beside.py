"""Measured beside published: a line for each number of a paper's table, and why where it was not measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from molebench.classnames import ARROW
from molebench.errors import listed
from molebench.grid import Resolved, resolve
from molebench.models_table import models_table
from molebench.not_run import available, why_not
from molebench.pair_deltas import model
from molebench.published import EXPLAINED, Published, PublishedRow, meaning
from molebench.record import MetricValue, Record
from molebench.report import interval, known, number, over, paragraph, rendered, whole
from molebench.runner import changed
from molebench.store import Store
from molebench.sweep_file import Sweep
from molebench.verdicts import (
    OF_THE_VALUE,
    SHARE_OF_LABELS,
    all_figures,
    measured,
    measured_of_pair,
    rounding,
    tolerance,
    verdict,
    with_pair,
)
from molebench.workspace import Workspace

HEAD = ("published row", "metric", "measured [95 %]", "over", "published", "verdict", "note")
NUMBERS = ("measured", "low", "high", "interval_over", "published", "published_sd")
CSV = ("row", "metric", *NUMBERS, "verdict", "note")
OF_A_CONTROL = ("accuracy_poisoned", "delta_total", "success_rate", "noise_norm")
UNPUBLISHED = "the paper has no such row"


@dataclass(frozen=True)
class Line:
    """One number. row: which published row or control. over: what the measured interval is over. spread: the paper's
    standard deviation. apart: how far outside it lies. where: on what it was measured."""

    row: str
    metric: str
    verdict: str
    measured: MetricValue | None = None
    over: str = ""
    published: float | None = None
    spread: float | None = None
    apart: str = ""
    where: str = ""
    note: str = ""


@dataclass(frozen=True)
class Group:
    """A cell's records over trials. asked: how many trials there should be. stale: one of the records was made by code
    that has been edited since."""

    records: list[Record]
    asked: int
    stale: bool


@dataclass(frozen=True)
class Block:
    """A published row on one dataset: its lines, and the records that they are of (none: it was not run)."""

    lines: list[Line]
    records: list[Record]


@dataclass(frozen=True)
class Shelf:
    """A store of which each record is read once, however many rows are about it."""

    store: Store
    read: dict[str, Record | None] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        """The record of a cell, or None where it has none."""
        if key not in self.read:
            self.read[key] = self.store.get(key)
        return self.read[key]


# From a sweep to lines


def lines(sweep: Sweep, table: Published, file: Path, workspace: Workspace) -> list[Line]:
    """Every published number and the controls; the rows that were measured come first."""
    return [line for block in blocks(sweep, table, file, workspace) for line in block.lines]


def blocks(sweep: Sweep, table: Published, file: Path, workspace: Workspace) -> list[Block]:
    """The same, row by row."""
    shelf = Shelf(Store(workspace.store))
    found = [block for row in table.rows for block in row_blocks(sweep, table, row, file, workspace, shelf)]
    return sorted(found, key=lambda block: not block.records)


def row_blocks(
    sweep: Sweep, table: Published, row: PublishedRow, file: Path, workspace: Workspace, shelf: Shelf
) -> Iterator[Block]:
    """A published row's lines, with its controls, on each dataset of ours that has records; or why there is none."""
    ran = False
    for dataset in available(row):
        if (group := found(sweep, row, table.attack_of(row), dataset, shelf)).records:
            ran = True
            where, records = described(row, dataset, group), group.records
            own = [replace(line, where=where) for line in compared(table, row, records, shelf.store)]
            others = {a: found(sweep, row, a, dataset, shelf) for a in sweep.attacks if a not in table.attacks}
            rest = [line for control, each in others.items() for line in control_lines(row, control, each)]
            beside = [record for each in others.values() for record in each.records]
            yield Block([*own, *own_control(row, records, shelf.store), *rest], [*records, *beside])
    if not ran:
        missing = Line(row.title, "", "not run", where=why_not(sweep, table, row, file, workspace))
        numbers = all_figures(row).items()
        yield Block([replace(missing, metric=n, published=v, spread=row.spread.get(n)) for n, v in numbers], [])


def left_over(sweep: Sweep, told: Sequence[Block], store: Store) -> int:
    """How many records of the sweep no published row is about, such as those with a defense."""
    there = {path.parent.name for path in (store.folder / "cells").glob("*/record.json")}
    others = there - {record.key for block in told for record in block.records}
    return len(others & {resolve(cell).key for cell in sweep.cells()}) if others else 0


def cells_of(sweep: Sweep, row: PublishedRow, attack: str, dataset: str) -> dict[str, Resolved]:
    """A row's cell over the sweep's trials, by key."""
    by_key: dict[str, Resolved] = {}
    once: dict[str, Resolved] = {}  # what names and parameters stand for does not depend on the seed
    for cell in sweep.published_cells(row, attack, dataset):
        name = cell.model_dump_json(exclude={"seed"})
        once[name] = replace(once[name], cell=cell) if name in once else resolve(cell)
        by_key[once[name].key] = once[name]
    return by_key


def found(sweep: Sweep, row: PublishedRow, attack: str, dataset: str, shelf: Shelf) -> Group:
    """What there is of a row's cell."""
    cells = cells_of(sweep, row, attack, dataset)
    records = {key: record for key in cells if (record := shelf.get(key))}
    for record in records.values():
        whole(record)
    by_code = {tuple(record.components): key for key, record in records.items()}  # one of each code is enough to ask
    stale = any(changed(records[key], cells[key]) for key in by_code.values())
    return Group(list(records.values()), len(cells), stale)


def described(row: PublishedRow, dataset: str, group: Group) -> str:
    """On what a row was measured, and what speaks against it."""
    remark, records, asked = row.ours[dataset], group.records, group.asked
    faults = {f"{r.status}: {w}" for r in records if r.status != "ok" for w in r.warnings[:1] or ["see its record"]}
    said = [
        f"on {dataset} ({remark})" if remark else f"on {dataset}",
        *trials(records),
        f"{asked - len(records)} of {asked} {noun(records)} not run" if len(records) < asked else "",
        "stale" if group.stale else "",
        *sorted(faults),
    ]
    return "; ".join(s for s in said if s)


def trials(records: Sequence[Record]) -> list[str]:
    """Which trials these are: seeds, each with a model of its own, or models and draws."""
    models, seeds = [model(r) for r in records], [r.seeds["cell"] for r in records]
    if models == seeds:
        return [several("seed", seeds)]
    return [several("model", models), several("draw", seeds)]


def noun(records: Sequence[Record]) -> str:
    """What trials are called."""
    return "seeds" if len(trials(records)) == 1 else "trials"


def several(noun: str, numbers: Sequence[int]) -> str:
    """'seed 3', 'models 0, 1, 2'."""
    there = sorted(set(numbers))
    return f"{noun}{'s' if len(there) > 1 else ''} {', '.join(map(str, there))}"


def compared(table: Published, row: PublishedRow, records: Sequence[Record], store: Store) -> Iterator[Line]:
    """A measured row's lines."""
    for name, value in all_figures(row).items():
        line = Line(row.title, name, "not recorded", published=value, spread=row.spread.get(name))
        figure, having, note = figure_of(row, records, name, store)
        if figure is None:
            yield replace(line, note=note)
            continue
        made = name not in row.figures
        slack = rounding(table.rounded(name), of_two_fractions=made) + row.spread.get(name, 0.0)
        word, apart = verdict(name, figure, value, slack)
        spare = tolerance(name, figure.value) if figure.low is None else 0.0
        notes = (f"tolerance {spare:.3g}" if spare else "", "published: poisoned less clean" if made else "", note)
        told = "; ".join(said for said in notes if said)
        yield replace(line, verdict=word, apart=apart, measured=figure, over=judged_over(figure, having), note=told)


def figure_of(
    row: PublishedRow, records: Sequence[Record], name: str, store: Store
) -> tuple[MetricValue | None, Sequence[Record], str]:
    """A figure that a row is about, the records that have it, and what to know of those that have not."""
    if not row.pair:
        return measured(records, name), records, ""
    pairs = with_pair(records, row.pair)
    if not pairs:
        there = dict.fromkeys(f"{p.attacked}{ARROW}{p.confounding}" for u in records[0].updates for p in u.pairs)
        return None, [], f"chosen here: {listed(list(there)) or 'no pair'}"
    note = f"in {len(pairs)} of {len(records)} trials" if len(pairs) < len(records) else ""
    return measured_of_pair(records, pairs, name, store), [records[i] for i in pairs], note


def own_control(row: PublishedRow, records: Sequence[Record], store: Store) -> Iterator[Line]:
    """The control that records of updates hold themselves, beside nothing."""
    attack = records[0].cell["attack"]["name"]
    name = next((c.name for c in records[0].components if c.kind == "attack" and c.name != attack), "")
    for metric in (f"{figure}_control" for figure in all_figures(row)):
        figure, having, _ = figure_of(row, records, metric, store)
        if figure:
            over = judged_over(figure, having)
            yield Line(f"{row.title}, control {name}", metric, "-", figure, over, where=UNPUBLISHED)


def control_lines(row: PublishedRow, control: str, group: Group) -> list[Line]:
    """A control with records of its own, which the paper lacks: what was measured, beside nothing."""
    title, records = f"{row.title}, control {control}", group.records
    if not records:
        return [Line(title, OF_A_CONTROL[0], "not run", where=UNPUBLISHED)]
    figures = ((name, measured(records, name)) for name in OF_A_CONTROL)
    where = f"{UNPUBLISHED}; stale" if group.stale else UNPUBLISHED
    return [Line(title, n, "-", figure, judged_over(figure, records), where=where) for n, figure in figures if figure]


def judged_over(figure: MetricValue, records: Sequence[Record]) -> str:
    """What a figure's interval is over; nothing where it has none."""
    return "" if figure.low is None else over(records)


# From lines to text


def report(sweep: Sweep, table: Published, file: Path, workspace: Workspace, form: str) -> str:
    """What `report` prints: a caption, a line a number, and what the words mean; csv has the lines alone."""
    known(form)
    told = blocks(sweep, table, file, workspace)
    found = [line for block in told for line in block.lines]
    if form == "csv":
        return rendered(CSV, [csv_row(line) for line in found], form)
    rows = [shown(line, before) for before, line in zip([None, *found], found, strict=False)]
    after = list(legend(found, table))
    if more := left_over(sweep, told, Store(workspace.store)):
        after.append(f"Records of this sweep that no published row is about: {more}; molebench report shows every one.")
    body = [paragraph(caption(table), form), rendered(HEAD, rows, form), *(paragraph(said, form) for said in after)]
    return "\n\n".join([*body, *models_table({r.key: r for block in told for r in block.records}.values(), form)])


def shown(line: Line, before: Line | None) -> list[str]:
    """The cells of a line for people: what repeats from the line above is left out."""
    again = before is not None and (before.row, before.where) == (line.row, line.where)
    figure = line.measured
    value = f"{number(figure.value, line.metric)} {interval(figure, line.metric)}".strip() if figure else "-"
    published = "-" if line.published is None else number(line.published, line.metric)
    published += "" if line.spread is None else f" (sd {number(line.spread, line.metric)})"
    note = "; ".join(s for s in ("" if again else line.where, line.note) if s)
    verdict = ", ".join(s for s in (line.verdict, line.apart) if s)
    return ["" if again else line.row, line.metric, value, line.over, published, verdict, note]


def csv_row(line: Line) -> list[str]:
    """The cells of a line for programs."""
    figure = line.measured
    numbers = (figure.value, figure.low, figure.high) if figure else (None, None, None)
    note = "; ".join(s for s in (line.apart, line.where, line.note) if s)
    paper = (plain(line.published), plain(line.spread))
    return [line.row, line.metric, *map(plain, numbers), line.over, *paper, line.verdict, note]


def plain(value: float | None) -> str:
    """A number for programs; nothing where there is none."""
    return "" if value is None else f"{value:.6g}"


def caption(published: Published) -> str:
    """Which table of which paper this is beside."""
    place = f" (arXiv:{published.arxiv})" if published.arxiv else ""
    attacks = f"Attack{'s' if len(published.attacks) > 1 else ''}: {', '.join(published.attacks)}."
    return f"{published.table} of {published.source}{place}: measured here beside published. {attacks}"


def legend(found: Sequence[Line], table: Published) -> Iterator[str]:
    """What the words mean."""
    there = {line.metric for line in found}
    if said := [f"{name}: {meaning(name)}" for name in EXPLAINED if name in there]:
        yield "; ".join(said) + "."
    if any("stale" in line.where for line in found):
        yield "stale: made by code that has been edited since; the sweep runs such a cell again."
    places = f"{table.decimals} decimal{'' if table.decimals == 1 else 's'}"
    others = "".join(f", {name} to {digits}" for name, digits in table.decimals_of.items())
    spread = any(line.spread is not None for line in found)
    yield (
        f"Verdicts. inside: the published number, give or take its rounding (to {places}{others}) and "
        "its own standard deviation (sd) where the paper gives one, meets the measured 95 % interval; outside: it does "
        "not, and what was measured lies higher or lower by so much (a lower delta is a larger drop). Without an "
        f"interval the tolerance is {100 * SHARE_OF_LABELS:g} point for a success rate, {100 * OF_THE_VALUE:g} % for "
        "norms and seconds, and nothing for the rest. not recorded: our records do not hold it."
        + ("" if spread else " The published numbers' own uncertainty is not known and not counted.")
    )
    overs = {line.over for line in found}
    yield (
        "Intervals over items are those of one seed: they cover the choice of test items only, not another training. "
        "Over seeds they are Student's, each seed a full retraining."
        + (" Over models: Student's on the mean of each model's draws." if "models" in overs else "")
        + (" Over draws: of one model, so they do not cover another training." if "draws" in overs else "")
    )
