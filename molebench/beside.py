"""Measured beside published: a line for each number of a paper's table, and why where it was not measured."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from molebench import registry
from molebench.grid import Cell, Resolved, Sweep, resolve
from molebench.published import FACTS, Published, PublishedRow
from molebench.record import MetricValue, Record
from molebench.report import interval, known, number, over, rendered
from molebench.runner import changed
from molebench.store import Store
from molebench.verdicts import OF_THE_VALUE, SHARE_OF_LABELS, all_figures, measured, tolerance, verdict
from molebench.workspace import Workspace

HEAD = ("published row", "metric", "measured [95 %]", "over", "published", "verdict", "note")
CSV = ("row", "metric", "measured", "low", "high", "interval_over", "published", "verdict", "note")
OF_A_CONTROL = ("accuracy_poisoned", "delta_total", "success_rate", "noise_norm")
UNPUBLISHED = "the paper has no such row"


@dataclass(frozen=True)
class Line:
    """One number. row: which published row or control. over: items or seeds. where: on what it was measured."""

    row: str
    metric: str
    verdict: str
    measured: MetricValue | None = None
    over: str = ""
    published: float | None = None
    apart: str = ""
    where: str = ""
    note: str = ""


@dataclass(frozen=True)
class Group:
    """A cell's records over seeds. stale: one of them was made by code that has been edited since."""

    records: list[Record]
    stale: bool


# From a sweep to lines


def lines(sweep: Sweep, table: Published, file: Path, workspace: Workspace) -> list[Line]:
    """Every published number and the controls; the rows that were measured come first."""
    blocks = [block for row in table.rows for block in row_blocks(sweep, table, row, file, workspace)]
    blocks.sort(key=lambda block: all(line.measured is None for line in block))
    return [line for block in blocks for line in block]


def row_blocks(
    sweep: Sweep, table: Published, row: PublishedRow, file: Path, workspace: Workspace
) -> Iterator[list[Line]]:
    """A published row's lines, with its controls, on each dataset of ours that has records; or why there is none."""
    store, ran = Store(workspace.store), False
    for dataset in available(row):
        if (group := found(sweep, row, table.attack, dataset, store)).records:
            ran = True
            where = described(row, dataset, group, len(sweep.seed))
            controls = [a for a in sweep.attack if a != table.attack]
            yield [
                *(replace(line, where=where) for line in compared(table, row, group.records)),
                *(line for a in controls for line in control_lines(row, a, found(sweep, row, a, dataset, store))),
            ]
    if not ran:
        why = why_not(sweep, table, row, file, workspace)
        numbers = all_figures(row).items()
        yield [Line(row.title, name, "not run", published=value, where=why) for name, value in numbers]


def left_over(sweep: Sweep, table: Published, store: Store) -> int:
    """How many records of the sweep no published row is about, such as those with a defense."""
    rows = ((row, dataset, attack) for row in table.rows for dataset in available(row) for attack in sweep.attack)
    told = {key for row, dataset, attack in rows for key in cells_of(sweep, row, attack, dataset)}
    return sum(store.get(key) is not None for key in {resolve(cell).key for cell in sweep.cells()} - told)


def available(row: PublishedRow) -> list[str]:
    """The datasets of ours on which this version could run a row."""
    there = registry.files("datasets") if row.victim in registry.files("victims") else {}
    return [name for name in row.ours if name in there]


def cells_of(sweep: Sweep, row: PublishedRow, attack: str, dataset: str) -> dict[str, Resolved]:
    """A row's cell over the sweep's seeds, by key."""
    cells = (resolve(sweep.published_cell(row, attack, dataset, seed)) for seed in sweep.seed)
    return {cell.key: cell for cell in cells}


def found(sweep: Sweep, row: PublishedRow, attack: str, dataset: str, store: Store) -> Group:
    """What the store has of a row's cell."""
    cells = cells_of(sweep, row, attack, dataset)
    records = {key: record for key in cells if (record := store.get(key))}
    return Group(list(records.values()), any(changed(record, cells[key]) for key, record in records.items()))


