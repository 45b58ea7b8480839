"""Aims: the point of feature space that each poison of a feature collision goes to; one for all, several, or one each.

t: the target (zero, one or mean); F: features of the attacker's images; m: the median of |F - t|.

    one point    mu_i = t.
    p points     mu_j = t + min(radius m, |F_b - t| / 2) (F_b - t) / |F_b - t|:
                 short features, on p rays from t to bases b of which each is as unlike those before it as can be. A
                 poison goes to the point of another class whose ray is most like its own, as many to each point.
    neighbours   mu_i = F_b of an image b of another class, as near to F_i as can be, out of the p nearest to t.

Why: a head has the less to go by the shorter the features are (nearly uniform beliefs around zero), wherever they
point: the order of |F| is that of a head's entropy (measured: rank correlation -0.7 to -0.9, closer than that of
another head's entropy, 0.4 to 0.65). So poisons can stand apart and still be asked for. Points must lie on rays of real
images: a network's features end in rectifiers, and one that is dead gives no gradient to wake it. They must be of
another class: short features of the right class are asked for as well, but teach the head what it should learn.

What it costs the attacker: the farther apart, the more a poison tells the learner. Measured (EfficientNet-Lite0, 500
poisons): at one point 0.96 of them are asked for and accuracy falls by 15 points, or none behind collision_screen; with
500 points at radius=0.4 half of them get past the screen and are asked for, and accuracy does not fall.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from molebench.errors import MolebenchError
from molebench.types import Array

Target = Literal["zero", "one", "mean", "neighbour"]


def several(
    target: Float[Array, " d"],
    features: Float[Array, "n d"],
    labels: Int[Array, " n"],
    index: Int[Array, " m"],
    points: int,
    radius: float,
) -> Float[Array, "m d"]:
    """mu of each poison of the bases `index`, on rays from the target."""
    distance = np.linalg.norm(features - target, axis=1)
    rays = (features[index] - target) / np.maximum(distance[index], np.finfo(np.float32).tiny)[:, None]
    chosen = unlike(rays, points)
    length = np.minimum(radius * np.median(distance), distance[index][chosen] / 2)
    mine = shared_out(apart(1.0 - rays @ rays[chosen].T, labels[index], labels[index][chosen]))
    return (target + length[mine, None] * rays[chosen][mine]).astype(np.float32)


def unlike(rays: Float[Array, "m d"], count: int) -> Int[Array, " p"]:
    """`count` rays: the first, and ever again the one whose nearest ray so far is farthest; ties keep the lower."""
    chosen, nearest = [0], rays @ rays[0]
    nearest[0] = np.inf
    for _ in range(min(count, len(rays)) - 1):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, rays @ rays[chosen[-1]])
        nearest[chosen[-1]] = np.inf
    return np.array(chosen)


def shared_out(cost: Float[Array, "m p"]) -> Int[Array, " m"]:
    """A column for each row, so that they cost least together, none taken by more than its share (rounded up)."""
    from scipy.optimize import linear_sum_assignment

    m, p = cost.shape
    _, taken = linear_sum_assignment(np.tile(cost, (1, -(-m // p))))
    found: Array = taken % p
    return found


def neighbours(
    features: Float[Array, "n d"], labels: Int[Array, " n"], index: Int[Array, " m"], among: Int[Array, " p"]
) -> Float[Array, "m d"]:
    """For each poison of the bases `index`, the features of an image of `among` that is of another class."""
    if len(np.unique(labels[among])) < 2 and np.isin(labels[index], labels[among]).any():
        raise MolebenchError(
            f"target=neighbour with {len(among)} point(s), all of one class; a poison needs an image of another: "
            "choose points=2 or more, or a dataset of several classes"
        )
    from sklearn.metrics import euclidean_distances

    cost = apart(euclidean_distances(features[index], features[among]), labels[index], labels[among])
    cost += 2 * cost.max() * (index[:, None] == among)
    return features[among[shared_out(cost)]].astype(np.float32)


def apart(cost: Float[Array, "m p"], mine: Int[Array, " m"], theirs: Int[Array, " p"]) -> Float[Array, "m p"]:
    """Costs in which one of the same class is dearer than all others together: taken only where it must be."""
    barred: Array = len(cost) * (cost.max() + 1.0) * (mine[:, None] == theirs)
    return cost.astype(np.float64) + barred
