"""Words and numbers of charts, made harmless: whatever a record says is short, visible text, and a number is finite."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from molebench.leaderboard.naming import readable
from molebench.stages import key

MOST = 48  # letters of a label
DIGITS = 6  # after the point: more than a figure has, fewer than machines differ in
LARGEST = 1e12  # a larger number is none that a chart could show


def plain(text: object, most: int = MOST) -> str:
    """Text in one line of letters that can be seen, cut where it is long."""
    words = " ".join("".join(c for c in readable(str(text)) if seen(c)).split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def seen(letter: str) -> bool:
    """Whether a character is white space, or none of Unicode's category C: controls, surrogates and unassigned."""
    return letter.isspace() or not unicodedata.category(letter).startswith("C")


def distinct(labels: Iterable[object], most: int = MOST) -> list[str]:
    """Labels as plain text, no two alike: of equal ones the later are numbered."""
    found: dict[str, None] = {}
    for label in labels:
        base = word = plain(label, most) or "(no name)"
        n = 1
        while word in found:
            n += 1
            word = f"{base} ({n})"
        found[word] = None
    return list(found)


def figure(value: float | int | None) -> float | None:
    """A number as charts hold it; None for what is none."""
    if value is None or not math.isfinite(value) or abs(value) > LARGEST:
        return None
    return round(float(value), DIGITS) + 0.0  # 0.0 takes the sign off a zero


def filed(kind: str, words: Sequence[object], identity: object) -> str:
    """A chart's name: safe as a file's, unique by what it is of."""
    said = re.sub(r"[^a-z0-9]+", "-", "-".join(plain(word) for word in words).lower()).strip("-")
    return "-".join(filter(None, (kind, said[:80].strip("-"), key([kind, identity])[:10])))


def several(n: int, what: str) -> str:
    """'1 seed', '3 seeds'."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
