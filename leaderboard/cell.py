"""The page of one record: what was run, what came out with what certainty, and what it rests on."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from molebench.leaderboard.rows import Row, parts
from molebench.leaderboard.site import Crumb, Page, Site, cell_page, subject_page
from molebench.leaderboard.subjects import in_words
from molebench.metrics import definition
from molebench.pair_deltas import Effect, effects
from molebench.record import ArmRecord, Record
from molebench.report import FIRST, interval, number

PAIRS = 10  # shown of all
Fact = tuple[str, str, str]  # term, text, address
KNOWN = {name: i for i, name in enumerate(FIRST)}


def cell_pages(site: Site) -> Iterator[Page]:
    """A page for each record."""
    for record in site.records:
        yield page(record, site.row_of[record.key], site.tier(record.key))


def page(record: Record, row: Row, tier: str) -> Page:
    """A record's page."""
    context = {
        "record": record,
        "row": row,
        "tier": tier,
        "facts": {
            "What was run": run(record),
            "Threat model": threat(record),
            "Code": code(record),
            "Data and weights": data(record),
            "Environment": environment(record),
        },
        "metrics": metrics(record),
        "arms": [arm(name, found) for name, found in record.arms.items()],
        "updates": updates(record),
        "siblings": [(str(seed), cell_page(key), key == record.key) for seed, key in row.seeds.items()],
    }
    title = f"{row.title}, seed {record.seeds['cell']}"
    return Page(cell_page(record.key), "cell.html.j2", title, context, (Crumb("All cells", "cells.html"),))


# What was run


def run(record: Record) -> list[Fact]:
    """The parts of the cell with their parameters."""
    found = [(role, named(part), page_of(role, part["name"])) for role, part in parts(record.cell)]
    profile = ("profile", record.cell["profile"], "")
    return [*found, profile, *(("seed of the " + name, str(seed), "") for name, seed in record.seeds.items())]


def named(part: Mapping[str, Any]) -> str:
    """A part and its parameters."""
    own = ", ".join(f"{name}={value}" for name, value in part["parameters"].items())
    return f"{part['name']}: {own}" if own else str(part["name"])


def page_of(role: str, name: str) -> str:
    """The page of a part; a defense's role is its name."""
    if role in ("extractor", "scorer"):
        return ""
    return subject_page(role if role in ("attack", "victim", "dataset") else "defense", name)


def threat(record: Record) -> list[Fact]:
    """What the attacker may do and knows, and what a defense was given."""
    given = ((f"trusted: {name}", f"{count} items", "") for name, count in record.trusted_data.items())
    return [("attacker", in_words(record.threat_model), "threats.html"), *given]


# What it rests on


def code(record: Record) -> list[Fact]:
    """The components, each with the sha256 of its code."""
    parts = ((f"{p.kind} {p.name}", f"{p.origin} {p.version}, sha256 {p.code_sha256}", "") for p in record.components)
    return [("molebench", flat(record.code), ""), *parts]


def data(record: Record) -> list[Fact]:
    """Files, splits and weights, each with its sha256."""
    files = ((name, f"{f.bytes} bytes, sha256 {f.sha256}", "") for name, f in record.data.files.items())
    sizes = record.data.sizes
    splits = ((f"split {n}", f"{sizes.get(n, '?')} items, sha256 {s}", "") for n, s in record.data.splits.items())
    weights = ((f"weights {w.name}", f"{w.source}, sha256 {w.sha256}", "") for w in record.weights)
    poison = ("poison", f"{record.poison.n} items, sha256 {record.poison.sha256}", "")
    return [*files, *splits, *weights, poison, *facts_of_poison(record)]


def facts_of_poison(record: Record) -> Iterator[Fact]:
    """What is known of the poisons, over all of them."""
    for name, summary in record.poison.facts.items():
        yield f"poison: {name}", ", ".join(f"{what} {value:.4g}" for what, value in summary.items()), ""
    for word, said in (("broken rules", record.poison.violations), ("missed conditions", record.poison.unmet)):
        if said:
            yield word, "; ".join(said), ""


def environment(record: Record) -> list[Fact]:
    """Where and when it was run, and how long each stage took."""
    found = [(name, flat(value), "") for name, value in record.environment.items()]
    took = flat({stage: f"{seconds:.1f} s" for stage, seconds in record.durations.items()})
    memory = ("peak memory", f"{record.peak_memory_mib:.0f} MiB", "")
    reused = ("reused", ", ".join(record.reused) or "nothing", "")
    return [("started", record.started, ""), *found, memory, ("stages", took or "none", ""), reused]


def flat(value: Any) -> str:
    """A value of a record in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {flat(inner)}" for name, inner in value.items())
    return "none" if value is None else str(value)


# What came out


def metrics(record: Record) -> list[tuple[str, str, str, str, bool]]:
    """Name, value, interval, meaning, and whether the glossary has it; the main ones first."""
    order = sorted(record.metrics, key=lambda name: (KNOWN.get(name, len(KNOWN)), name))
    return [(name, *told(record, name)) for name in order]


def told(record: Record, name: str) -> tuple[str, str, str, bool]:
    """A figure in words."""
    found = record.metrics[name]
    try:
        said, known = definition(name), True
    except KeyError:
        said, known = found.definition, False
    return number(found.value, name), interval(found, name), said, known


def arm(name: str, found: ArmRecord) -> tuple[str, str, str, str]:
    """An arm: its name, right of all, and the file of its predictions with its sha256."""
    right, n = sum(found.correct), sum(found.n)
    share = f"{right / n:.3f}" if n else "–"
    return name.replace("_", ", "), share, f"{right} of {n}", f"{found.predictions}, sha256 {found.predictions_sha256}"


def updates(record: Record) -> dict[str, Any] | None:
    """How many updates there were, and the pairs whose attacked class loses most."""
    if not record.updates or "clean_undefended" not in record.arms:
        return None
    found = [effect for effect in effects(record) if effect.attacked]
    worst = sorted(found, key=lambda effect: effect.figures.get("delta_a", 0.0))[:PAIRS]
    moles, size = (sum(getattr(update, name) for update in record.updates) for name in ("moles", "size"))
    return {"count": len(record.updates), "moles": moles, "size": size, "pairs": len(found), "worst": pairs(worst)}


def pairs(found: Iterable[Effect]) -> list[tuple[str, str, int, list[str]]]:
    """The cells of each pair."""
    names = ("rho", "n", "delta_a", "delta_a_control", "delta_confounding")
    return [
        (e.attacked, e.confounding, e.update + 1, [number(e.figures[n], n) if n in e.figures else "–" for n in names])
        for e in found
    ]
