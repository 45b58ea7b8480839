"""Tables from records: one row a figure for a run, one row a group of seeds for a store."""

import csv
import io
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from tabulate import tabulate

from molebench.errors import MolebenchError, unknown
from molebench.pair_deltas import mean_extremes, model
from molebench.record import MetricValue, Record
from molebench.stats import trial_interval

FORMATS = {"md": "github", "html": "html", "latex": "latex_booktabs", "plain": "simple"}
FIRST = (
    "delta_a",
    "delta_confounding",
    "delta_other",
    "delta_total",
    "delta_a_rel",
    "delta_total_rel",
    "delta_total_rel_of_means",
    "max_delta_a",
    "max_mean_delta_a",
    "p95_delta_a",
    "mean_delta_a",
    "max_delta_total",
    "max_mean_delta_total",
    "mean_delta_confounding",
    "mean_delta_other",
    "max_delta_a_control",
    "max_mean_delta_a_control",
    "mean_delta_a_control",
    "max_delta_total_control",
    "max_mean_delta_total_control",
    "delta_a_rel_control",
    "delta_total_rel_control",
    "delta_total_rel_of_means_control",
    "delta_a_control",
    "delta_a_vs_control",
    "delta_total_vs_control",
    "delta_a_rel_vs_control",
    "delta_total_rel_vs_control",
    "n_pairs",
    "n_attacked",
    "max_rho",
    "mean_rho",
    "r_slope",
    "r_intercept",
    "r_squared",
    "accuracy_train",
    "accuracy_clean",
    "accuracy_poisoned",
    "accuracy_control",
    "average_incremental_accuracy",
    "forgetting",
    "forgetting_poisoned",
    "forgetting_control",
    "accuracy_seed_only",
    "success_rate",
    "random_success_rate",
    "collision_ratio",
    "psnr",
    "snr",
    "delta_a_defended",
    "max_delta_a_defended",
    "mean_delta_a_defended",
    "mean_delta_a_defended_own",
    "delta_total_defended",
    "delta_total_defended_own",
    "delta_a_rel_defended",
    "delta_a_rel_defended_own",
    "delta_total_rel_defended",
    "delta_total_rel_defended_own",
    "delta_a_matched",
    "max_delta_a_matched",
    "mean_delta_a_matched",
    "delta_total_matched",
    "delta_a_rel_matched",
    "delta_total_rel_matched",
    "success_rate_defended",
    "clean_cost",
    "recovery",
    "recovery_matched",
    "filter_precision",
    "filter_recall",
    "filter_auroc",
    "filter_removed_clean",
    "filter_removed_clean_worst",
    "trusted_images",
    "time_ratio",
    "memory_ratio",
)
HEAD = ("attack", "victim", "dataset", "defenses", "profile", "changed", "seeds", "intervals over", "status")


def over_seeds(records: Sequence[Record]) -> dict[str, MetricValue]:
    """Each metric's mean over records that differ in seed (or model) only, with Student's interval over seeds.

    One record keeps its own interval, over test items. A metric that one seed alone has keeps no interval. Where
    records have updates, the worst pair of the mean comes with the mean of the worst pairs.
    """
    if len(records) == 1:
        return records[0].metrics | mean_extremes(records)
    found = {}
    for name in dict.fromkeys(name for r in records for name in r.metrics):
        having = [r for r in records if name in r.metrics]
        figures = [r.metrics[name] for r in having]
        mean, low, high = trial_interval([f.value for f in figures], [model(r) for r in having])
        span = (low, high) if len(figures) > 1 else (None, None)
        found[name] = MetricValue(value=mean, low=span[0], high=span[1], definition=figures[0].definition)
    return found | mean_extremes(records)


def run_table(records: Sequence[Record]) -> str:
    """What `run` prints: the main figures of a cell (of its seeds), intervals and meanings; a record has them all."""
    figures = over_seeds(records)
    order = [n for n in FIRST if n in figures]
    rows = [
        (name, number(figures[name].value, name), interval(figures[name], name), figures[name].definition)
        for name in order
    ]
    what = "over test items" if len(records) == 1 else f"over {len(records)} {over(records)}"
    return tabulate(rows, headers=("metric", "value", f"95 % {what}", "meaning"), disable_numparse=True)


def title(records: Sequence[Record]) -> str:
    """One line that says what was run."""
    cell, seeds = records[0].cell, sorted(r.seeds["cell"] for r in records)
    defenses = " + ".join(d["name"] for d in cell["defenses"]) or "no defense"
    span = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}-{seeds[-1]}"
    names = f"{cell['attack']['name']} against {cell['victim']['name']} on {cell['dataset']['name']}"
    return (
        f"{names}, {defenses}, profile {cell['profile']}, {span}: {' and '.join(sorted({r.status for r in records}))}"
    )


