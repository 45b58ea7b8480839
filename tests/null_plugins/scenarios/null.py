"""A scenario without learning: predictions drawn from the seed, and a base that cells of one seed share."""

import ctypes
import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from molebench import metrics
from molebench.errors import CellFailed
from molebench.rng import stream
from molebench.trial import ArmOutcome, Outcome, Trial


def play(trial: Trial) -> Outcome:
    """Guesses for both arms."""
    victim, y = trial.victim, trial.dataset.splits["test"].y
    misbehave(victim, trial.seed)
    base = trial.stages.get("null", {"seed": trial.seed}, lambda: computed(trial), "null")["base"]
    with trial.progress("waiting", 10) as advance:
        for _ in range(10):
            spend(victim.seconds / 10, victim.works)
            advance(1)
    poison = trial.attack.craft(None, None)
    arms = {name: ArmOutcome(guesses(trial, name, base), {}) for name in ("clean_undefended", "poisoned_undefended")}
    right = float((arms["clean_undefended"].predicted == y).mean())
    return Outcome(
        y,
        arms,
        {"accuracy_clean": metrics.Metric(right, None, None, "share of guesses that are right")},
        poison,
        [],
        trial.dataset.fingerprints,
        {"pool": len(y), "test": len(y)},
    )


def spend(seconds: float, works: bool) -> None:
    """Passes time, asleep or with so much arithmetic as usually takes that long."""
    if not works:
        time.sleep(seconds)
        return
    x = np.full((200, 200), 0.5)
    for _ in range(round(seconds * 25_000)):
        x = np.sqrt(x * 0.5)


def computed(trial: Trial) -> dict[str, Any]:
    """What cells of one seed share; a line in a file says that it was computed, where the environment names one."""
    if log := os.environ.get("NULL_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{trial.seed}\n")
    return {"base": stream(trial.seed, "null base").integers(0, 2, 60)}


def guesses(trial: Trial, arm: str, base: Any) -> Any:
    """Zeros and ones."""
    noise = time.time_ns() if trial.victim.behaves == "wavers" else 0
    return (base + stream(trial.seed + noise, "null guesses", arm).integers(0, 2, 60)) % 2


def misbehave(victim: Any, seed: int) -> None:
    """What the victim was told to do at this seed."""
    if victim.behaves == "fine" or str(seed) not in victim.seeds.split(","):
        return
    if victim.once:
        flag = Path(victim.once) / f"tried-{seed}"
        if flag.exists():
            return
        flag.touch()
    WAYS[victim.behaves]()


def raises() -> None:
    """As a cell that cannot be finished."""
    raise CellFailed("the null victim was told to fail")


def crashes() -> None:
    """A segmentation fault."""
    sys.stderr.write("about to read address 0\n")
    sys.stderr.flush()
    ctypes.string_at(0)


def hangs() -> None:
    """For ever, deaf to all but SIGKILL."""
    while True:
        time.sleep(60)


def eats() -> None:
    """A GiB and a half, and keeps it."""
    eaten = np.ones(3 * 2**26)
    time.sleep(600 * eaten[0])


def full() -> None:
    """As where the disk has no room."""
    raise OSError(errno.ENOSPC, "No space left on device", "store")


WAYS = {
    "raises": raises,
    "crashes": crashes,
    "hangs": hangs,
    "eats": eats,
    "exits": lambda: os._exit(7),
    "full": full,
    "wavers": lambda: None,  # its guesses are never the same
}
