"""The arithmetic of a linear head, compiled: what PyTorch's operations are too small and too many for.

Weights w [parts, k, PART] and biases b [k]: inputs are cut into parts that stay in the nearest cache, k is even (a
class that fills up has no weights and no say). Rows of features are met eight at a time and classes two at a time, so
that sixteen sums stay in registers: float32, summed in another order than elsewhere. Everything here lets go of the
interpreter, so that two threads do two things at once.

Reference: Kingma and Ba, "Adam", arXiv:1412.6980; molebench/head_training.py holds the maths and is the slow twin.
"""

import numpy as np

from molebench.compiling import compiled
from molebench.head_training import DECAYS, paced
from molebench.types import Array

PART = 512  # inputs: eight rows of so many, and the weights of two classes, are 20 KiB
EIGHT = 8
pace = compiled(paced)

# Indices are unsigned: a signed one might count from the end, which keeps a loop from being made into vectors.
U = np.uint64
B2, NEW_1, NEW_2 = np.float32(DECAYS[1]), np.float32(1 - DECAYS[0]), np.float32(1 - DECAYS[1])
P1, P2, P3, P4, P5, P6, P7 = (U(PART * i) for i in range(1, EIGHT))


@compiled
def dots(x: Array, apart: int, wide: int, w: Array, a: Array, c: int) -> None:
    """a[:, c], a[:, c + 1] += eight rows of x, `apart` from one another, times two rows of w."""
    d1 = U(apart)
    d2, d3, d4, d5, d6, d7 = U(apart * 2), U(apart * 3), U(apart * 4), U(apart * 5), U(apart * 6), U(apart * 7)
    p0 = p1 = p2 = p3 = p4 = p5 = p6 = p7 = q0 = q1 = q2 = q3 = q4 = q5 = q6 = q7 = np.float32(0)
    for f in range(U(wide)):
        u, v = w[f], w[f + P1]
        x0, x1, x2, x3 = x[f], x[f + d1], x[f + d2], x[f + d3]
        x4, x5, x6, x7 = x[f + d4], x[f + d5], x[f + d6], x[f + d7]
        p0, p1, p2, p3 = p0 + x0 * u, p1 + x1 * u, p2 + x2 * u, p3 + x3 * u
        p4, p5, p6, p7 = p4 + x4 * u, p5 + x5 * u, p6 + x6 * u, p7 + x7 * u
        q0, q1, q2, q3 = q0 + x0 * v, q1 + x1 * v, q2 + x2 * v, q3 + x3 * v
        q4, q5, q6, q7 = q4 + x4 * v, q5 + x5 * v, q6 + x6 * v, q7 + x7 * v
    for i, (p, q) in enumerate(((p0, q0), (p1, q1), (p2, q2), (p3, q3), (p4, q4), (p5, q5), (p6, q6), (p7, q7))):
        a[i, c] += p
        a[i, c + 1] += q


@compiled
def eight(x: Array, step: int, apart: int, d: int, w: Array, b: Array, scale: np.float32, a: Array) -> None:
    """The logits a [8, k] of eight rows, `apart` from one another; their parts lie `step` apart. b + scale w x."""
    a[:] = 0
    for i in range(len(w)):
        for c in range(0, w.shape[1], 2):
            dots(x[i * step :], apart, min(PART, d - i * PART), w[i, c : c + 2].reshape(-1), a, c)
    for r in range(EIGHT):
        for c in range(len(b)):
            a[r, c] = b[c] + scale * a[r, c]


