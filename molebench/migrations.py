"""Schemas have numbers: what a newer molebench wrote is refused untouched, what an older one wrote is made today's.

Records of an older schema are migrated when they are read, in memory; their files stay as they were written. STEPS
holds, by schema, a pure function from a record's plain content to that of the next schema. There is one schema so far;
what was added to it since (`updates`) has a default, so that the first records read as they are (tests/fixtures).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from molebench.errors import MolebenchError

Plain = dict[str, Any]
Step = Callable[[Plain], Plain]
STEPS: Final[Mapping[str, Step]] = {}


def version(schema: object, known: str) -> int:
    """The number of a schema of the same family as `known`, such as 2 of molebench.result/2; ValueError of another."""
    family = known.rpartition("/")[0]
    found = re.fullmatch(rf"{re.escape(family)}/(\d{{1,6}})", schema) if isinstance(schema, str) else None
    if found is None:
        raise ValueError(f"its schema is {str(schema)[:40]!r}; expected {known}")
    return int(found[1])


def check(what: str, schema: object, known: str) -> None:
    """Refuses what a newer molebench wrote; ValueError where it is no schema of ours at all."""
    if version(schema, known) > version(known, known):
        raise MolebenchError(
            f"{what} was written by a newer molebench (schema {schema}; this one knows up to {known}) and is left "
            "untouched; update molebench, or name another --store"
        )


def migrated(content: Plain, known: str, steps: Mapping[str, Step]) -> Plain:
    """A record's plain content in the schema `known`; ValueError where no step leads there."""
    for _ in range(len(steps) + 1):
        if (schema := content.get("schema")) == known:
            return content
        if not isinstance(schema, str) or schema not in steps:
            break
        content = steps[schema](content)
    raise ValueError(f"no step leads from schema {schema} to {known}")
