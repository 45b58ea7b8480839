"""Texts that do harm where they are taken for more than text, and records that say them in any of their places."""

import copy
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from molebench.leaderboard.loading import check
from molebench.stages import canonical, key
from tests.board_records import Content, put
from tests.stored import content

Place = tuple[str | int, ...]
DO = "window.hacked=1"
PAYLOADS = {
    "image": f'<img src=x onerror="{DO}">',
    "script": f"</script><script>{DO}</script>",
    "attribute": f'" onfocus="{DO}" autofocus x=\'" onmouseover=\'{DO}\' y=`',
    "comment": f"--></title></textarea></style></noscript><svg onload={DO}>]]>",
    "link": f"javascript:{DO}//https://arxiv.org/abs/1 arXiv:2101.10792 data:text/html,<script>{DO}</script>",
    "entity": f"&lt;img src=x onerror={DO}&gt;&#60;script&#62;",
    "template": "{{ 1361 * 991 }}{% include '/etc/passwd' %}${1361*991}#{1361*991}",
    "formula": "=cmd|' /C calc'!A0",
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3",
    "at": "@SUM(1+1)",
    "tab": "\t=1+1",
    "return": "\r=1+1",
    "lines": 'a\n=1+1,"b"\n@c',
    "up": "../../../../../hacked",
    "root": "/hacked",
    "windows": "..\\..\\hacked\\CON:NUL",
    "turned": "\u202ehacked\u2066\u200f\u200b\ufeff",
    "hidden": "a\x00b\x1b[31m\x7f\u2028c\u2029d",
    "latex": "\\input{/etc/passwd}\\write18{x}%$&#_^~",
    "prototype": "__proto__",
}
FEW = 2  # of alike entries: one shows what the others would


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where a text stands in a record; of a list or a mapping the first entries stand for all."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in islice(entries, None if at in ((), ("cell",)) else FEW):
            yield from places(each, (*at, name))


def names(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where a mapping has a name that another could stand in for, the deepest first."""
    entries = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for name, each in entries[:FEW] if at not in ((), ("cell",)) else entries:
        yield from names(each, (*at, name))
        if isinstance(value, dict):
            yield (*at, name)


def rich() -> Content:
    """The first store's record with something in each of its open fields."""
    new = content()
    new["cell"]["defenses"] = [{"name": "sieve", "parameters": {"mesh": "fine"}}]
    new |= {"trusted_data": {"images": 3}, "error": {"type": "x", "message": "y"}, "reused": ["arms"]}
    new["verification"] |= {"by": "me", "reproduces": "0"}
    new["poison"] |= {"violations": ["v"], "unmet": ["u"]}
    new["environment"]["gpu"] = "a card"
    return new


def at(value: Any, place: Place) -> Any:
    for name in place:
        value = value[name]
    return value


def spoilt(record: Content, text: str, where: list[Place], renamed: list[Place]) -> Content:
    """A copy with the text in those places, and in place of those names."""
    new = copy.deepcopy(record)
    for place in where:
        at(new, place[:-1])[place[-1]] = text
    for place in renamed:
        inside = at(new, place[:-1])
        inside[text] = inside.pop(place[-1])
    return new


def sealed(record: Content) -> str:
    """A record's file with a key, a group and a seal that hold, as whoever wrote it could have."""
    cell = record.get("cell")
    if isinstance(cell, dict) and len(str(record.get("key"))) == len(str(record.get("group"))) == 64:
        record |= {"key": key(cell), "group": key({name: value for name, value in cell.items() if name != "seed"})}
    plain = {name: value for name, value in record.items() if name != "record_sha256"}
    return canonical({**plain, "record_sha256": key(plain)})


def fault(store: Path, record: Content) -> str:
    """What the board says against a record; nothing where it takes it."""
    text = sealed(record)
    name = str(json.loads(text).get("key", "0" * 64)).replace("/", "_").replace("\x00", "_")[:64]
    return check(put(store, name, text)).fault
