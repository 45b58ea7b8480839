"""What is wrong with a form, in the words of who fills it in: where, what came, what is allowed."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from operator import eq
from typing import Any

from pydantic import BaseModel, ValidationError

from molebench.submission import texts

Models = Mapping[str, type[BaseModel]]


def said(error: ValidationError, models: Models) -> Iterator[str]:
    """Each fault of a form in plain words: where, what came, what is allowed. models: of its parts, by key."""
    seen: set[str] = set()
    there = [one["loc"] for one in error.errors()]
    for one in error.errors(include_url=False):
        at, outer = where(one["loc"]), any(len(loc) > len(one["loc"]) == sum(map(eq, loc, one["loc"])) for loc in there)
        if at not in seen and not outer:  # a union says it once for each of its kinds, a list again for its items
            yield f"{at} {worded(one, models)}"
        seen.add(at)


UNION = ("str", "int", "float", "bool", "function-after", "constrained-str")


def where(loc: tuple[int | str, ...]) -> str:
    """A place in the form, counted from 1: claims 2, value."""
    words = [str(part + 1) if isinstance(part, int) else part for part in loc]
    kept = [w for w in words if not w.startswith(UNION)]
    return re.sub(r", (\d+)", r" \1", ", ".join(kept)) or "the form"


def worded(one: Any, models: Models) -> str:
    """A fault of pydantic's, for who has not read its manual."""
    kind, came, context = one["type"], one.get("input"), one.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if isinstance(came, str) and came.startswith(texts.TO_FILL):
        return "is still to be filled in"
    if kind == "extra_forbidden":
        return f"is no key of this form{nearest(str(one['loc'][-1]), known(one['loc'], models))}"
    if kind == "value_error":
        return str(context["error"])
    return f"is {shown(came)}; {one['msg'][0].lower()}{one['msg'][1:]}"


def shown(came: Any) -> str:
    """What came, cut to a length for a line."""
    text = ascii(came)
    return text if len(text) <= 60 else f"{text[:60]}..."


def known(loc: tuple[int | str, ...], models: Models) -> list[str]:
    """The keys that the part of the form at a place may have."""
    model = models.get(str(loc[0]) if len(loc) > 1 else "")
    return said_keys(model) if model else []


def said_keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model as a file has them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint at the name that may have been meant; '' where none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
