"""Runs a submission again, in a sandbox, and holds its claims to what comes out.

Every cell of a claim is run from nothing: no stage and no record that another run has left is used, since that run may
have been anybody's. A claim holds where the mean over its seeds lies in the interval that it gives. What holds is put
into the store, and said of it by whom it was run (molebench.attesting); where a claim does not, the store is left as it
was.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from molebench.attesting import attest
from molebench.errors import MolebenchError, listed
from molebench.grid import Cell, Lookup, Part, Resolved, resolve
from molebench.progress import say
from molebench.record import ArmRecord, MetricValue, Record
from molebench.registry import Plugin
from molebench.report import number, over_seeds
from molebench.runner import run_resolved
from molebench.sandbox.box import Driver
from molebench.sandbox.jailing import jailed
from molebench.store import Store
from molebench.submission.evidence import BEARING
from molebench.submission.form import Claim, Form, neighbours
from molebench.submission.packages import unpacked
from molebench.submission.standing_in import stand_in
from molebench.workspace import Workspace

COSTS = {"seconds", "time_ratio", "memory_ratio"}  # facts of a poison and metrics that are of the run alone
UNPROVED = "unreproduced"  # what is set aside where the same cell gives something else


@dataclass(frozen=True)
class Verdict:
    """A claim and what came out. figure: of the claimed metric, over the seeds; None where there is none."""

    claim: Claim
    records: tuple[Record, ...]
    figure: MetricValue | None

    @property
    def broken(self) -> str:
        """The status of a record on which no claim can rest; '' where there is none."""
        return next((each.status for each in self.records if each.status not in BEARING), "")

    @property
    def holds(self) -> bool:
        """Whether the mean lies in the interval that is claimed, to the digits that are printed, and no rule was
        broken on the way."""
        if self.broken:
            return False
        step = 0.5 * 10.0 ** -len(number(self.claim.value, self.claim.metric).partition(".")[2])
        return self.figure is not None and self.claim.low - step <= self.figure.value <= self.claim.high + step


def verified(
    folder: Path,
    form: Form,
    driver: Driver | None,
    workspace: Workspace,
    profile: str = "tiny",
    seeds: Sequence[int] = (),
) -> list[Verdict]:
    """A verdict on each claim of a profile, all of which are put into the store if they hold. driver: of the sandbox;
    None runs the code unguarded. seeds: others than those of the claims."""
    claims = [claim for claim in form.claims if claim.profile == profile]
    if not claims:
        there = sorted({claim.profile for claim in form.claims})
        raise MolebenchError(f"{form.slug} claims nothing at profile {profile}; try --profile {listed(there)}")
    home = workspace.cache / "verifying" / f"{tried_in(driver)}-{form.slug}-{form.digest[:12]}"
    beside = {folder.absolute().parent / slug: other for slug, other in neighbours(folder, form).items()}
    with shown({folder: form, **beside}, driver, workspace) as (lookup, inside):
        apart = replace(inside, store=home / "store", stages=home / "stages")
        verdicts = judged(form, claims, lookup, apart, seeds)
    if all(verdict.holds for verdict in verdicts):
        published(verdicts, Store(home / "store"), workspace.store, tier(driver, profile), tried_in(driver))
    shutil.rmtree(home, ignore_errors=True)  # the next time begins with nothing
    return verdicts


@contextmanager
def shown(
    forms: Mapping[Path, Form], driver: Driver | None, workspace: Workspace
) -> Iterator[tuple[Lookup, Workspace]]:
    """What stands here for submissions, by folder, and a workspace whose jail holds what they are."""
    with TemporaryDirectory(prefix="molebench-") as name:
        (temporary := Path(name)).chmod(0o755)  # whoever runs them must be able to read them
        plugins, held = {}, {}
        for folder, form in forms.items():
            plugins[f"{form.kind}s", form.slug] = stand_in(form, folder, temporary)
            to = temporary / "packages" / form.slug
            wheel = form.package and unpacked(form.package, folder, to, workspace.offline)
            held[form.slug] = wheel or folder / form.source
        with jailed(driver, held, workspace) as jail:
            yield Sealed(plugins=plugins), replace(workspace, jail=jail)


class Sealed(Lookup):
    """Looks up what claims name, and no file of this machine: a private folder would be shown to the code as a dataset,
    a private file be read as weights."""

    def part(self, plugin: Plugin, given: Mapping[str, Any], profile: str, modality: str) -> Part:
        """As any lookup; MolebenchError for a path."""
        for name, parameter in plugin.parameters.items():
            if parameter.is_path and name in given and given[name] not in parameter.words:
                raise MolebenchError(
                    f"set: {plugin.kind}.{name} = {given[name]!a} is a path; a submission reads no file of whoever "
                    f"verifies it: leave it out{f', or say {listed(parameter.words)}' if parameter.words else ''}"
                )
        return super().part(plugin, given, profile, modality)


def judged(
    form: Form, claims: Sequence[Claim], lookup: Lookup, workspace: Workspace, seeds: Sequence[int]
) -> list[Verdict]:
    """Runs the cells of claims, those that several share once, and judges each claim."""
    wanted = [[resolve(cell, lookup) for cell in cells(form, claim, seeds)] for claim in claims]
    every = {each.key: each for some in wanted for each in some}
    records = {}
    for i, (key, each) in enumerate(every.items(), 1):
        say(f"cell {i} of {len(every)}: {title(each)}")
        records[key] = run_resolved(each, workspace)
    return [judge(claim, [records[each.key] for each in some]) for claim, some in zip(claims, wanted, strict=True)]


def judge(claim: Claim, records: Sequence[Record]) -> Verdict:
    """What came out of a claim's cells."""
    return Verdict(claim, tuple(records), over_seeds(records).get(claim.metric))


