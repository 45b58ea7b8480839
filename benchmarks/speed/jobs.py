"""Jobs whose memory is measured, each in a process of its own (apart.py). Nothing is imported that a job does not need:
what PyTorch alone takes is what all have in common."""

import time
from pathlib import Path

FEW_QUERIES = 100  # as few as heads are compiled for
STEPS = 2  # of each descent: a step more holds no more either


def nothing() -> None:
    """PyTorch, imported."""


def grid(pairs: int) -> None:
    """Pairs of a mole grid, one after the other."""
    from benchmarks.speed.grid_work import played

    played(pairs)


def course(folder: Path) -> None:
    """Five tasks, learned with LwF."""
    from benchmarks.speed.courses import Ours, school

    given = school("cl_lwf", 0, folder)
    ours = Ours(given)
    for t in range(len(given.tasks)):
        ours.learn(t)


def active_loop(n: int) -> None:
    """Queries of a pool of n items, which are joined with poisons as the scenario joins them."""
    import numpy as np

    from benchmarks.speed.loops import features, loop_of
    from molebench.scenarios.query_loop import Loop, items
    from molebench.types import Samples

    clean = features(n, "pool")
    z, y = np.concatenate([clean.z, clean.z[:500]]), np.concatenate([clean.y, clean.y[:500]])
    pool = items(Samples(np.zeros((len(y), 1, 1, 1), np.uint8), y), z, 500)
    loop_of(Loop, pool, features(n // 8, "test"), FEW_QUERIES).play(lambda n: None)


def extracting(name: str, side: int, n: int) -> None:
    """Features of n images."""
    from benchmarks.speed.networks import ours, stored
    from molebench.collision import extracted
    from molebench.types import IMAGE

    extracted(ours(name), stored(n, side), IMAGE)


def crafting(name: str, side: int, n: int) -> float:
    """Crafts n poisons, features of their bases included: seconds."""
    import numpy as np

    from benchmarks.speed.networks import ours, stored
    from molebench.attacks.feature_collision import FeatureCollision
    from molebench.types import IMAGE, AttackView, Samples

    view = AttackView(Samples(stored(n, side), np.arange(n) % 10), tuple("abcdefghij"), IMAGE, n, ours(name))
    start = time.perf_counter()
    FeatureCollision(n_poison=n, steps=STEPS, tolerance=0.0).craft(view, np.random.default_rng(0))
    return time.perf_counter() - start


def board(folder: Path, records: int) -> None:
    """Builds the site of so many records, which `written` has made."""
    from molebench.leaderboard.build import build

    assert build(folder / "store", folder / "site") == records


def written(folder: Path, records: int) -> None:
    """A store of made-up records."""
    from tests.board_records import fill

    fill(folder / "store", records)
