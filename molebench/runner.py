"""From a cell to its record: look up, load, hand to the scenario, judge, write. One process, one cell at a time."""

import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from molebench import provenance, registry
from molebench.cards import UNRANKED
from molebench.compatible import check_modality
from molebench.errors import DISK, Busy, CellFailed, MolebenchError, cannot_write, listed
from molebench.grid import Cell, Resolved, modules, resolve
from molebench.isolating import gone_after
from molebench.places import Place
from molebench.predictions import Writing, poison_arrays
from molebench.preparing import equipped, loaded, prepared
from molebench.progress import say
from molebench.record import (
    SCHEMA,
    Component,
    Damaged,
    DataRecord,
    FileFact,
    MetricValue,
    PoisonRecord,
    Record,
    WeightsRecord,
)
from molebench.stages import Stages
from molebench.store import Store
from molebench.trial import Outcome, fact_summary
from molebench.types import Dataset
from molebench.weights import Weights
from molebench.workspace import Workspace


def run(cell: Cell, workspace: Workspace | None = None, wait: bool = True) -> Record:
    """The record of a cell: the one in the store where today's code made it, otherwise a new one.

    Of two processes that want one cell at once, one runs it and the other waits for its record or, without `wait`,
    raises Busy. Raises MolebenchError for a user's mistake; CellFailed, and a note in attempts/, where a cell cannot
    finish.
    """
    return run_resolved(resolve(cell), workspace or Workspace.from_environment(), wait)


def run_resolved(resolved: Resolved, workspace: Workspace, wait: bool = True) -> Record:
    """The same of a cell whose names have been looked up."""
    store = Store(workspace.store)
    if known := up_to_date(store, resolved):
        return known
    with store.locked(resolved.key, wait) as ours:
        if not ours:
            raise Busy(f"another process is at cell {resolved.key[:12]}; run the same command again when it is done")
        if (known := store.sound(resolved.key)) and not (edited := changed(known, resolved)):
            return known
        if known:
            say(f"the record of this cell was made by other code ({listed(edited)}): running again")
        return tried(resolved, workspace, store)


def up_to_date(store: Store, resolved: Resolved) -> Record | None:
    """The record of a cell where it is whole and today's code made it."""
    try:
        known = store.get(resolved.key)
    except Damaged:
        return None
    return known if known and not changed(known, resolved) else None


def tried(resolved: Resolved, workspace: Workspace, store: Store) -> Record:
    """Runs a cell that this process holds; a failure is noted, and a full disk or memory is one clear line."""
    started = datetime.now(UTC)
    try:
        return executed(resolved, workspace, store)
    except CellFailed as error:
        try:
            note_failure(store, resolved, error, started)
        except MolebenchError as unwritable:
            say(f"the failure could not be noted: {unwritable}")
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise cannot_write(str(error.filename or workspace.store), error) from error
    except MemoryError as error:
        raise MolebenchError(f"cell {resolved.key[:12]} ran out of memory; try a smaller profile or pool") from error


def note_failure(store: Store, resolved: Resolved, error: MolebenchError, started: datetime | None = None) -> None:
    """Leaves attempts/NN.json where a cell has no record: what was tried, when, and why it failed."""
    said: dict[str, Any] = {"cell": resolved.canonical, "type": type(error).__name__, "message": str(error)}
    if started:
        seconds = (datetime.now(UTC) - started).total_seconds()
        said |= {"started": started.isoformat(timespec="seconds"), "seconds": round(seconds, 3)}
    store.failed(resolved.key, said)


def changed(record: Record, resolved: Resolved) -> list[str]:
    """The components whose code is no longer what made the record: what makes it stale."""
    then = {(c.kind, c.name): c.code_sha256 for c in record.components}
    now = {(c.kind, c.name): c.code_sha256 for c in components(resolved)}
    return sorted(f"{kind} {name}" for (kind, name), sha in now.items() if then.get((kind, name)) != sha)