def grouped(records: Iterable[Record]) -> list[list[Record]]:
    """Records that differ in seed only, together; in order of dataset, victim, attack."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        whole(record)
        groups.setdefault(record.group, []).append(record)
    name = [("dataset", "name"), ("victim", "name"), ("attack", "name")]
    return sorted(groups.values(), key=lambda g: [g[0].cell[a][b] for a, b in name] + [g[0].group])


class Part(BaseModel):
    """A component of a cell, as a record holds it."""

    model_config = ConfigDict(strict=True)

    name: str
    parameters: dict[str, Any]


class RecordedCell(BaseModel):
    """What a table reads of a record's cell; a record's own schema leaves its shape open."""

    model_config = ConfigDict(strict=True)

    attack: Part
    victim: Part
    dataset: Part
    extractor: Part | None = None
    defenses: list[Part]
    profile: str
    seed: int


def whole(record: Record) -> None:
    """Refuses a record whose cell lacks a part, or is of another shape."""
    try:
        seed = RecordedCell.model_validate(record.cell).seed
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MolebenchError(f"record {record.key[:12]}: cell.{where}: {first['msg']}; move it away") from error
    if record.seeds.get("cell") != seed:
        raise MolebenchError(f"record {record.key[:12]}: its seeds are not its cell's {seed}; move it away")


def store_table(records: Iterable[Record], form: str, stale: Container[str] = ()) -> str:
    """What `report` prints: one row a group, in md, html, csv, latex or plain text. stale: keys of old code's."""
    known(form)
    rows = [group_row(group, stale) for group in grouped(records)]
    shown = [n for n in FIRST if any(n in row for row in rows)]
    header = [*HEAD, *shown]
    return rendered(header, [[row.get(name, "") for name in header] for row in rows], form)


def known(form: str) -> None:
    """Refuses a format that there is not."""
    if form not in (*FORMATS, "csv"):
        raise unknown("report format", form, [*FORMATS, "csv"])


def rendered(header: Sequence[str], cells: Sequence[Sequence[str]], form: str) -> str:
    """A table as text in one of the formats; what its cells say cannot break out of them."""
    if form == "csv":
        return _csv(header, cells)
    if form == "md":
        cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    return tabulate(cells, headers=header, tablefmt=FORMATS[form], disable_numparse=True)


def group_row(group: Sequence[Record], stale: Container[str] = ()) -> dict[str, str]:
    """The cells of one row, as text."""
    cell = group[0].cell
    row = {part: cell[part]["name"] for part in ("attack", "victim", "dataset")}
    row["defenses"] = " + ".join(d["name"] for d in cell["defenses"]) or "none"
    row |= {"profile": cell["profile"], "seeds": str(len(group)), "changed": departures(cell)}
    row["intervals over"] = over(group)
    old = ["(stale)"] if any(r.key in stale for r in group) else []
    row["status"] = " ".join([*sorted({r.status for r in group}), *old])
    for name, figure in over_seeds(group).items():
        row[name] = f"{number(figure.value, name)} {interval(figure, name)}".strip()
    return row


def over(group: Sequence[Record]) -> str:
    """What a group's intervals are over: the test items of its one record, or its trials.

    seeds: each a model of its own. draws: all of one model. models: several, with several draws of some.
    """
    models = len({model(record) for record in group})
    if len(group) == 1:
        return "items"
    return "draws" if models == 1 else "seeds" if models == len(group) else "models"


def edited(record: Record) -> list[str]:
    """The components of ours whose code today is not what made a record, from files' text alone."""
    from molebench import registry

    ours = [part for part in record.components if part.origin == "molebench"]
    now = [registry.code_sha256(module_of(f"{part.kind}s", part.name)) for part in ours]
    return [f"{part.kind} {part.name}" for part, sha in zip(ours, now, strict=True) if sha != part.code_sha256]


def module_of(kind: str, name: str) -> str:
    """The module of a component of ours."""
    from molebench import places

    return f"molebench.{kind}.{places.plain(kind, name)}"


def departures(cell: dict[str, Any]) -> str:
    """The parameters that differ from the plug-in's default at this profile, such as 'victim.head=nn2'."""
    from molebench import registry

    found, modality = [], modality_of(cell)
    for role, kind, part in parts(cell):
        if registry.has(kind, part["name"]):
            plugin = registry.find(kind, part["name"])
            required = any(p.required for p in plugin.parameters.values())
            usual = {} if required else plugin.resolve({}, str(cell["profile"]), modality)
            found += [f"{role}.{k}={v}" for k, v in part["parameters"].items() if usual.get(k, v) != v]
    return " ".join(found)


def modality_of(cell: dict[str, Any]) -> str:
    """What a cell's victim deals with; images where this version has no such victim."""
    from molebench import registry

    victim = cell["victim"]["name"]
    return registry.find("victims", victim).card.modality if victim in registry.files("victims") else "image"


def parts(cell: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What a user can set of a cell: the name to set it by, its kind, and its name and parameters."""
    roles = ("dataset", "attack", "victim", "extractor", "scorer")
    yield from ((role, f"{role}s", cell[role]) for role in roles if role in cell)
    yield from ((defense["name"], "defenses", defense) for defense in cell["defenses"])


def number(value: float, name: str) -> str:
    """Counts without decimals (their means with one), points and decibels with one, fractions with three."""
    if name == "n" or name.startswith("n_"):
        return f"{round(value, 1):g}"
    digits = 1 if "delta" in name or name in ("psnr", "snr", "clean_cost") else 3
    return f"{round(value, digits) + 0.0:.{digits}f}"  # 0.0 takes the sign off a zero


def interval(figure: MetricValue, name: str) -> str:
    """'[low, high]', or nothing for a plain count."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{number(figure.low, name)}, {number(figure.high, name)}]"


ESCAPES = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"})


def paragraph(text: str, form: str) -> str:
    """A paragraph in a format, its special characters made harmless."""
    if form == "html":
        from html import escape

        return f"<p>{escape(text)}</p>"
    return text.translate(ESCAPES) if form == "latex" else text


def _csv(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"'{c}" if c[:1] in ("=", "+", "@", "\t") else c for c in row] for row in cells)
    return out.getvalue().rstrip("\n")
