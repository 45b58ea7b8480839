"""`verify`: run a submission again, in a sandbox, and hold its claims to what comes out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molebench.commands.shared import Offline, StoreDir, opened, plain_errors
from molebench.errors import MolebenchError, unknown

if TYPE_CHECKING:
    from molebench.submission.verifying import Verdict

HEAD = ("claim", "metric", "against", "seeds", "claimed", "measured", "verdict")


@plain_errors
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a submission.")],
    profile: Annotated[str, typer.Option(help="Which claims to run: those at tiny, small or paper.")] = "tiny",
    store: StoreDir = None,
    driver: Annotated[
        str | None, typer.Option("--driver", help="bwrap or docker; the first that holds where not given.")
    ] = None,
    trusted: Annotated[
        bool, typer.Option("--i-trust-this-code", help="Run it without a sandbox; its records say so.")
    ] = False,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Instead of the claims' seeds; repeatable.")
    ] = None,
    offline: Offline = False,
) -> None:
    """Run a submission's cells in a sandbox and compare them with its claims; exit code 4 where one does not hold."""
    from tabulate import tabulate

    from molebench.commands.submit import faulty
    from molebench.grid import PROFILES
    from molebench.progress import say
    from molebench.sandbox.choosing import chosen
    from molebench.submission.check import accepted
    from molebench.submission.form import Faulty
    from molebench.submission.verifying import tier, verified

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    if trusted and driver:
        raise MolebenchError(f"--i-trust-this-code runs without a sandbox; leave out it or --driver {driver}")
    try:
        form = accepted(folder)
    except Faulty as error:
        faulty(error.faults)
        raise
    shut = None if trusted else chosen(driver)
    say(f"{form.slug}: its code runs {f'in {shut.name}' if shut else 'without a sandbox, as you trust it'}")
    workspace = opened(store, offline)
    verdicts = verified(folder, form, shut, workspace, profile, seed or ())
    typer.echo(tabulate([row(i, each) for i, each in enumerate(verdicts, 1)], HEAD, disable_numparse=True))
    failed = [each for each in verdicts if not each.holds]
    if failed:
        typer.echo(f"molebench: {len(failed)} of {len(verdicts)} claims do not hold; nothing was written", err=True)
        raise typer.Exit(4)
    records = len({record.key for each in verdicts for record in each.records})
    typer.echo(f"tier: {tier(shut, profile)}, {records} records: {workspace.store}")


def row(i: int, verdict: "Verdict") -> list[str]:
    """A claim beside what came out."""
    from molebench.report import interval, number

    claim, figure, name = verdict.claim, verdict.figure, verdict.claim.metric
    value, low, high = (number(each, name) for each in (claim.value, claim.low, claim.high))
    measured = f"{number(figure.value, name)} {interval(figure, name)}".strip() if figure else "no such figure"
    against = " + ".join([claim.attack or "", claim.victim, *claim.defenses]).removeprefix(" + ")
    seeds = " ".join(str(record.cell["seed"]) for record in verdict.records)
    return [
        str(i),
        name,
        against,
        seeds,
        f"{value} [{low}, {high}]",
        measured,
        "holds" if verdict.holds else f"does not hold{f': a record is {verdict.broken}' if verdict.broken else ''}",
    ]