def described(row: PublishedRow, dataset: str, group: Group, asked: int) -> str:
    """On what a row was measured, and what speaks against it."""
    remark, records = row.ours[dataset], group.records
    faults = {f"{r.status}: {w}" for r in records if r.status != "ok" for w in r.warnings[:1] or ["see its record"]}
    said = [
        f"on {dataset} ({remark})" if remark else f"on {dataset}",
        f"seed{'s' if len(records) > 1 else ''} {', '.join(str(r.seeds['cell']) for r in records)}",
        f"{asked - len(records)} of {asked} seeds not run" if len(records) < asked else "",
        "stale" if group.stale else "",
        *sorted(faults),
    ]
    return "; ".join(s for s in said if s)


def compared(table: Published, row: PublishedRow, records: Sequence[Record]) -> Iterator[Line]:
    """A measured row's lines."""
    for name, value in all_figures(row).items():
        if (figure := measured(records, name)) is None:
            yield Line(row.title, name, "not recorded", published=value)
            continue
        word, apart = verdict(name, figure, value, table.decimals)
        spare = tolerance(name, figure.value) if figure.low is None else 0.0
        note = f"tolerance {spare:.3g}" if spare else ""
        note = note if name in row.figures else "published: poisoned less clean"
        yield Line(row.title, name, word, figure, spread(figure, records), value, apart, note=note)


def control_lines(row: PublishedRow, control: str, group: Group) -> list[Line]:
    """A control, which the paper lacks: what was measured, beside nothing."""
    title, records = f"{row.title}, control {control}", group.records
    if not records:
        return [Line(title, OF_A_CONTROL[0], "not run", where=UNPUBLISHED)]
    figures = ((name, measured(records, name)) for name in OF_A_CONTROL)
    where = f"{UNPUBLISHED}; stale" if group.stale else UNPUBLISHED
    return [Line(title, n, "-", figure, spread(figure, records), where=where) for n, figure in figures if figure]


def spread(figure: MetricValue, records: Sequence[Record]) -> str:
    """What a figure's interval is over; nothing where it has none."""
    return "" if figure.low is None else over(records)


# Why a row was not run


def why_not(sweep: Sweep, table: Published, row: PublishedRow, file: Path, workspace: Workspace) -> str:
    """The reason, and what to type."""
    if row.victim not in registry.files("victims"):
        return f"no victim {row.victim} in this version" + (f" ({row.note})" if row.note else "")
    if not (there := available(row)):
        return f"no dataset {' or '.join(row.ours)} in this version"
    dataset = next((name for name in there if name in sweep.dataset), there[0])
    cell = sweep.published_cell(row, table.attack, dataset, sweep.seed[0])
    if failure := last_failure(Store(workspace.store), resolve(cell).key):
        return f"failed: {failure}"
    if not is_here(dataset, workspace):
        return f"dataset {dataset} is not here: molebench data fetch {dataset}"
    swept = dataset in sweep.dataset and row.victim in sweep.victim
    return f"not run yet: molebench sweep {file}" if swept else f"not run yet: {command(cell)}"