def executed(resolved: Resolved, workspace: Workspace, store: Store) -> Record:
    """Runs a cell and commits what came out."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    stages = Stages(workspace.stages or workspace.cache / "stages", explain=say if workspace.explain else None)
    scenario = importlib.import_module(f"molebench.scenarios.{resolved.scenario}")
    with provenance.computing_threads():
        dataset = loaded(resolved.parts["dataset"], workspace)
        check_modality(resolved.parts["victim"].plugin, resolved.parts["dataset"].plugin, dataset.modality.name)
        victim, extractor, weights = equipped(resolved, workspace)
        trial = prepared(resolved, workspace, stages, dataset, victim, extractor, weights)
        with gone_after(trial):
            outcome: Outcome = scenario.play(trial)
        used = [each for each in (weights, trial.scorer_weights) if each]
        record = assembled(resolved, dataset, used, outcome, stages, started)
    store.make_way(resolved.key)  # a record of other code is kept until there is something to put in its place
    writing = Writing(store, resolved.key, outcome, dataset.classes)
    found = {"arms": writing.arms(), "updates": writing.updates()}
    store.save_poison(outcome.poison.sha256, poison_arrays(outcome))
    if outcome.illustration:
        store.save_illustration(resolved.key, outcome.illustration)
    record = record.model_copy(update=found).sealed()
    store.commit(record)
    return record


def components(resolved: Resolved) -> list[Component]:
    """Every plug-in that takes part, and the scenario."""
    parts = (*resolved.parts.values(), *resolved.defenses)
    places = {f"{part.plugin.kind} {part.name}": part.plugin.place for part in parts}
    return [_component(title, module, places.get(title)) for title, module in modules(resolved).items()]


def _component(title: str, module: str, where: Place | None) -> Component:
    kind, _, name = title.partition(" ")
    origin, version = registry.from_whom(where) if where else registry.provenance(kind, name)
    return Component(kind=kind, name=name, version=version, origin=origin, code_sha256=registry.code_sha256(module))


def assembled(
    resolved: Resolved, dataset: Dataset, weights: Sequence[Weights], outcome: Outcome, stages: Stages, started: str
) -> Record:
    """The record, arms and seal still missing."""
    status, warnings = judged(resolved, outcome, weights)
    stated = [part.plugin.card.threat for role, part in resolved.parts.items() if role in ("attack", "scorer")]
    threat, knows = stated[0], {word for each in stated if each for word in each.knows}
    seed = resolved.parts["victim"].values.get("seed")
    return Record(
        schema=SCHEMA,
        key=resolved.key,
        group=resolved.group,
        cell=resolved.canonical,
        scenario=resolved.scenario,
        status=status,
        started=started,
        durations={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
        reused=sorted(set(stages.reused)),
        peak_memory_mib=provenance.peak_memory_mib(),
        components=components(resolved),
        threat_model={
            "may": sorted(threat.may) if threat else [],
            "knows": sorted(knows),
            "norm": threat.norm if threat else None,
            "bound": threat.bound if threat else None,
        },
        poison=PoisonRecord(
            sha256=outcome.poison.sha256,
            n=len(outcome.poison),
            violations=outcome.violations,
            unmet=list(outcome.poison.unmet),
            facts=fact_summary(outcome.poison_facts),
        ),
        data=DataRecord(
            files={n: FileFact(sha256=f.sha256, bytes=f.bytes) for n, f in dataset.files.items()},
            splits=dict(outcome.splits),
            sizes=dict(outcome.sizes),
            classes=list(dataset.classes),
        ),
        weights=[WeightsRecord(name=w.name, source=w.source, sha256=w.sha256) for w in weights],
        seeds={"cell": resolved.cell.seed, "model": resolved.cell.seed if seed is None else seed},
        environment=provenance.environment(),
        code=provenance.code(),
        arms={},
        metrics={
            name: MetricValue(value=m.value, low=m.low, high=m.high, definition=m.definition)
            for name, m in sorted(outcome.metrics.items())
        },
        trusted_data=trusted(resolved, outcome),
        warnings=warnings,
    )


def trusted(resolved: Resolved, outcome: Outcome) -> dict[str, int]:
    """What defenses were shown beyond what the learner owns, and of how many items."""
    shown = {what for d in resolved.defenses for what in UNRANKED & set(d.plugin.card.sees)}
    whole = {what: outcome.sizes["pool"] + len(outcome.poison) for what in sorted(shown)}
    clean = outcome.metrics.get("trusted_images")
    return {**outcome.trusted, **whole, **({"clean_images": int(clean.value)} if clean else {})}


def judged(resolved: Resolved, outcome: Outcome, weights: Sequence[Weights]) -> tuple[Any, list[str]]:
    """The status of a finished cell, and what a reader should know: invalid before unhealthy before ok."""
    low, high = resolved.parts["victim"].plugin.card.band
    clean = outcome.metrics["accuracy_clean"].value
    warnings = list(outcome.poison.unmet)
    if not low <= clean <= high:
        warnings.append(f"the victim's clean accuracy {clean:.3f} is outside its band {low:g}-{high:g}")
    unhealthy = bool(warnings)
    warnings += outcome.warnings
    asked = resolved.parts["attack"].values.get("n_poison", 0)
    if len(outcome.poison) < asked:
        warnings.append(f"{asked} poisons were asked for; the attacker's images allow {len(outcome.poison)}")
    if not all(each.rankable for each in weights):
        warnings.append("the weights are random: never ranked")
    if unranked := sorted(d.name for d in resolved.defenses if UNRANKED & set(d.plugin.card.sees)):
        warnings.append(f"defense {listed(unranked)} sees what no defense could know: never ranked")
    if diverged := int(np.sum(outcome.poison_facts.get("diverged", 0))):
        warnings.append(f"{diverged} poisons met NaN or infinity and kept their last good value")
    if outcome.violations:
        return "invalid", [*outcome.violations, *warnings]
    return "unhealthy" if unhealthy else "ok", warnings
