"""What the recruiting attacks share: which pairs and sizes are asked for, the checks on them, and random draws by pair.

A pair's random images depend on the attack's generator, the pair and the size alone: a pair that is run by itself gets
the images that it gets among all others.
"""

from collections.abc import Callable, Sequence

import numpy as np

from molebench.classnames import class_index, different, pair_list
from molebench.errors import MolebenchError
from molebench.updates import RecruitView


def pairs_asked(attacked: str, confounding: str, pairs: str, classes: Sequence[str]) -> list[tuple[int, int]]:
    """(attacked, confounding) of every pair asked for: those listed, or all that have the classes given."""
    if pairs != "all":
        if attacked or confounding:
            raise MolebenchError(f"pairs={pairs!r} beside attacked or confounding; give one or the other")
        return pair_list(pairs, classes)
    some = [[class_index(name, classes)] if name else list(range(len(classes))) for name in (attacked, confounding)]
    if attacked and confounding:
        return [different(some[0][0], some[1][0], classes)]
    return [(a, c) for a in some[0] for c in some[1] if a != c]


def sizes_asked(n: int, sweep_n: str) -> list[int]:
    """The sizes to try: n alone, or those of a list such as '25,50,100'."""
    if not sweep_n:
        return [n]
    try:
        found = [int(part) for part in sweep_n.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) != len(found):
        raise MolebenchError(f"sweep_n={sweep_n!r}: expected different sizes of 1 or more, such as 25,50,100,200")
    return sorted(found)


def check_pool(view: RecruitView, n: int) -> None:
    """Refuses, before anything is trained, a pool that a class-balanced update of n images a class cannot come from."""
    sizes, k = view.sizes, len(view.classes)
    least = int(sizes.argmin())
    if n > sizes[least]:
        raise MolebenchError(
            f"n={n} images of every class; class {view.classes[least]} has {sizes[least]} in the pool of "
            f"{len(view.base)}: choose a smaller n, or a larger pool"
        )
    if view.batch < k:
        raise MolebenchError(
            f"a batch of {view.batch} cannot hold an image of each of {k} classes; choose victim.batch={k} or more"
        )


def by_pair(rng: np.random.Generator) -> Callable[..., np.random.Generator]:
    """A generator for each (attacked, confounding, n): independent, and the same whatever else is drawn."""
    root = [int(word) for word in rng.integers(2**32, size=4)]
    return lambda *labels: np.random.default_rng([*root, *labels])