def cells(form: Form, claim: Claim, seeds: Sequence[int] = ()) -> list[Cell]:
    """The cells of a claim."""
    attack = claim.attack or form.slug
    defenses = (form.slug,) if form.kind == "defense" else claim.defenses
    return [
        Cell(
            attack=attack,
            victim=claim.victim,
            dataset=claim.dataset,
            defenses=defenses,
            parameters=dict(claim.set_),
            profile=claim.profile,
            seed=seed,
        )
        for seed in seeds or claim.seeds
    ]


def title(resolved: Resolved) -> str:
    """A cell in words."""
    cell = resolved.cell
    behind = f", defenses {' + '.join(cell.defenses)}" if cell.defenses else ""
    return f"{cell.attack} against {cell.victim}{behind}, profile {cell.profile}, seed {cell.seed}"


def tried_in(driver: Driver | None) -> str:
    """What it was run in, as a name."""
    return driver.name if driver else "unguarded"


def tier(driver: Driver | None, profile: str) -> str:
    """How far this shows it."""
    if driver is None:
        return "local-trusted"
    return "reproduced-tiny" if profile == "tiny" else "reproduced"


# Into the store


def published(verdicts: Sequence[Verdict], made: Store, store: Path, tier: str, where: str) -> None:
    """Takes records over into a store and says who ran them. One that is there and says the same stays."""
    records = {record.key: record for verdict in verdicts for record in verdict.records}
    there = [taken(record, made, Store(store)) for record in records.values()]
    attest(store, there, tier, f"molebench verify, {where}")


def taken(record: Record, made: Store, store: Store) -> Record:
    """The record that a store holds of a cell afterwards."""
    known = store.sound(record.key)
    if known and outcome(known) == outcome(record):
        return known
    if known:
        store.supersede(record.key, UNPROVED)
    names = [f"cells/{record.key}/{name}" for name in (*(arm.predictions for arm in arms(record)), "record.json")]
    names += [name] if (made.root / (name := f"poisons/{record.poison.sha256}.safetensors")).is_file() else []
    store.adopt(record.key, {name: (made.root / name).read_bytes() for name in names})
    return record


def outcome(record: Record) -> tuple[Any, ...]:
    """What comes out alike where a record is reproduced; of the poison more is said than predictions show.
    What it cost comes out otherwise each time."""
    poison, measured = record.poison, {name: each.value for name, each in record.metrics.items()}
    figures = [{n: v for n, v in some.items() if n not in COSTS} for some in (poison.facts, measured)]
    named = (poison.sha256, poison.n, poison.violations, poison.unmet)
    return predictions(record), record.status, named, figures, record.trusted_data


def predictions(record: Record) -> list[str]:
    """What names the predictions of every arm."""
    return sorted(arm.predictions_sha256 for arm in arms(record))


def arms(record: Record) -> list[ArmRecord]:
    """Every arm, those of updates too."""
    return [*record.arms.values(), *(arm for update in record.updates for arm in update.arms.values())]