@compiled
def logits(z: Array, w: Array, b: Array, found: Array) -> None:
    """The logits [n, k] of rows of features [n, d], n >= 8; the last eight may meet some of those before again."""
    (n, d), part = z.shape, w.shape[2]
    a = np.empty((EIGHT, len(b)), np.float32)
    flat = z.reshape(-1)
    for block in range(-(-n // EIGHT)):
        s = min(block * EIGHT, n - EIGHT)
        eight(flat[s * d :], part, d, d, w, b, np.float32(1), a)
        for r in range(EIGHT):
            for c in range(found.shape[1]):
                found[s + r, c] = a[r, c]


@compiled
def exponentials(a: Array, k: int, e: Array) -> tuple[np.float32, np.float32]:
    """e = exp(a - max a) of one row of k logits; their sum, and the maximum."""
    top = a[0]
    for c in range(1, k):
        top = max(top, a[c])
    total = np.float32(0)
    for c in range(k):
        e[c] = np.exp(a[c] - top)
        total += e[c]
    return total, top


@compiled
def doubts(a: Array, found: Array) -> None:
    """The entropy of softmax(a) of each row of logits [n, k]: log sum e - sum e (a - max) / sum e."""
    k = a.shape[1]
    e = np.empty(k, np.float32)
    for r in range(len(a)):
        total, top = exponentials(a[r], k, e)
        weighed = np.float32(0)
        for c in range(k):
            weighed += e[c] * (a[r, c] - top)
        found[r] = np.log(total) - weighed / total


@compiled
def loss(a: Array, y: Array) -> float:
    """The mean cross-entropy of rows of logits [n, k]."""
    k, total = a.shape[1], 0.0
    e = np.empty(k, np.float32)
    for r in range(len(a)):
        mass, top = exponentials(a[r], k, e)
        total += np.log(mass) - (a[r, y[r]] - top)
    return total / len(a)


@compiled
def judged(z: Array, y: Array, w: Array, b: Array, k: int) -> float:
    """The mean cross-entropy of the first rows of z, as many as there are labels."""
    a = np.empty((len(z), k), np.float32)
    logits(z, w, b, a)
    return loss(a[: len(y)], y)


@compiled
def pack(z: Array, which: Array, keep: Array, into: Array) -> None:
    """Rows `which` of z where they are kept [b, d], 0 elsewhere, into [parts, rows, PART]."""
    d = z.shape[1]
    for r in range(len(which)):
        for i in range(len(into)):
            source, kept, place = z[which[r], i * PART :], keep[r, i * PART :], into[i, r]
            for f in range(U(min(PART, d - i * PART))):
                place[f] = source[f] * np.float32(kept[f])


@compiled
def misses(a: Array, y: Array, count: int, k: int, g: Array) -> None:
    """g = (softmax(a) - Y) / count of some rows of logits."""
    share = np.float32(1) / np.float32(count)
    for r in range(len(y)):
        total, _ = exponentials(a[r], k, g[r])
        for c in range(k):
            g[r, c] *= share / total
        g[r, y[r]] -= share


@compiled
def gather(x: Array, g: Array, c: int, into: Array) -> None:
    """into[2, PART] += g[:, c], g[:, c + 1] times eight rows of a part."""
    g0, g1, g2, g3, g4, g5, g6, g7 = g[0, c], g[1, c], g[2, c], g[3, c], g[4, c], g[5, c], g[6, c], g[7, c]
    c += 1
    h0, h1, h2, h3, h4, h5, h6, h7 = g[0, c], g[1, c], g[2, c], g[3, c], g[4, c], g[5, c], g[6, c], g[7, c]
    for f in range(P1):
        x0, x1, x2, x3 = x[f], x[f + P1], x[f + P2], x[f + P3]
        x4, x5, x6, x7 = x[f + P4], x[f + P5], x[f + P6], x[f + P7]
        into[f] += (x0 * g0 + x1 * g1 + x2 * g2 + x3 * g3) + (x4 * g4 + x5 * g5 + x6 * g6 + x7 * g7)
        into[f + P1] += (x0 * h0 + x1 * h1 + x2 * h2 + x3 * h3) + (x4 * h4 + x5 * h5 + x6 * h6 + x7 * h7)


@compiled
def adam(p: Array, g: Array, scale: np.float32, m: Array, v: Array, rate: np.float32, eps: np.float32) -> None:
    """One step of numbers in a row, against g times scale; rate and eps hold what the number of steps asks for."""
    for i in range(len(p)):
        slope = g[i] * scale
        m[i] += (slope - m[i]) * NEW_1
        v[i] = v[i] * B2 + slope * slope * NEW_2
        p[i] -= rate * m[i] / (np.sqrt(v[i]) + eps)


@compiled
def sums(g: Array) -> Array:
    """Of each column."""
    found = np.zeros(g.shape[1], np.float32)
    for r in range(len(g)):
        for c in range(g.shape[1]):
            found[c] += g[r, c]
    return found


@compiled
def step(x: Array, d: int, y: Array, k: int, w: Array, b: Array, moments: Array, scale: np.float32,
         rate: np.float32, eps: np.float32) -> None:  # fmt: skip
    """One step of Adam on a mini-batch: the first rows of x [parts, rows, PART], as many as there are labels."""
    wide, rows, part = w.shape[1], x.shape[1], x.shape[2]
    a, g = np.empty((EIGHT, wide), np.float32), np.zeros((-(-len(y) // EIGHT) * EIGHT, wide), np.float32)
    flat = x.reshape(-1)
    for s in range(0, len(g), EIGHT):
        eight(flat[s * part :], rows * part, part, d, w, b, scale, a)
        misses(a, y[s : s + EIGHT], len(y), k, g[s : s + EIGHT])
    slopes = np.empty((wide, PART), np.float32)
    for i in range(len(w)):
        slopes[:] = 0
        for s in range(0, len(g), EIGHT):
            for c in range(0, wide, 2):
                gather(x[i, s : s + EIGHT].reshape(-1), g[s : s + EIGHT], c, slopes[c : c + 2].reshape(-1))
        m, v = moments[0, i * slopes.size :], moments[1, i * slopes.size :]
        adam(w[i].reshape(-1), slopes.reshape(-1), scale, m, v, rate, eps)
    adam(b, sums(g), np.float32(1), moments[0, w.size :], moments[1, w.size :], rate, eps)


@compiled
def steps(z: Array, y: Array, which: Array, keep: Array, batch: int, k: int, w: Array, b: Array, moments: Array,
          scale: np.float32, lr: float, taken: int) -> None:  # fmt: skip
    """An epoch: a step on each mini-batch of the rows `which` of z and y, where they are kept; taken: steps before.

    A batch is gathered by who steps on it: what another thread wrote would come from a cache further away.
    """
    x = np.zeros((len(w), -(-batch // EIGHT) * EIGHT, PART), np.float32)
    for i in range(-(-len(which) // batch)):
        mine = which[i * batch : (i + 1) * batch]
        pack(z, mine, keep[i * batch : (i + 1) * batch], x)
        rate, eps = pace(lr, taken + i + 1, 1e-8)
        step(x, z.shape[1], y[mine], k, w, b, moments, scale, np.float32(rate), np.float32(eps))