def last_failure(store: Store, key: str) -> str:
    """What the last attempt at a cell died of; nothing where there was none."""
    attempts = sorted((store.cell(key) / "attempts").glob("*.json"))
    if not attempts:
        return ""
    try:
        said = str(json.loads(attempts[-1].read_text("utf-8"))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{attempts[-1].name} cannot be read"
    return " ".join(said.split())[:200]


def is_here(dataset: str, workspace: Workspace) -> bool:
    """Whether a dataset's files are on this machine: the user's, or fetched before."""
    files = [name for name in registry.find("datasets", dataset).card.needs if " " not in name]
    folders = (workspace.data, workspace.cache / "downloads")
    kept = any((workspace.cache / "data").glob(f"{dataset}-*.safetensors"))
    return kept or all(any((folder / name).is_file() for folder in folders) for name in files)


def command(cell: Cell) -> str:
    """What makes a cell's record."""
    sets = "".join(f" --set {name}={value}" for name, value in cell.parameters.items())
    names = f"--attack {cell.attack} --victim {cell.victim} --dataset {cell.dataset}"
    return f"molebench run {names} --profile {cell.profile} --seed {cell.seed}{sets}"


# From lines to text


def report(sweep: Sweep, table: Published, file: Path, workspace: Workspace, form: str) -> str:
    """What `report` prints: a caption, a line a number, and what the words mean; csv has the lines alone."""
    known(form)
    found = lines(sweep, table, file, workspace)
    if form == "csv":
        return rendered(CSV, [csv_row(line) for line in found], form)
    rows = [shown(line, before) for before, line in zip([None, *found], found, strict=False)]
    after = list(legend(found, table.decimals))
    if more := left_over(sweep, table, Store(workspace.store)):
        after.append(f"Records of this sweep that no published row is about: {more}; molebench report shows every one.")
    body = [paragraph(caption(table), form), rendered(HEAD, rows, form), *(paragraph(said, form) for said in after)]
    return "\n\n".join(body)


def shown(line: Line, before: Line | None) -> list[str]:
    """The cells of a line for people: what repeats from the line above is left out."""
    again = before is not None and (before.row, before.where) == (line.row, line.where)
    figure = line.measured
    value = f"{number(figure.value, line.metric)} {interval(figure, line.metric)}".strip() if figure else "-"
    published = "-" if line.published is None else number(line.published, line.metric)
    note = "; ".join(s for s in ("" if again else line.where, line.note) if s)
    verdict = f"{line.verdict} {line.apart}".strip()
    return ["" if again else line.row, line.metric, value, line.over, published, verdict, note]


def csv_row(line: Line) -> list[str]:
    """The cells of a line for programs."""
    figure = line.measured
    numbers = (figure.value, figure.low, figure.high) if figure else (None, None, None)
    note = "; ".join(s for s in (line.apart, line.where, line.note) if s)
    return [line.row, line.metric, *map(plain, numbers), line.over, plain(line.published), line.verdict, note]


def plain(value: float | None) -> str:
    """A number for programs; nothing where there is none."""
    return "" if value is None else f"{value:.6g}"


def caption(published: Published) -> str:
    """Which table of which paper this is beside."""
    place = f" (arXiv:{published.arxiv})" if published.arxiv else ""
    return (
        f"{published.table} of {published.source}{place}: measured here beside published. Attack: {published.attack}."
    )


def legend(found: Sequence[Line], decimals: int) -> Iterator[str]:
    """What the words mean."""
    facts = [name for name in FACTS if any(line.metric == name for line in found)]
    if facts:
        yield "; ".join(f"{name}: {FACTS[name]}" for name in facts) + "."
    if any("stale" in line.where for line in found):
        yield "stale: made by code that has been edited since; the sweep runs such a cell again."
    yield (
        f"Verdicts. agrees: the published number, give or take its rounding to {decimals} decimals, lies inside the "
        "measured 95 % interval; higher, lower: what was measured lies above or below it, and by how much (a lower "
        "delta_total is a larger drop). Without an interval the "
        f"tolerance is {100 * SHARE_OF_LABELS:g} point for a success rate, {100 * OF_THE_VALUE:g} % for norms and "
        "seconds, and nothing for a count. not recorded: our records do not hold it. The published numbers' own "
        "uncertainty is not known and not counted."
    )
    yield (
        "Intervals over items are those of one seed: they cover the choice of test items only, not another training. "
        "Over seeds they are Student's, each seed a full retraining."
    )


ESCAPES = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"})


def paragraph(text: str, form: str) -> str:
    """A paragraph in a format, its special characters made harmless."""
    if form == "html":
        from html import escape

        return f"<p>{escape(text)}</p>"
    return text.translate(ESCAPES) if form == "latex" else text
